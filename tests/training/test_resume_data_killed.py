"""Batches of 4, then 8, then 2, with kills between: each window of a corpus once per epoch of its task."""

import random
import signal
import time

import jax
import numpy as np
import pytest

from pangu_jax import recipes
from pangu_jax.recipes.functions import TRAIN
from pangu_jax.runs import checkpoint_files
from pangu_jax.runs.checkpoints import Checkpoints
from tests.training.test_kill import last_step
from tests.training.test_two_processes import finish, start

pytestmark = pytest.mark.prove

RECIPE = """
import data_pipelines.text.tasks.mixture
import pangu_jax.workloads.language
import tests.training.counted

train.workload = @CountedLanguage()
train.steps = 100000
train.batch_size = 4
train.log_every = 1
train.checkpoint_every = 3
train.watchdog_seconds = 600.0

CountedLanguage.model = @EncoderDecoder()
CountedLanguage.data = @corpus()
EncoderDecoder.vocab_size = 1024
EncoderDecoder.d_model = 16
EncoderDecoder.d_ff = 16
EncoderDecoder.heads = 2
EncoderDecoder.encoder_layers = 1
EncoderDecoder.decoder_layers = 1
corpus.path = '{text}'
corpus.cache_dir = '{cache}'
corpus.vocabulary_size = 600
corpus.encoder_length = 64
corpus.decoder_length = 32
corpus.objectives = {{'causal': @Causal(), 'prefix': @PrefixLM()}}
corpus.weights = {{'causal': 2, 'prefix': 1}}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder, draw = tmp_path_factory.mktemp("counted"), random.Random(0)
    (folder / "text").mkdir()
    han = [chr(0x4E00 + number) for number in range(200)]
    for number in range(60):
        text = "".join(draw.choices(han, k=120)) + "。"
        (folder / "text" / f"{number}.txt").write_text(text, "utf-8")
    path = folder / "recipe.gin"
    path.write_text(RECIPE.format(text=folder / "text", cache=folder / "cache"))
    return path


@pytest.fixture(scope="module")
def windows_of_causal(recipe):
    """How many windows the first task has; the rest are the other's."""
    with recipes.using([str(recipe)], [], function=TRAIN) as found:
        return recipes.make(found, found.arguments("train")["workload"]).tasks[0].size


def read(run_dir):
    """The newest checkpoint: its step, examples read, and how often each window was learnt."""
    with Checkpoints(run_dir / "checkpoints", read_only=True) as checkpoints:
        step, manifest = checkpoints.newest_sound()
        shape = tuple(manifest["arrays"]["extra/seen"]["shape"])
        path = {"extra": {"seen": jax.ShapeDtypeStruct(shape, np.int32)}}
        seen = checkpoints.restore_entries(path, step)[0]["extra"]["seen"]
    return step, manifest["examples"], np.asarray(seen)


def wait_for_checkpoint(process, run_dir, more):
    """One that is whole, so many steps after the newest there is, and a step after it."""
    steps = lambda: [0, *checkpoint_files.committed_steps(run_dir / "checkpoints")]  # noqa: E731
    wanted, deadline = max(steps()) + more, time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        if max(steps()) >= wanted and last_step(run_dir) > max(steps()):
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate()[1] if process.poll() is not None else "too slow")


@pytest.mark.parametrize("processes", [1, 2])
def test_each_window_comes_once_per_epoch(recipe, windows_of_causal, tmp_path, proof, processes):
    """Over two devices, of one process or of two; killed after the checkpoint that the next one resumes."""
    devices = f"train.backend=cpu:{2 // processes}"
    for batch_size, more in ((4, 6), (8, 3)):
        started = start(processes, recipe, tmp_path, devices, f"train.batch_size={batch_size}")
        wait_for_checkpoint(started[0], tmp_path, more)
        for process in started:
            process.kill()
        assert {process.wait() for process in started} == {-signal.SIGKILL}
        step, examples, seen = read(tmp_path)
        assert seen.sum() == examples and seen.max() == 1
    first = 2 * len(seen)  # twice through the task that is drawn twice as often
    steps = step + (first - examples) // 2
    last = (devices, "train.batch_size=2", f"train.steps={steps}", "train.checkpoint_every=1000")
    error, *_ = finish(start(processes, recipe, tmp_path, *last))
    step, examples, seen = read(tmp_path)
    assert (step, examples, seen.sum()) == (steps, first - (first - examples) % 2, examples)
    # Each task by itself: it has been read some whole epochs, and of the next one some windows once.
    assert all(own.max() - own.min() <= 1 for own in np.split(seen, [windows_of_causal])), seen
    assert "batches had 8 examples and have 2: the run goes on with the one after the" in error
    assert ": epoch 1 of corpus_causal ends" in error
    proof("examples of batches of 4, 8 and 2, each window once per epoch", examples)
