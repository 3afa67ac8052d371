"""`pangu train` as two processes of four devices: the losses of one process, a kill, and a restart."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pangu_jax.runs import checkpoint_files, metrics
from pangu_jax.runs.run_directory import RunDirectory
from tests.training.test_kill import computed, wait_for_step

pytestmark = pytest.mark.prove

ROOT = Path(__file__).parents[2]
LANGUAGE = """
import data_pipelines.text.synthetic
import pangu_jax.workloads.language

train.workload = @LanguageModel()
train.steps = 3
train.batch_size = 16
train.log_every = 1

LanguageModel.model = @EncoderDecoder()
LanguageModel.data = @synthetic_tokens()
EncoderDecoder.vocab_size = 64
EncoderDecoder.d_model = 32
EncoderDecoder.d_ff = 64
EncoderDecoder.heads = 4
EncoderDecoder.encoder_layers = 2
EncoderDecoder.decoder_layers = 2
EncoderDecoder.dropout = 0.1
synthetic_tokens.vocabulary_size = 64
synthetic_tokens.encoder_length = 16
synthetic_tokens.decoder_length = 8
synthetic_tokens.validation_batches = 0
"""


def start(
    count: int, recipe, run_dir, *bindings, program=("-m", "pangu_jax.train")
) -> list[subprocess.Popen]:
    """Eight devices in so many processes."""
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, *program, "--gin_file", recipe, "--run_dir", run_dir]
    command += [f"--gin.train.backend=cpu:{8 // count}", *(f"--gin.{binding}" for binding in bindings)]
    several = {"PANGU_COORDINATOR": f"localhost:{port}", "PANGU_PROCESSES": str(count)}
    return [
        subprocess.Popen(
            [str(word) for word in command],
            cwd=ROOT,
            env=os.environ | (several | {"PANGU_PROCESS": str(index)} if count > 1 else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]


def finish(started: list[subprocess.Popen]) -> list[str]:
    """What each wrote to standard error, all having ended well."""
    try:
        errors = [process.communicate(timeout=240)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * len(started), "\n".join(errors)
    return errors


def losses(run_dir) -> dict[int, float]:
    rows = [row for row in metrics.read(run_dir / "metrics.jsonl") if "loss" in row]
    assert len({row["step"] for row in rows}) == len(rows)
    return {row["step"]: row["loss"] for row in rows}


def furthest(run_dir, other) -> float:
    some, others = losses(run_dir), losses(other)
    assert some.keys() == others.keys()
    return max(abs(loss / others[step] - 1) for step, loss in some.items())


STEPS = ("train.steps=60", "train.checkpoint_every=5")


@pytest.fixture(scope="module")
def alone(recipe, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("alone")
    finish(start(1, recipe, run_dir, *STEPS))
    return run_dir


@pytest.fixture(scope="module")
def two(recipe, tmp_path_factory):
    """A run of two processes that nothing interrupted; data parallel, as nothing else is asked for."""
    run_dir = tmp_path_factory.mktemp("two")
    first, second = finish(start(2, recipe, run_dir, *STEPS))
    assert "pangu train: step 60 of 60, loss " in first and second == ""
    return run_dir


def assert_same_losses(run_dir, other, proof) -> None:
    difference = furthest(run_dir, other)
    proof("largest relative difference of a loss", difference)
    assert difference <= 1e-5


def test_the_losses_are_those_of_one_process(alone, two, proof):
    assert_same_losses(two, alone, proof)
    assert (two / "report.html").is_file()
    assert checkpoint_files.verify(two)["usable"][-1] == 60


@pytest.mark.parametrize("axis", ["fsdp", "model"])
def test_an_axis_across_processes(recipe, alone, tmp_path, proof, axis):
    """`model`: both processes hold, and read, all rows of a batch."""
    finish(start(2, recipe, tmp_path, *STEPS, "train.layout=@Layout()", f"Layout.{axis}=8"))
    assert_same_losses(tmp_path, alone, proof)


def test_a_pipeline_whose_stages_are_processes(tmp_path, proof):
    recipe = tmp_path / "language.gin"
    recipe.write_text(LANGUAGE)
    finish(start(1, recipe, tmp_path / "alone", "train.backend=cpu"))
    pipeline = ("stage=2", "schedule=gpipe", "microbatches=2")
    layout = ["train.layout=@Layout()", *(f"Layout.{one}" for one in pipeline)]
    finish(start(2, recipe, tmp_path / "two", *layout))
    environment = json.loads((tmp_path / "two" / "environment.json").read_text())
    assert (environment["processes"], environment["layout"]) == (2, "stage 2 x data 4")
    assert_same_losses(tmp_path / "two", tmp_path / "alone", proof)


def test_a_killed_process_ends_the_other_and_a_restart_goes_on(recipe, two, tmp_path, proof):
    for step, victim in ((12, 1), (30, 0)):
        started = start(2, recipe, tmp_path, *STEPS)
        wait_for_step(started[0], tmp_path, step)
        started[victim].kill()
        other = started[1 - victim]
        _, error = other.communicate(timeout=60)
        assert started[victim].wait() == -signal.SIGKILL
        if victim == 1:
            assert other.returncode == 2
            assert error.splitlines()[-1].startswith("pangu: process 1 (on "), error
            assert (
                "cannot continue without it; the same command resumes" in error and "Traceback" not in error
            )
        else:  # JAX's coordinator is gone with process 0, and JAX may be quicker to end this one
            assert other.returncode in (2, -signal.SIGABRT)
            assert "process 0 (on " in error or "another task died" in error
        proof(f"the other's exit status when process {victim} dies", other.returncode)
    finish(start(2, recipe, tmp_path, *STEPS))
    assert computed(tmp_path) == computed(two)
    proof("rows equal to the bit", len(losses(tmp_path)))


TIMED = """
import json, os, sys, time
from pangu_jax import cli
from pangu_jax.training.stop_agreement import StopAgreement

asked, waited = StopAgreement.stops_after, []

def timed(agreement, step):
    began = time.perf_counter()
    answer = asked(agreement, step)
    waited.append(time.perf_counter() - began)
    return answer

StopAgreement.stops_after = timed
status = cli.main(["train", *sys.argv[2:]])
with open(f"{sys.argv[1]}/{os.environ['PANGU_PROCESS']}", "w") as file:
    json.dump(sum(waited) / len(waited), file)
sys.exit(status)
"""


def test_the_host_does_not_wait_to_learn_whether_to_stop(tmp_path, proof):
    recipe, run_dir = tmp_path / "language.gin", tmp_path / "run"
    recipe.write_text(LANGUAGE)
    bindings = ("train.steps=60", "train.batch_size=64")
    finish(start(2, recipe, run_dir, *bindings, program=("-c", TIMED, tmp_path)))
    steps = [
        row["step_seconds"] for row in metrics.read(run_dir / "metrics.jsonl") if row.get("step_seconds")
    ]
    proof("seconds per step", sum(steps) / len(steps))
    for process in range(2):
        share = float((tmp_path / f"{process}").read_text()) * len(steps) / sum(steps)
        proof(f"share of them that process {process} waits for the answer", share)
        assert share < 0.02


def test_a_signal_to_one_stops_both(recipe, tmp_path):
    started = start(2, recipe, tmp_path, "train.steps=100000")
    wait_for_step(started[0], tmp_path, 3)
    started[1].send_signal(signal.SIGTERM)
    finish(started)
    saved = checkpoint_files.verify(tmp_path)["usable"][-1]
    assert saved == max(losses(tmp_path)) < 100000
    finish(start(2, recipe, tmp_path, f"train.steps={saved}"))
    validated = [row["step"] for row in metrics.read(tmp_path / "metrics.jsonl") if "validation_loss" in row]
    assert validated == [saved]


def test_a_mistake_that_only_process_0_sees_ends_both(recipe, tmp_path):
    with RunDirectory(tmp_path):
        first, second = start(2, recipe, tmp_path)
        errors = [process.communicate(timeout=120)[1] for process in (first, second)]
    assert [first.returncode, second.returncode] == [2, 2]
    assert errors[0].count("\n") == 1 and "in use by another trainer" in errors[0], errors[0]
    assert "process 0 (on " in errors[1] and "Traceback" not in errors[1], errors[1]
