"""Resuming is exact about data: each example once per epoch, whatever the batch sizes; changes are named."""

import json
import logging

import gin
import numpy as np
import pytest

from pangu_jax.runs import checkpoint_files
from pangu_jax.training import data_place
from pangu_jax.training.train import train
from tests.training.counted import CountedDigits


def start(run_dir, steps=3, batch_size=4, backend="cpu", text="a", seed=0):
    """A run or its next session; how often it has learnt each example, as its last checkpoint has it."""
    gin.clear_config()
    recipe = f"train.batch_size = {batch_size}\n"
    settings = {"steps": steps, "batch_size": batch_size, "backend": backend, "seed": seed, "recipe": recipe}
    return np.asarray(train(str(run_dir), CountedDigits(text=text), **settings).variables.extra["seen"])


def manifest(run_dir, step):
    return checkpoint_files.read_manifest(run_dir / "checkpoints" / str(step))


def make_older(run_dir, step, *lost):
    """The checkpoint as a version before this one wrote it."""
    folder = run_dir / "checkpoints" / str(step)
    file = folder / checkpoint_files.MANIFEST
    kept = {name: value for name, value in json.loads(file.read_text()).items() if name not in lost}
    file.write_text(json.dumps(kept))
    checkpoint_files.write_checksums(folder)


def test_each_example_comes_once_whatever_the_batch_sizes(tmp_path, caplog):
    """4, 8 and 2 examples per batch, the second over two devices: 12, 28 and then all 48."""
    assert start(tmp_path).sum() == 12
    with caplog.at_level(logging.INFO, "pangu_jax"):
        middle = start(tmp_path, 5, 8, "cpu:2")
    assert middle.max() == 1 and middle.sum() == 28
    assert (
        "batches had 4 examples and have 8: the run goes on with the one after the 12 it has read"
        in caplog.text
    )
    assert manifest(tmp_path, 5)["examples"] == 28
    with caplog.at_level(logging.INFO, "pangu_jax"):
        assert start(tmp_path, 15, 2).tolist() == [1] * 48
    assert caplog.messages.count("step 15: epoch 1 of digits ends") == 1
    assert start(tmp_path, 18, 16).tolist() == [2] * 48


def test_an_older_checkpoint_was_at_its_own_batch_size_times_its_steps(tmp_path):
    start(tmp_path)
    make_older(tmp_path, 3, "examples", "order")
    after = start(tmp_path, 5, 8)
    assert after.max() == 1 and after.sum() == 28


@pytest.mark.parametrize(
    ("manifest", "read"),
    [
        ({"step": 6, "examples": 25, "recipe": "train.batch_size = 4\n"}, 25),
        ({"step": 6, "recipe": "train.batch_size = 4\n"}, 24),
        ({"step": 6, "recipe": "train.batch_size = %SIZE  # 5\n"}, 30),
        ({"step": 6, "recipe": "# default: tune.batch_size = 16\n"}, 96),
        ({"step": 6, "recipe": "train.batch_size = @size()\n"}, 48),
        ({"step": 6, "recipe": ""}, 48),
        ({"step": 6}, 48),
        ({"step": 0}, 0),
    ],
)
def test_what_a_manifest_says_was_read(manifest, read):
    """The recipe of an older one is text, perhaps of a library that is no more."""
    assert data_place.examples_read(manifest, 8) == read


def test_other_data_at_a_resume_are_named_with_what_follows(tmp_path, caplog):
    start(tmp_path)
    caplog.clear()
    start(tmp_path, 4, text="b", seed=7)
    (warning,) = [one for one in caplog.messages if one.startswith("the training data are not those")]
    assert "text a -> b, seed 0 -> 7; after 12 examples it goes on in another order" in warning
    caplog.clear()
    start(tmp_path, 5, text="b", seed=7)
    assert "training data" not in caplog.text


class Stream:
    def __init__(self, size, batch_size):
        self.size, self.batch_size = size, batch_size

    def epochs(self, step):
        return {"text": (step + 1) * self.batch_size // self.size}


def test_the_ends_of_short_epochs_are_told_more_and_more_seldom():
    lines = data_place.EpochLines(Stream(2, 2), 0)
    told = [line for step in range(1, 401) for line in lines.after(step)]
    numbers = [int(line.split()[3]) for line in told]
    assert numbers == [*range(1, 10), *range(10, 100, 10), 100, 200, 300, 400]
    assert told[0] == "step 1: epoch 1 of text ends"
    resumed = data_place.EpochLines(Stream(10, 4), 5)
    assert (
        resumed.after(6) == []
        and resumed.after(7) == []
        and resumed.after(8) == ["step 8: epoch 3 of text ends"]
    )
