"""Trainers killed at random moments and resumed: the same losses, to the bit, as if nothing had happened."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pangu_jax.runs import checkpoint_files, metrics

pytestmark = pytest.mark.prove

ROOT = Path(__file__).parents[2]
STEPS = 300
BINDINGS = (f"train.steps={STEPS}", "train.checkpoint_every=5", "train.validate_every=50")


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole")
    finish(recipe, run_dir)
    return run_dir


def start(recipe, run_dir) -> subprocess.Popen:
    command = [sys.executable, "-m", "pangu_jax.train", "--gin_file", str(recipe), "--run_dir", str(run_dir)]
    command += [f"--gin.{binding}" for binding in BINDINGS]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(recipe, run_dir) -> str:
    process = start(recipe, run_dir)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert checkpoint_files.verify(run_dir)["usable"][-1] == STEPS
    return err


def last_step(run_dir) -> int:
    """The last step of metrics.jsonl, while a trainer may be writing it."""
    path = Path(run_dir, "metrics.jsonl")
    return max((row["step"] for row in metrics.read(path)), default=0)


def wait_for_step(process, run_dir, step) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and last_step(run_dir) < step and time.monotonic() < deadline:
        time.sleep(0.002)
    assert process.poll() is None, process.communicate()[1]


def computed(run_dir) -> list[dict]:
    """Every row, without what was measured of the machine: only what was computed is the same twice."""
    measured = {"tokens_per_second", "mfu", "step_seconds", "seconds", "host_memory_gib", "device_memory_gib"}
    rows = metrics.read(run_dir / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name not in measured} for row in rows]


def test_killed_at_random_moments_and_resumed(recipe, whole, tmp_path, proof):
    """Six SIGKILLs: while it starts or restores, between two steps, while a checkpoint is written."""
    moments = random.Random(0)
    killed_at = []
    for number in range(6):
        with start(recipe, tmp_path) as process:
            target = last_step(tmp_path) + moments.randint(2, 30)
            if number == 3:
                time.sleep(moments.uniform(0.5, 3.0))  # before it trains
            else:
                wait_for_step(process, tmp_path, target)
                time.sleep(moments.uniform(0, 0.02))
            process.kill()
        assert process.returncode == -signal.SIGKILL
        killed_at.append(last_step(tmp_path))
    assert 0 < killed_at[0] < killed_at[-1] < STEPS
    err = finish(recipe, tmp_path)
    assert "Traceback" not in err
    assert computed(tmp_path) == computed(whole)
    proof("killed after steps", ", ".join(map(str, killed_at)))
    proof("rows equal to the bit", len(computed(whole)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_and_leaves_cleanly(recipe, whole, tmp_path, proof, number):
    with start(recipe, tmp_path) as process:
        wait_for_step(process, tmp_path, 12)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert f"{number.name}: saving, then leaving" in err and "Traceback" not in err
    stopped = last_step(tmp_path)
    assert 12 <= stopped < STEPS
    assert checkpoint_files.verify(tmp_path)["usable"][-1] == stopped
    finish(recipe, tmp_path)
    assert f"resuming {tmp_path} from step {stopped}\n" in (tmp_path / "run.log").read_text()
    assert computed(tmp_path) == computed(whole)
    proof("stopped and resumed at step", stopped)
