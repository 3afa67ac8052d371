"""Layouts of a decoder alone against one device: three optimizer steps, and each gradient of the first."""

import dataclasses

import jax
import numpy as np
import pytest

from data_pipelines.text.synthetic import SyntheticTokens
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel.layout import Layout
from pangu_jax.training import optimizers, schedules
from pangu_jax.workloads.language import LanguageModel
from pangu_jax.workloads.language.model.decoder import DecoderConfig
from tests.parallel.test_parity import BATCH, assert_same, manually, three_steps

WORKLOAD = LanguageModel(
    DecoderConfig(
        vocab_size=64, d_model=32, d_ff=48, heads=8, kv_heads=4, head_dim=6, layers=4, biases=True,
        sandwich=True, tied_head=False, loss_chunks=2,
    ),
    SyntheticTokens(64, encoder_length=0, decoder_length=8),
)  # fmt: skip
FAST = {
    "data 2 x fsdp 2 x model 2": Layout(data=2, fsdp=2, model=2),
    "model 4 x sequence 2": Layout(data=1, model=4, sequence=2),
    "stage 2 x fsdp 4, circular": Layout(
        stage=2, data=1, fsdp=4, schedule="circular", repeats=2, microbatches=4
    ),
}
OTHERS = {
    "data 8": Layout(data=8),
    "fsdp 8": Layout(data=1, fsdp=8),
    "model 4 x data 2": Layout(model=4, data=2),
    "stage 4 x data 2, gpipe": Layout(stage=4, data=2, schedule="gpipe", microbatches=4),
    "stage 2 x model 2 x data 2, 1f1b": Layout(
        stage=2, model=2, data=2, schedule="1f1b", microbatches=4, remat="dots"
    ),
}


@pytest.fixture(scope="module")
def adamw():
    return optimizers.adamw(schedules.constant_schedule(1e-2))


@pytest.fixture(scope="module")
def one_device(adamw):
    return three_steps(Layout(data=1), adamw, WORKLOAD)


@pytest.mark.parametrize("name", FAST)
def test_partitioned_by_hand(name, adamw, one_device):
    assert_same(three_steps(manually(FAST)[name], adamw, WORKLOAD), one_device)


@pytest.mark.prove
@pytest.mark.parametrize("partitioning", ["auto", "manual"])
@pytest.mark.parametrize("name", [*FAST, *OTHERS])
def test_more_layouts(name, partitioning, adamw, one_device, proof):
    layout = dataclasses.replace((FAST | OTHERS)[name], partitioning=partitioning)
    difference = assert_same(three_steps(layout, adamw, WORKLOAD), one_device)
    proof("largest difference of a gradient", difference)


def test_the_losses_are_worth_comparing(one_device):
    losses, gradient = one_device
    assert min(abs(losses[0] - losses[1]), abs(losses[1] - losses[2])) > 1e-3
    assert all(np.linalg.norm(leaf) > 0 for leaf in jax.tree.leaves(gradient))


def test_heads_of_keys_say_what_would_divide_them():
    problems = layouts.check(Layout(data=1, model=8), BATCH, WORKLOAD.dimensions())
    assert problems == [("Layout.model", "kv heads 4 is not divisible by model 8; 4 would do")]
