"""The best step of a run is kept, named and opened; a run that gets no better ends, resumed or not."""

import json
import math

import jax
import numpy as np
import pytest

from pangu_jax import train
from pangu_jax.errors import UserError
from pangu_jax.runs import checkpoint_files, metrics, opening
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.training.selection import Best, Selection

ACCURACY = Selection("accuracy", "max", patience=2, tie_breaker="loss")


def rows(*values: tuple[float, float]) -> list[dict]:
    return [
        {"step": step, "accuracy": accuracy, "loss": loss}
        for step, (accuracy, loss) in enumerate(values, start=1)
    ]


def test_the_tie_breaker_decides_among_equals_and_what_is_no_number_is_never_best():
    seen = rows((0.5, 1.0), (0.5, 0.9), (0.4, 0.1), (math.nan, 0.0), (0.6, 5.0), (0.6, 5.0))
    best = Best(ACCURACY)
    assert [best.see(row["step"], row) for row in seen] == [True, True, False, False, True, False]
    assert (best.step, best.enough) == (5, False)
    assert not best.see(7, rows((0.6, 6.0))[0]) and best.enough
    least = Best(Selection("loss"))
    assert [least.see(row["step"], row) for row in seen] == [True, True, True, True, False, False]
    assert not least.enough  # without patience it never is


def test_rows_on_file_give_what_was_known_when_the_run_stopped():
    seen = rows((0.5, 1.0), (0.7, 0.9), (0.6, 0.1))
    whole, resumed = Best(ACCURACY, seen), Best(ACCURACY, json.loads(json.dumps(seen))[:2])
    resumed.see(3, seen[2])
    assert (resumed.step, resumed.values, resumed._since) == (whole.step, whole.values, whole._since)
    assert whole.values == {"accuracy": 0.7, "loss": 0.9}


@pytest.fixture
def overfits(recipe):
    """Arguments of a run whose held-out loss rises in the end: its learning rate does."""
    return [str(recipe)], [
        "train.optimizer=@adamw()",
        "adamw.schedule=@linear_schedule()",
        "linear_schedule.steps=1",
        "linear_schedule.warmup=60",
        "linear_schedule.learning_rate=0.4",
        "train.steps=60",
        "train.validate_every=3",
        "train.checkpoint_every=1000",
        "train.keep=1",
        "train.selection=@Selection()",
        "Selection.patience=3",
    ]


def held_out(run_dir) -> dict[int, float]:
    found = metrics.read(run_dir / "metrics.jsonl")
    return {row["step"]: row["validation_loss"] for row in found if "validation_loss" in row}


def test_the_best_step_is_kept_and_opened_and_patience_ends_the_run(overfits, tmp_path):
    summary = train.run(*overfits, tmp_path)
    measured = held_out(tmp_path)
    best = min(measured, key=measured.__getitem__)
    assert summary["finished"] and summary["step"] == best + 9 < 60
    assert checkpoint_files.committed_steps(tmp_path / "checkpoints") == [best, best + 9]
    named = json.loads((tmp_path / "best.json").read_text())
    assert named["step"] == summary["best_step"] == best
    assert named["values"]["validation_loss"] == measured[best]
    page = (tmp_path / "report.html").read_text()
    assert f"{best + 9} steps" in page and f"ended since no step was better than {best}" in page
    assert f"best step {best}" in summary["text"] and "stopped early" not in summary["text"]
    opened = opening.open_run(tmp_path)
    assert opened.manifest["step"] == best
    assert opening.open_run(tmp_path, best + 9).manifest["step"] == best + 9
    for file in (tmp_path / "checkpoints" / str(best)).rglob("*"):  # damaged, it is stepped over
        if file.is_file() and file.stat().st_size > 1000:
            file.write_bytes(b"")
    assert opening.open_run(tmp_path).manifest["step"] == best + 9
    with pytest.raises(UserError, match=r"'recall' is not measured; there is .*validation_loss"):
        train.run(overfits[0], [*overfits[1], "Selection.metric='recall'"], tmp_path / "other")


def test_interrupted_between_two_evaluations_it_ends_the_same(overfits, tmp_path, monkeypatch):
    """Also where the best checkpoint is the last thing that was written."""
    whole = train.run(*overfits, tmp_path / "whole")
    save = Checkpoints.save

    def interrupted(self, step, *rest, **more):
        if step >= 9:
            raise KeyboardInterrupt
        return save(self, step, *rest, **more)

    monkeypatch.setattr(Checkpoints, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.run(*overfits, tmp_path / "cut")
    monkeypatch.undo()
    resumed = train.run(*overfits, tmp_path / "cut")
    assert held_out(tmp_path / "cut") == held_out(tmp_path / "whole")
    assert resumed["best_step"] == whole["best_step"] and resumed["step"] == whole["step"]
    pairs = [opening.open_run(tmp_path / name).variables.params for name in ("cut", "whole")]
    jax.tree.map(np.testing.assert_array_equal, *pairs)
    assert train.run(*overfits, tmp_path / "cut")["step"] == whole["step"]  # there is nothing to do
