"""Sweeps end to end on a tiny model: rows, resumption after a kill, refusals; and `evaluate`."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from data_pipelines.errors import DataError
from data_pipelines.text import benchmarks, vocabulary
from data_pipelines.text.benchmarks import Example
from pangu_jax import cli
from pangu_jax.apps.language.benchmarks.approach import Approach
from pangu_jax.apps.language.benchmarks.candidates import ask
from pangu_jax.apps.language.benchmarks.evaluate import evaluate
from pangu_jax.apps.language.benchmarks.sweep import sweep
from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.apps.language.tuning.methods import Head
from pangu_jax.errors import UserError
from pangu_jax.workloads.language.model import architecture
from tests.apps.language.tuning import runs

GOOD = ["很好用，物流也快", "屏幕清晰，喜欢", "满意，会再来"]
BAD = ["用了几天就坏了", "客服不理人，差", "失望，不值这个价"]
TASK = "fewclue/eprstmt"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A model that has learnt nothing."""
    folder = tmp_path_factory.mktemp("words")
    words = runs.words(folder, *GOOD, *BAD, "总之很好差，好评，差评：这条评论是还", size=430)
    config = runs.model(words)
    return LoadedModel(config, architecture.init(config, jax.random.key(0)), words)


@pytest.fixture(scope="module")
def run_dir(loaded, tmp_path_factory):
    """Its run directory."""
    path = tmp_path_factory.mktemp("run")
    return str(runs.keep(path, loaded.vocabulary, loaded.config, loaded.params))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two few-shot splits of eprstmt, and a test whose last review is long and which has a broken line."""
    folder = tmp_path_factory.mktemp("data")
    task = folder / "fewclue" / "eprstmt"
    task.mkdir(parents=True)
    rows = [{"sentence": s, "label": label} for s, label in zip(GOOD, ["Positive"] * 3, strict=True)]
    rows += [{"sentence": s, "label": "Negative"} for s in BAD]
    for split in ("train_0", "dev_0", "train_1", "dev_1", "test_public"):
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        if split == "test_public":
            lines += [
                json.dumps({"sentence": "坏了。" * 30, "label": "Negative"}, ensure_ascii=False),
                "{broken",
            ]
        (task / f"{split}.json").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder)


def settings(run_dir, data, out, **more):
    common = {"steps": 2, "batch_size": 2, "evaluate_every": 2, "length": 40, "stride": 30}
    return {
        "run_dir": run_dir,
        "out": str(out),
        "tasks": (TASK,),
        "splits": ("0", "1"),
        "data_dir": data,
        "approaches": {
            "zero_shot": Approach("close", calibration="prior", **common),
            "head": Approach("close", method=Head("decoder_mean"), **common),
        },
        **more,
    }


def rows_of(path):
    return [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in json.loads((path / "results.json").read_text("utf-8"))["rows"]
    ]


def test_a_sweep_that_was_killed_repeats_nothing_and_ends_with_the_same_table(run_dir, data, tmp_path):
    sweep(**settings(run_dir, data, tmp_path / "whole"))
    rows = rows_of(tmp_path / "whole")
    assert {row["method"] for row in rows} == {"majority", "random", "zero_shot", "head"}
    assert len(rows) == 8 and all(row["windowed"] == 1 for row in rows if "windowed" in row)
    assert all(row["accuracy"] == 50.0 for row in rows if row["method"] == "random")
    headlines = {row["method"]: (row["headline"], "accuracy_normalised" in row) for row in rows[-4:]}
    assert headlines == {"zero_shot": ("summed", True), "head": ("classifier", False)}

    seen = []

    def kill(row):
        seen.append((row["method"], row["split"]))
        if len(seen) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(**settings(run_dir, data, tmp_path / "cut", on_row=kill))
    with (tmp_path / "cut" / "rows.jsonl").open("a") as journal:
        journal.write('{"task": "fewclue/ep')  # as a kill in mid-write leaves it
    first = list(seen)
    sweep(
        **settings(
            run_dir, data, tmp_path / "cut", on_row=lambda row: seen.append((row["method"], row["split"]))
        )
    )
    assert first == seen[:6] and len(seen) == len(set(seen)) == 8
    assert rows_of(tmp_path / "cut") == rows
    sweep(
        **settings(run_dir, data, tmp_path / "cut", on_row=lambda row: pytest.fail("nothing was left to do"))
    )


@pytest.mark.prove
def test_on_ray_the_rows_are_the_same(run_dir, data, tmp_path, proof):
    sweep(**settings(run_dir, data, tmp_path / "here"))
    sweep(**settings(run_dir, data, tmp_path / "ray", workers=2))
    assert rows_of(tmp_path / "ray") == rows_of(tmp_path / "here")
    proof("rows of two workers on Ray equal to one process's", len(rows_of(tmp_path / "ray")))


def test_nobody_at_the_address_is_one_line(run_dir, data, tmp_path):
    with pytest.raises(DataError, match="nobody answers") as error:
        sweep(**settings(run_dir, data, tmp_path, ray_address="127.0.0.1:9"))
    assert "\n" not in str(error.value)


def test_an_out_of_another_sweep_is_refused(run_dir, data, tmp_path):
    nothing = {"approaches": {"zero_shot": Approach("close", length=40, stride=30)}}
    sweep(**settings(run_dir, data, tmp_path, recipe="a", **nothing))
    with pytest.raises(UserError, match="another recipe"):
        sweep(**settings(run_dir, data, tmp_path, recipe="b", **nothing))


def test_a_missing_split_and_an_unknown_pattern_are_one_line(run_dir, data, tmp_path):
    with pytest.raises(DataError, match="no split 'train_7'") as error:
        sweep(**settings(run_dir, data, tmp_path, splits=("7",)))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="no pattern 'clos'") as error:
        sweep(**settings(run_dir, data, tmp_path / "b", approaches={"x": Approach("clos")}))
    assert "\n" not in str(error.value)


def test_scores_of_windows_are_averaged_and_entailment_asks_once_a_label(loaded):
    task = benchmarks.get(TASK)
    examples = [
        Example("1", {"sentence": "好" * 100}, "Positive"),
        Example("2", {"sentence": "差"}, "Negative"),
    ]
    asked = ask(loaded, task.patterns["close"], examples, 40, 30)
    assert asked.cut == 1 and [owner for owner, _ in asked.owners] == [0, 0, 0, 1]
    scores = np.array([[0, 1], [0, 1], [9, 1], [1, 0]], np.float32)
    assert asked.choices(scores).tolist() == [0, 0]
    assert asked.choices(scores, np.array([3.0, 0.0])).tolist() == [1, 1]
    entails = ask(loaded, task.patterns["entail"], examples[1:], 40, 30)
    assert entails.owners == [(0, 0), (0, 1)]
    assert entails.choices(np.array([[0, 2], [2, 0]], np.float32)).tolist() == [1]


def test_evaluate_counts_windows_and_malformed_lines(run_dir, data, tmp_path):
    found = evaluate(run_dir=run_dir, tasks=(TASK,), pattern="close", data_dir=data, length=40, stride=30)
    (row,) = found.rows
    assert (row["examples"], row["windowed"], row["malformed"]) == (7, 1, 1)
    assert row["random"] == 50.0 and row["majority"] == round(400 / 7, 2)
    assert {label for _, label in found.predictions[TASK]} <= {"Positive", "Negative"}


def test_the_verb_says_in_one_line_what_is_missing(data, tmp_path, capsys):
    missing = tmp_path / "nowhere"
    assert cli.main(["eval", "--gin_file", "eval/fewclue.gin", "--run_dir", str(missing)]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1 and "there is no run directory" in errors[0]


def test_the_verb_shows_its_rows_and_counts_what_was_not_read_whole(run_dir, data, tmp_path, capsys):
    bindings = ["--gin.evaluate.data_dir=" + data, "--gin.evaluate.length=40", "--gin.evaluate.stride=30"]
    command = ["eval", "--gin_file", "eval/fewclue.gin", "--run_dir", run_dir, "--task", TASK, *bindings]
    assert cli.main([*command, "--json", str(tmp_path / "out.json")]) == 0
    (row,) = json.loads((tmp_path / "out.json").read_text("utf-8"))["rows"]
    assert (row["windowed"], row["malformed"]) == (1, 1)
    shown = capsys.readouterr().out
    assert "windowed 1" in shown and f"accuracy_normalised {row['accuracy_normalised']}" in shown


@pytest.mark.parametrize(
    "spoil, words",
    [
        ("split", "no split 'train_7'"),
        ("label", "train_0.json:1 has the label 'Maybe', none of"),
        ("vocabulary", "vocabulary"),
    ],
)
def test_what_a_person_must_mend_before_tuning_is_one_line(spoil, words, run_dir, data, tmp_path, capsys):
    folder, model, split = Path(data), Path(run_dir), "train_0"
    if spoil == "split":
        split = "train_7"
    elif spoil == "label":
        folder = Path(shutil.copytree(data, tmp_path / "data"))
        line = json.dumps({"sentence": "好", "label": "Maybe"}) + "\n"
        (folder / TASK / "train_0.json").write_text(line, "utf-8")
    else:
        model = Path(shutil.copytree(run_dir, tmp_path / "model"))
        vocabulary.train(["另一个词表，另一些字"] * 30, 400, model / "vocabulary.model")
    bindings = {"run_dir": model, "data_dir": folder, "split": split, "pattern": "close"}
    command = ["tune", "--gin_file", "tuning/pattern.gin", "--run_dir", str(tmp_path / "tuned")]
    assert cli.main([*command, *(f"--gin.tune.{name}={value}" for name, value in bindings.items())]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1 and words in errors[0]
