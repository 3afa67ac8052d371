"""The benchmark tasks on the published files, where those are: counts, labels, leaks."""

import os
from pathlib import Path

import pytest

from data_pipelines.text import benchmarks
from data_pipelines.text.benchmarks import published
from data_pipelines.text.benchmarks.task import chance, majority
from data_pipelines.text.folder import Quarantine

DATA = Path(os.environ.get("PANGU_DATA_DIR") or Path(__file__).parents[2] / "../shared/data")

# As their owners, or the notes beside the data, count them.
COUNTS = {
    "fewclue/eprstmt": {"test_public": 610, "test": 753, "train_few_all": 160, "train_3": 32},
    "fewclue/csldcp": {"test_public": 1784, "test": 2999, "train_few_all": 2036},
    "fewclue/tnews": {"test_public": 2010, "test": 1500, "train_few_all": 1185, "dev_4": 240},
    "fewclue/iflytek": {"test_public": 1749, "test": 2600, "train_few_all": 3024},
    "fewclue/ocnli": {"test_public": 2520, "test": 3000, "train_few_all": 160},
    "fewclue/bustm": {"test_public": 1772, "test": 2000, "train_few_all": 160, "unlabeled": 4251},
    "fewclue/chid": {"test_public": 2002, "test": 2000, "train_few_all": 202},
    "fewclue/csl": {"test_public": 2838, "test": 3000, "train_few_all": 160},
    "fewclue/cluewsc": {"test_public": 976, "test": 290, "train_few_all": 160, "unlabeled": 0},
    "clue/afqmc": {"dev": 4316},
    "clue/ocnli": {"dev": 3000 - 50, "test": 3000},
    "clue/c3": {"train": 5856 + 6013, "dev": 1825 + 1991, "test": 1890 + 2002},
    "clue/cmrc2018": {"dev": 3219, "trial": 1002},
    "csl/title": {"dev": 1000, "test": 1000},
    "csl/keywords": {"dev": 1000, "test": 1000},
    "csl/category": {"train": 8000, "dev": 1000, "test": 1000},
    "csl/discipline": {"dev": 1000, "test": 1000},
    "dialogue/crosswoz": {"test": 4238 - 23},
    "dialogue/cais": {"train": 7995, "valid": 994, "test": 1012},
    "dialogue/smp2019": {"all": 2579 - 3},
    "dialogue/mixatis": {"dev": 759, "test": 828},
    "dialogue/mixsnips": {"dev": 2198, "test": 2199},
}


def needs(name, split):
    if not (DATA.is_dir() and published.SETS[name].files(split, DATA)):
        pytest.skip(f"no {split} of {name} in {DATA} (set PANGU_DATA_DIR)")


@pytest.mark.parametrize("name", COUNTS)
def test_counts_and_labels(name):
    """Every example is read, none is malformed, and no label is a stranger to the verbaliser."""
    task = benchmarks.get(name)
    for split, count in COUNTS[name].items():
        needs(name, split)
        quarantine = Quarantine()
        examples = task.examples(split, DATA, quarantine)
        assert len(examples) == count and not quarantine.counts
        assert all(
            text.strip() for e in examples for f, text in e.fields.items() if f in ("sentence", "text")
        )
        kept_labels = split == "test" and name.startswith(("fewclue", "clue/ocnli"))
        if task.kind in ("reading", "generation"):
            assert all(example.references and all(example.references) for example in examples)
        elif kept_labels or split == "unlabeled":
            assert all(example.label is None for example in examples)
        else:
            assert all(example.label is not None for example in examples)


def test_answers_stand_in_their_passages():
    needs("clue/cmrc2018", "trial")
    examples = benchmarks.get("clue/cmrc2018").examples("trial", DATA)
    inside = [any(answer in e.fields["passage"] for answer in e.references) for e in examples]
    assert sum(inside) > 0.99 * len(inside)


def test_leaks_are_left_out():
    needs("fewclue/eprstmt", "unlabeled")
    task = benchmarks.get("fewclue/eprstmt")
    clean = task.examples("test_clean", DATA)
    seen = {example.fields["sentence"] for example in task.examples("unlabeled", DATA)}
    assert len(clean) == 610 - 45 and not seen & {example.fields["sentence"] for example in clean}
    task = benchmarks.get("fewclue/cluewsc")
    texts = [{e.fields["text"] for e in task.examples(s, DATA)} for s in ("test_public", "test_clean")]
    assert [len(own) for own in texts] == [456, 456 - 119]


def test_noted_leaks_are_there():
    """What the tasks say about themselves."""
    needs("clue/ocnli", "dev")
    public = benchmarks.get("fewclue/ocnli").examples("test_public", DATA)
    dev = benchmarks.get("clue/ocnli").examples("dev", DATA)
    assert {tuple(e.fields.items()) for e in public} <= {tuple(e.fields.items()) for e in dev}
    csl = benchmarks.get("fewclue/csl").examples("test_public", DATA)
    assert len({example.fields["abstract"] for example in csl}) == 592
    quarantine = Quarantine()
    benchmarks.get("clue/ocnli").examples("dev", DATA, quarantine)
    assert quarantine.noted == {"no label": 50}


def test_demonstrations_of_every_few_shot_split():
    needs("fewclue/tnews", "train_0")
    for name in ("fewclue/tnews", "fewclue/chid", "fewclue/csl"):
        task = benchmarks.get(name)
        asked = task.examples("dev_0", DATA)[0]
        for number in range(5):
            pattern = task.patterns["in_context"].with_demonstrations(task.examples(f"train_{number}", DATA))
            query = pattern.render(asked)
            shown = (query.inputs or query.prefix).split("\n")
            assert len(shown) - 1 >= pattern.shots * max(1, len(task.labels))


def test_guessing_is_what_balanced_sets_give():
    needs("fewclue/tnews", "train_0")
    expected = {"eprstmt": (50.0, 50.0), "tnews": (100 / 15, 100 / 15), "chid": (100 / 7, 100 / 7)}
    for name, figures in expected.items():
        task = benchmarks.get(f"fewclue/{name}")
        test = task.examples("test_public", DATA)
        found = majority(task, task.examples("train_0", DATA), test), chance(task, test)
        assert found == pytest.approx(figures, abs=0.01)
