"""A resumed run's metrics.jsonl equals an uninterrupted one's."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pangu_jax.errors import UserError
from pangu_jax.runs import metrics
from pangu_jax.runs.metrics import Metrics
from pangu_jax.runs.run_directory import RunDirectory

floats32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


def fresh_run(tmp_path_factory) -> RunDirectory:
    return RunDirectory(tmp_path_factory.mktemp("run"))


@given(value=floats32)
def test_floats_round_trip_to_the_bit(tmp_path_factory, value):
    run = fresh_run(tmp_path_factory)
    with Metrics(run, tensorboard=False) as out:
        out.write(1, {"loss": np.float32(value), "double": value / 3})
    [row] = metrics.read(run.metrics)
    assert np.float32(row["loss"]).tobytes() == np.float32(value).tobytes()
    assert row["double"] == value / 3


@given(losses=st.lists(floats32, min_size=1, max_size=12), data=st.data())
def test_killed_anywhere_and_resumed_equals_uninterrupted(tmp_path_factory, losses, data):
    """Kill after any byte of any row that came after the checkpoint, resume from it, finish."""
    run = fresh_run(tmp_path_factory)

    def train(first: int, out: Metrics) -> None:
        for step, loss in enumerate(losses[first:], start=first + 1):
            out.write(step, {"loss": loss, "task": "前缀"})
            if step % 2 == 0:
                out.write(step, {"validation_loss": loss})

    with Metrics(run, tensorboard=False) as out:
        train(0, out)
    whole = run.metrics.read_bytes()
    restored = data.draw(st.integers(0, len(losses)))
    saved = b"".join(line for line in whole.splitlines(keepends=True) if json.loads(line)["step"] <= restored)
    run.metrics.write_bytes(whole[: data.draw(st.integers(len(saved), len(whole)))])
    with Metrics(run, after_step=restored, tensorboard=False) as out:
        train(restored, out)
    assert run.metrics.read_bytes() == whole


def test_a_torn_last_line_is_not_a_row(tmp_path):
    run = RunDirectory(tmp_path)
    run.metrics.write_bytes('{"step": 1, "loss": 2.5}\n{"step": 2, "task": "前'.encode()[:-1])
    assert metrics.read(run.metrics) == [{"step": 1, "loss": 2.5}]
    assert metrics.read(tmp_path / "absent") == []


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"loss": 1.0}', '{"step": "two"}', "\x00\x00"])
def test_a_damaged_line_is_named(tmp_path, line):
    run = RunDirectory(tmp_path)
    run.metrics.write_text('{"step": 1}\n' + line + '\n{"step": 3}\n')
    with pytest.raises(UserError, match="line 2 is not a row"):
        Metrics(run, after_step=3, tensorboard=False)


def test_what_json_cannot_say_is_null(tmp_path):
    run = RunDirectory(tmp_path)
    with Metrics(run, tensorboard=False) as out:
        out.write(
            np.int64(1), {"loss": math.nan, "grad_norm": np.float32("inf"), "ok": True, "n": np.int32(3)}
        )
    assert metrics.read(run.metrics) == [{"step": 1, "loss": None, "grad_norm": None, "ok": True, "n": 3}]


def test_tensorboard_gets_the_numbers(tmp_path):
    run = RunDirectory(tmp_path)
    with Metrics(run) as out:
        out.write(1, {"loss": np.float32(0.5), "name": "text"})
    [events] = run.tensorboard.iterdir()
    assert b"loss" in events.read_bytes() and b"name" not in events.read_bytes()


FILL_THE_DISK = """
import resource, sys
from pangu_jax.errors import UserError
from pangu_jax.runs.metrics import Metrics
from pangu_jax.runs.run_directory import RunDirectory
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with Metrics(RunDirectory(sys.argv[1]), tensorboard=False) as out:
        for step in range(1, 1000):
            out.write(step, {"loss": 1.0})
except UserError as error:
    print(error)
"""


def test_a_full_disk_is_said_in_a_line_and_leaves_whole_rows(tmp_path):
    command = [sys.executable, "-c", FILL_THE_DISK, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    path = tmp_path / "metrics.jsonl"
    assert (
        said
        == f"cannot write {path}: File too large; free or repair the disk and run the same command again\n"
    )
    rows = metrics.read(path)
    assert len(rows) > 10 and rows == [{"step": step, "loss": 1.0} for step in range(1, len(rows) + 1)]
