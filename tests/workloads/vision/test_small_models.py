"""What extraction and distillation must reach, asked of their tables, once these have been measured."""

import json
from statistics import fmean

import pytest

from benchmarks import distillation, extraction
from benchmarks._rows import Rows
from pangu_jax.workloads.vision.model.slicing import SubModel

LEAST = 5  # seeds


def rows_of(benchmark):
    if not benchmark.RESULTS.is_file():
        pytest.skip(f"{benchmark.RESULTS.name} is not measured: python -m {benchmark.__name__} --train")
    return json.loads(benchmark.RESULTS.read_text())["rows"]


def by_seed(rows, name="accuracy", **key):
    found = {r["seed"]: r[name] for r in rows if all(r[k] == v for k, v in key.items())}
    assert len(found) >= LEAST, key
    return found


def ahead(first, second):
    paired = first.keys() & second.keys()
    assert len(paired) >= LEAST
    return fmean(first[seed] - second[seed] for seed in paired)


def test_extraction_reaches_its_bars():
    rows = rows_of(extraction)
    whole, *parts = [SubModel(*size).label for size in extraction.SETTINGS["sizes"]]
    alone = by_seed(rows, arm=extraction.SCRATCH, size=whole)
    assert ahead(by_seed(rows, arm=extraction.SLICE, size=whole), alone) >= -3
    spent = by_seed(rows, "cpu_seconds", arm=extraction.ELASTIC, size="all")
    scratch = by_seed(rows, "cpu_seconds", arm=extraction.SCRATCH, size=whole)
    for size in parts:
        tuned = by_seed(rows, arm=extraction.TUNED, size=size)
        assert ahead(tuned, by_seed(rows, arm=extraction.NAIVE, size=size)) > 0, size
        for totals, arm in ((spent, extraction.TUNED), (scratch, extraction.SCRATCH)):
            for seed, seconds in by_seed(rows, "cpu_seconds", arm=arm, size=size).items():
                totals[seed] += seconds
    assert fmean(spent.values()) <= 0.6 * fmean(scratch.values())


@pytest.mark.xfail(strict=True, reason="15% for one of five seeds, beside other work: docs/extraction.md")
def test_latency_of_the_table_is_that_of_the_extracted_model():
    rows = rows_of(extraction)
    assert max(by_seed(rows, "worst", arm=extraction.LATENCY).values()) <= 0.1


@pytest.mark.xfail(strict=True, reason="1.8 to 2.4 points behind: docs/extraction.md, Measured")
def test_tuned_slices_are_as_good_as_from_scratch():
    rows = rows_of(extraction)
    for size in [SubModel(*size).label for size in extraction.SETTINGS["sizes"]][1:]:
        tuned = by_seed(rows, arm=extraction.TUNED, size=size)
        assert ahead(tuned, by_seed(rows, arm=extraction.SCRATCH, size=size)) >= 0, size


def test_distillation_reaches_its_bars():
    rows = rows_of(distillation)
    student = by_seed(rows, arm=distillation.DISTILLED)
    assert ahead(student, by_seed(rows, arm=distillation.STEPS)) >= 2.5
    assert ahead(student, by_seed(rows, arm=distillation.COMPUTE)) >= 1
    (own,) = {row["parameters"] for row in rows if row["arm"] == distillation.DISTILLED}
    (teacher,) = {row["parameters"] for row in rows if row["arm"] == "teacher"}
    assert own <= teacher / 10


def test_rows_are_kept_as_they_come_and_made_once(tmp_path):
    path = tmp_path / "rows.json"
    rows = Rows(path, {"steps": 3}, ("arm", "seed"))
    rows.keep(lambda: {"accuracy": 1.0}, arm="a", seed=0)
    again = Rows(path, {"steps": 3}, ("arm", "seed"))
    assert again.keep(lambda: 1 / 0, arm="a", seed=0)["accuracy"] == 1.0
    assert again.get(arm="a", seed=1) is None
    with pytest.raises(SystemExit, match="other settings"):
        Rows(path, {"steps": 4}, ("arm", "seed"))


def test_tables_pair_by_seed():
    rows = [
        {"arm": arm, "seed": seed, "accuracy": 40.0 + seed + more, "steps": 9, "cpu_seconds": 2.0,
         "parameters": 5}
        for arm, more in ((distillation.DISTILLED, 3), (distillation.STEPS, 0))
        for seed in (0, 1)
    ]  # fmt: skip
    assert "| equal steps | 5 | 9 | 2 | 40.5 ± 0.5 | +3.0 ± 0.0 |" in distillation.table(rows)
