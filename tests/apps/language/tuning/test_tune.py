"""`pangu tune` is the one trainer: its run directory is like any other, and it resumes to the bit."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from data_pipelines.errors import DataError
from pangu_jax import cli
from pangu_jax.apps.language import loading
from pangu_jax.apps.language.tuning.lora import LoRA
from pangu_jax.apps.language.tuning.modes import Mixout
from pangu_jax.apps.language.tuning.prompts import PromptTuning
from pangu_jax.apps.language.tuning.settings import OptimizerSpec, Regularisation
from pangu_jax.apps.language.tuning.tune import tune
from pangu_jax.errors import UserError
from pangu_jax.runs import metrics
from pangu_jax.runs.checkpoints import Checkpoints
from tests.apps.language.tuning import runs
from tests.runs import made_up

ROOT = Path(__file__).parents[4]
GOOD = ["很好用，物流也快", "屏幕清晰，喜欢", "满意，会再来", "做工好，值"]
BAD = ["用了几天就坏了", "客服不理人，差", "失望，不值这个价", "太慢，不买了"]
MEASURED = {"tokens_per_second", "mfu", "step_seconds", "seconds", "host_memory_gib", "device_memory_gib"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A base and a task."""
    path = tmp_path_factory.mktemp("tune")
    known = runs.words(path, *GOOD, *BAD, "总之很好差，好评，差评：这条评论是还")
    runs.keep(path / "base", known, runs.model(known, heads=4))
    task = path / "data" / "fewclue" / "eprstmt"
    task.mkdir(parents=True)
    rows = [{"sentence": text, "label": "Positive"} for text in GOOD]
    rows += [{"sentence": text, "label": "Negative"} for text in BAD]
    for split in ("train_0", "dev_0"):
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (task / f"{split}.json").write_text("".join(lines), "utf-8")
    return path


@pytest.fixture
def settings(folder):
    return {
        "run_dir": str(folder / "base"),
        "task": "fewclue/eprstmt",
        "pattern": "close",
        "data_dir": str(folder / "data"),
        "optimizer": OptimizerSpec(learning_rate=1e-2),
        "steps": 8,
        "batch_size": 8,
        "evaluate_every": 2,
        "backend": "cpu:1",
    }


def computed(run_dir: Path) -> list[dict]:
    """Every row, without what was measured of the machine."""
    rows = metrics.read(run_dir / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name not in MEASURED} for row in rows]


def test_it_makes_a_run_directory_whose_best_step_is_opened(folder, settings, tmp_path):
    found = tune(str(tmp_path), method=PromptTuning(2), **settings).summary
    assert found["trainable"] == 2 * 16 and found["finished"] and found["step"] == 8
    assert (found["task"], found["split"], found["method"]) == ("fewclue/eprstmt", "train_0", "PromptTuning")
    best = json.loads((tmp_path / "best.json").read_text())
    assert found["dev_accuracy"] == 100 * best["values"]["validation_accuracy"]
    evaluated = [row["step"] for row in computed(tmp_path) if "validation_loss" in row]
    assert evaluated == [2, 4, 6, 8]
    loaded = loading.load(tmp_path)
    assert loaded.manifest["step"] == best["step"] == found["best_step"]
    assert loaded.manifest["tuning"]["task"] == "fewclue/eprstmt"
    assert loaded.prompt.tolist() == [loaded.config.vocab_size, loaded.config.vocab_size + 1]
    base = loading.load(folder / "base").params
    jax.tree.map(
        np.testing.assert_array_equal,
        loaded.params | {"embedding": loaded.params["embedding"][: loaded.config.vocab_size]},
        base,
    )
    with pytest.raises(DataError, match="no pattern 'asks'; there are ask"):
        tune(str(tmp_path / "other"), **(settings | {"pattern": "asks"}))


def command(folder, out, **bindings) -> list[str]:
    """`pangu tune` by LoRA."""
    known = {"run_dir": folder / "base", "data_dir": folder / "data", "pattern": "close", "steps": 8}
    known |= {"batch_size": 8, "evaluate_every": 2} | bindings
    flags = ["tune", "--gin_file", "tuning/lora.gin", "--run_dir", str(out), "--gin.train.log_every=1"]
    return flags + [f"--gin.tune.{name}={value}" for name, value in known.items()]


@pytest.mark.parametrize("layout", ["fsdp=8", "model=4"])
def test_on_eight_devices_it_is_as_on_one(layout, folder, tmp_path):
    """In all that it computes. Weights are not compared: AdamW's first steps are signs of gradients, also of
    those that are rounding errors."""
    rows = []
    for flags in (["--backend", "cpu:1"], ["--backend", "cpu:8", f"--gin.Layout.{layout}"]):
        out = tmp_path / flags[1]
        assert cli.main([*command(folder, out), *flags]) == 0
        assert loading.load(out).manifest["step"] == 8
        rows.append(computed(out))
    assert [row.keys() for row in rows[0]] == [row.keys() for row in rows[1]]
    for name in ("loss", "grad_norm", "validation_loss", "validation_accuracy"):
        one, eight = ([row[name] for row in each if name in row] for each in rows)
        assert len(one) >= 4
        np.testing.assert_allclose(eight, one, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("binding", "words"),
    [
        ("sequence=2", "Layout.sequence = 2: tuning is for layouts with sequence 1"),
        ("fsdp=6", "does not fit 8 devices"),
        ("fsdp=8", "batch"),
    ],
)
def test_a_layout_that_does_not_fit_is_one_line(binding, words, folder, tmp_path, capsys):
    flags = ["--backend", "cpu:8", f"--gin.Layout.{binding}"]
    assert cli.main([*command(folder, tmp_path / "out", batch_size=6), *flags]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and words in told[0]


def test_interrupted_it_resumes_to_the_bit(settings, tmp_path, monkeypatch):
    """With dropout, random masks, and weights that are held to where they were."""
    how = {"method": LoRA(2), "freezing": Mixout(0.5), "regularisation": Regularisation(dropout=0.2)}
    tune(str(tmp_path / "whole"), **settings, **how)
    save = Checkpoints.save

    def interrupted(self, step, *rest, **more):
        if step > 2:
            raise KeyboardInterrupt
        return save(self, step, *rest, **more)

    monkeypatch.setattr(Checkpoints, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune(str(tmp_path / "cut"), **settings, **how)
    monkeypatch.undo()
    summary = tune(str(tmp_path / "cut"), **settings, **how).summary
    assert summary["step"] == 8
    assert "resuming" in (tmp_path / "cut" / "run.log").read_text()
    assert computed(tmp_path / "cut") == computed(tmp_path / "whole")


def test_it_resumes_from_the_base_that_it_began_with(folder, settings, tmp_path):
    base = Path(shutil.copytree(folder / "base", tmp_path / "base"))
    settings |= {"run_dir": str(base), "method": LoRA(2)}
    tune(str(tmp_path / "out"), **settings)
    trained = jax.tree.map(lambda leaf: leaf + 1, loading.load(base).params)  # since
    made_up.write(
        base, (base / "recipe.gin").read_text(), {9: trained}, loading.load(base).vocabulary.fingerprint
    )
    assert tune(str(tmp_path / "out"), **settings).summary["step"] == 8
    with pytest.raises(UserError, match="was trained with base"):
        tune(str(tmp_path / "out"), **settings, step=9)
    shutil.rmtree(base / "checkpoints" / "7")
    with pytest.raises(UserError, match="it was trained on since") as caught:
        tune(str(tmp_path / "out"), **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.prove
def test_killed_in_the_middle_the_same_command_ends_the_same(folder, tmp_path, proof):
    """SIGKILL at three moments, under a mode that keeps which weights it chose."""

    def arguments(out):
        flags = ["--backend", "cpu", "--gin.tune.method=@FineTuning()", "--gin.tune.freezing=@ChildTuningD()"]
        how = command(folder, out, steps=200, evaluate_every=10, patience=0)
        return [sys.executable, "-m", "pangu_jax.cli", *how, *flags]

    def finish(out):
        subprocess.run(arguments(out), cwd=ROOT, check=True, capture_output=True)

    finish(tmp_path / "whole")
    killed = []
    for least in (15, 60, 120):
        with subprocess.Popen(arguments(tmp_path / "cut"), cwd=ROOT, stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < deadline:
                if (steps := [row["step"] for row in computed(tmp_path / "cut")]) and steps[-1] >= least:
                    break
                time.sleep(0.002)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        killed.append(computed(tmp_path / "cut")[-1]["step"])
    finish(tmp_path / "cut")
    assert computed(tmp_path / "cut") == computed(tmp_path / "whole")
    proof("killed after steps", ", ".join(map(str, killed)))
    proof("rows equal to the bit", len(computed(tmp_path / "whole")))
