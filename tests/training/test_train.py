"""The trainer on an unrelated workload: it learns, resumes to the bit, and says in a line what is wrong."""

import logging
import os
import subprocess
import sys
import time

import jax
import pytest

from pangu_jax import cli, train
from pangu_jax.errors import UserError
from pangu_jax.runs import checkpoint_files, metrics, results
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.training import recorder
from pangu_jax.training import step as training_step
from tests.training import digits
from tests.training.toy_runs import losses, trained, validations
from tpu_npu_backends.errors import BackendError


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    """A run of 20 steps that nothing interrupted. Read only: other tests look at it."""
    run_dir = tmp_path_factory.mktemp("whole")
    train.run([str(recipe)], [], run_dir)
    return run_dir


def test_learns(recipe, tmp_path):
    summary = train.run([str(recipe)], ["train.steps=60", "train.validate_every=20"], tmp_path)
    assert summary["finished"] and summary["step"] == summary["steps"] == summary["checkpoint"] == 60
    each = losses(tmp_path)
    assert list(each) == list(range(1, 61))
    assert each[60] < 0.8 * each[1]
    first, second, third = validations(tmp_path)
    assert first > second > third
    trained = [row for row in metrics.read(tmp_path / "metrics.jsonl") if "loss" in row]
    assert all({"step", "loss", "tokens_per_second"} <= row.keys() for row in trained)
    assert trained[-1]["tokens_per_second"] > 0
    assert "train.workload = @PoisonedDigits()" in (tmp_path / "recipe.gin").read_text()


def test_once_more_does_nothing_and_says_so(recipe, tmp_path, caplog):
    bindings = ["train.steps=5"]
    train.run([str(recipe)], bindings, tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with caplog.at_level(logging.INFO, "pangu_jax"):
        summary = train.run([str(recipe)], bindings, tmp_path)
    assert "nothing to do: step 5 of 5 is done; raise train.steps to train on" in caplog.text
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert summary["finished"] and summary["step"] == summary["checkpoint"] == 5
    # What the run came to is still reported.
    assert summary["loss"] == losses(tmp_path)[5] and summary["validation_loss"] == validations(tmp_path)[-1]


def test_the_peak_is_asked_for_again_in_pauses(recipe, tmp_path, monkeypatch):
    """A machine that was busy at the start would show more than 100% for the rest of the run."""
    seen = iter([2.0, 8.0, 8.0, 16.0, 32.0])
    monkeypatch.setattr(recorder, "machine_peak", lambda backend, dtype: next(seen))
    summary = train.run([str(recipe)], [], tmp_path)
    flops = digits.PoisonedDigits().flops_per_step(32)
    rows = [row for row in metrics.read(tmp_path / "metrics.jsonl") if row.get("mfu")]
    peaks = {row["step"]: round(flops / row["step_seconds"] / row["mfu"], 6) for row in rows}
    assert (peaks[6], peaks[8], peaks[18], peaks[20]) == (2.0, 8.0, 8.0, 16.0)
    assert summary["mfu"] == pytest.approx(flops / summary["step_seconds"] / 32.0)


def test_a_step_that_runs_where_it_is_dispatched_is_timed(recipe, tmp_path, monkeypatch):
    """The step before a pause once showed the time between two looks at results that were there."""
    make = training_step.make_train_step

    def make_blocking(*arguments, **keywords):
        train_step = make(*arguments, **keywords)

        def blocking(*arguments):
            time.sleep(0.02)
            return jax.block_until_ready(train_step(*arguments))

        return blocking

    monkeypatch.setattr(training_step, "make_train_step", make_blocking)
    train.run([str(recipe)], ["train.log_every=1"], tmp_path)
    timed = [
        row["step_seconds"] for row in metrics.read(tmp_path / "metrics.jsonl") if row.get("step_seconds")
    ]
    assert len(timed) > 10 and min(timed) > 0.02


@pytest.mark.parametrize("stop", [1, 6, 13])
def test_stopped_and_resumed_is_the_same_to_the_bit(recipe, whole, tmp_path, stop):
    train.run([str(recipe)], [f"train.steps={stop}"], tmp_path)
    summary = train.run([str(recipe)], [], tmp_path)
    assert losses(tmp_path) == losses(whole)
    assert validations(tmp_path)[-1] == validations(whole)[-1]
    assert summary["step"] == 20


def test_going_on_with_another_recipe_says_in_what_it_differs(recipe, tmp_path, capsys):
    command = ["train", "--gin_file", str(recipe), "--run_dir", str(tmp_path)]
    notice = "pangu train: warning: the recipe differs from that of the run so far: "
    assert cli.main([*command, "--gin.steps=2"]) == 0
    assert notice not in capsys.readouterr().err
    assert cli.main([*command, "--gin.steps=3", "--gin.seed=1"]) == 0
    assert f"{notice}train.seed 0 -> 1, train.steps 2 -> 3\n" in capsys.readouterr().err
    assert cli.main(["train", "--run_dir", str(tmp_path)]) == 0
    assert notice not in capsys.readouterr().err


@pytest.mark.parametrize("lost", [1, 2])
def test_resumed_from_an_older_checkpoint_is_the_same_to_the_bit(recipe, whole, tmp_path, lost):
    """The newest is damaged: rows after the one before it are written again, and only once."""
    train.run([str(recipe)], ["train.steps=15"], tmp_path)
    for step in checkpoint_files.committed_steps(tmp_path / "checkpoints")[-lost:]:
        files = [f for f in (tmp_path / "checkpoints" / str(step) / "state").rglob("*") if f.is_file()]
        os.truncate(max(files, key=lambda f: f.stat().st_size), 10)
    train.run([str(recipe)], [], tmp_path)
    assert losses(tmp_path) == losses(whole)
    run, good = results.read(tmp_path), {1: 12, 2: 6}[lost]
    assert [(session.from_step, session.steps) for session in run.sessions] == [(0, 15), (good, 20)]
    assert run.resumes == [good]


@pytest.mark.parametrize(
    "there", [["train.backend=cpu:4"], ["train.backend=cpu:8", "Layout.fsdp=4", "Layout.model=2"]], ids=str
)
def test_resumed_on_other_devices(recipe, whole, tmp_path, there):
    train.run([str(recipe)], ["train.steps=6"], tmp_path)
    train.run([str(recipe)], [*there, "train.steps=13"], tmp_path)
    train.run([str(recipe)], [], tmp_path)
    resumed, expected = losses(tmp_path), losses(whole)
    assert [resumed[step] for step in range(1, 7)] == [expected[step] for step in range(1, 7)]
    assert resumed == pytest.approx(expected, rel=1e-4, abs=0)


def test_a_loss_that_is_not_finite(recipe, tmp_path):
    """Names the step, its examples and the last good checkpoint; then resumes once the cause is gone."""
    examples = digits.PoisonedDigits().train_source(32, 0).identity(9)
    with pytest.raises(UserError) as caught:
        train.run([str(recipe)], ["PoisonedDigits.poison_step=9"], tmp_path)
    said = str(caught.value)
    assert "the loss is nan at step 10;" in said
    assert ", ".join(examples[:4]) + " and 28 more" in said
    assert "the last good checkpoint is step 6" in said
    assert ", ".join(examples) in (tmp_path / "run.log").read_text()
    assert checkpoint_files.verify(tmp_path)["usable"] == [6]
    assert max(losses(tmp_path)) == 9


def test_a_poisoned_run_resumes_without_its_poison(recipe, whole, tmp_path):
    with pytest.raises(UserError, match="there is no checkpoint yet"):
        train.run([str(recipe)], ["PoisonedDigits.poison_step=3"], tmp_path / "early")
    with pytest.raises(UserError, match="nan at step 7"):
        train.run([str(recipe)], ["PoisonedDigits.poison_step=6"], tmp_path / "late")
    for name in ("early", "late"):
        train.run([str(recipe)], [], tmp_path / name)
        assert losses(tmp_path / name) == losses(whole)


def another_fingerprint(run_dir, monkeypatch):
    monkeypatch.setattr(digits.PoisonedDigits, "fingerprint", lambda self: {"classes": "11"})


def a_file_in_its_place(run_dir, monkeypatch):
    run_dir.write_text("not a directory")


def nothing(run_dir, monkeypatch):
    pass


# What is done first, whether a run of 3 steps is there, bindings, the error, and what its line holds.
BAD = {
    "fingerprint": (another_fingerprint, True, [], UserError, ["classes", "10", "11"]),
    "other shapes": (nothing, True, ["PoisonedDigits.hidden=32"], UserError, ["64", "32"]),
    "too many devices": (nothing, False, ["Layout.data=3"], UserError, ["Layout.data", "3 devices"]),
    "indivisible batch": (
        nothing,
        False,
        ["train.backend=cpu:8", "train.batch_size=12"],
        UserError,
        ["batch_size 12", "data 8"],
    ),
    "indivisible model": (
        nothing,
        False,
        ["train.backend=cpu:8", "Layout.model=8", "PoisonedDigits.hidden=36"],
        UserError,
        ["mlp 36", "model 8"],
    ),
    "unknown backend": (nothing, False, ["train.backend=gpu9"], UserError, ["'gpu9'", "cpu:N"]),
    "absent backend": (nothing, False, ["train.backend=tpu"], BackendError, ["'tpu'", "pangu-jax[tpu]"]),
    "no run directory": (a_file_in_its_place, False, [], UserError, ["cannot write the run directory"]),
    "misspelt": (nothing, False, ["train.stepps=3"], UserError, ["stepps", "steps"]),
    "no steps": (nothing, False, ["train.steps=0"], UserError, ["train.steps", "0"]),
    "poison": (
        nothing,
        True,
        ["PoisonedDigits.poison_step=4"],
        UserError,
        ["step 5", "checkpoint is step 3"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(recipe, tmp_path, monkeypatch, capsys, case):
    prepare, exists, bindings, error, holds = BAD[case]
    run_dir = tmp_path / "run"
    if exists:
        train.run([str(recipe)], ["train.steps=3"], run_dir)
    prepare(run_dir, monkeypatch)
    kept = contents(run_dir)
    with pytest.raises(error) as caught:
        train.run([str(recipe)], bindings, run_dir)
    assert_one_line(capsys, recipe, bindings, run_dir, holds)
    assert type(caught.value) is error and "\n" not in str(caught.value)
    assert all(part in str(caught.value) for part in holds)
    assert contents(run_dir) == kept


def test_called_from_python_it_says_the_same_line(tmp_path):
    """gin adds a line to what passes through a configurable: "In call to configurable ..."."""
    for steps, words in ((0, "train.steps = 0: it must be"), (1, "the loss is nan at step 1;")):
        with pytest.raises(UserError, match=words) as caught:
            trained(tmp_path, digits.PoisonedDigits(poison_step=0), steps=steps)
        assert type(caught.value) is UserError and "\n" not in str(caught.value)


def test_standard_error_of_a_process_holds_progress_warnings_and_the_error(recipe, tmp_path):
    """Here no test runner has set up a log before the libraries do. The rest is in run.log."""
    train.run([str(recipe)], ["train.steps=7"], tmp_path)
    os.truncate(tmp_path / "checkpoints" / "7" / checkpoint_files.MANIFEST, 10)
    arguments = ["--gin_file", recipe, "--gin.PoisonedDigits.poison_step=8", "--run_dir", tmp_path]
    command = [sys.executable, "-m", "pangu_jax.train", *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True)
    damaged, changed, error = ran.stderr.splitlines()
    assert ran.returncode == 2 and not ran.stdout
    assert damaged.startswith("pangu train: warning: checkpoint ") and "step 6 is taken instead" in damaged
    assert changed.startswith("pangu train: warning: the recipe differs")
    assert error.startswith("pangu train: the loss is nan at step 9; ")
    log = (tmp_path / "run.log").read_text()
    assert "WARNING pangu_jax.runs.sound_steps: checkpoint " in log
    assert "ERROR pangu_jax.training.recorder: loss nan at step 9; " in log and "resuming" in log


def test_a_second_trainer_is_refused_by_name(recipe, tmp_path, capsys):
    with RunDirectory(tmp_path):
        assert_one_line(capsys, recipe, [], tmp_path, ["in use by another trainer", f"pid {os.getpid()}"])
    train.run([str(recipe)], ["train.steps=1"], tmp_path)


def test_a_full_disk(recipe, tmp_path, monkeypatch, capsys):
    """The rows cannot be written any more: the checkpoint before survives, and the run resumes from it."""
    run_dir = tmp_path / "run"
    write = metrics.Metrics.write

    def full(self, step, values):
        if step == 5:
            raise UserError(f"cannot write {self._path}: No space left on device; free or repair the disk")
        write(self, step, values)

    with monkeypatch.context() as patch:
        patch.setattr(metrics.Metrics, "write", full)
        assert_one_line(capsys, recipe, ["train.checkpoint_every=3"], run_dir, ["No space left on device"])
    assert checkpoint_files.verify(run_dir)["usable"] == [3]
    train.run([str(recipe)], ["train.steps=5"], run_dir)
    assert list(losses(run_dir)) == [1, 2, 3, 4, 5]


def contents(run_dir) -> dict[str, bytes] | None:
    """The checkpoints of a run directory: no mistake may touch them."""
    files = (run_dir / "checkpoints").rglob("*") if run_dir.is_dir() else []
    return {str(f.relative_to(run_dir)): f.read_bytes() for f in files if f.is_file()}


def assert_one_line(capsys, recipe, bindings, run_dir, holds) -> None:
    capsys.readouterr()
    flags = [f"--gin.{binding}" for binding in bindings]
    status = cli.main(["train", "--gin_file", str(recipe), *flags, "--run_dir", str(run_dir)])
    err = capsys.readouterr().err
    assert status == 2
    assert err.count("\n") == 1 and err.startswith("pangu train: "), err
    assert all(part in err for part in holds), err


def test_a_workload_without_a_pipeline_says_so(recipe, tmp_path):
    bindings = ["train.backend=cpu:2", "Layout.stage=2", "Layout.schedule=gpipe", "Layout.microbatches=2"]
    with pytest.raises(UserError, match="the workload 'digits' has no pipeline; use 'none'"):
        train.run([str(recipe)], bindings, tmp_path)
