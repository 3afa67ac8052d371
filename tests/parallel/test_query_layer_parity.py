"""Layouts of learned positions, LayerNorms and a query layer, against one device; one window too long."""

import dataclasses

import pytest

from data_pipelines.text.synthetic import SyntheticTokens
from pangu_jax.errors import UserError
from pangu_jax.parallel.layout import Layout
from pangu_jax.training import optimizers, schedules
from pangu_jax.workloads.language import LanguageModel
from pangu_jax.workloads.language.model.decoder import DecoderConfig
from tests.parallel.test_parity import assert_same, three_steps

MODEL = DecoderConfig(
    vocab_size=64,
    d_model=32,
    d_ff=48,
    heads=8,
    kv_heads=8,
    layers=5,
    query_layer=True,
    position="learned",
    positions=12,
    norm="layer",
    activation="gelu",
    gated=False,
    biases=True,
    feed_forward_biases=True,
    dropout=0.1,
    loss_chunks=2,
)
TOKENS = SyntheticTokens(64, encoder_length=0, decoder_length=8)
WORKLOAD = LanguageModel(MODEL, TOKENS)
FAST = {
    "data 2 x fsdp 2 x model 2, by hand": Layout(data=2, fsdp=2, model=2, partitioning="manual"),
    "model 4 x sequence 2, by the compiler": Layout(data=1, model=4, sequence=2),
    "stage 2 x fsdp 2 x model 2, circular": Layout(
        stage=2, data=1, fsdp=2, model=2, schedule="circular", repeats=2, microbatches=4
    ),
}
OTHERS = {
    "fsdp 8": Layout(data=1, fsdp=8),
    "sequence 4 x data 2": Layout(sequence=4, data=2, remat="full"),
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
def test_layouts(name, adamw, one_device):
    assert_same(three_steps(FAST[name], adamw, WORKLOAD), one_device)


@pytest.mark.prove
@pytest.mark.parametrize("partitioning", ["auto", "manual"])
@pytest.mark.parametrize("name", [*FAST, *OTHERS])
def test_more_layouts(name, partitioning, adamw, one_device, proof):
    layout = dataclasses.replace((FAST | OTHERS)[name], partitioning=partitioning)
    proof("largest difference of a gradient", assert_same(three_steps(layout, adamw, WORKLOAD), one_device))


def test_windows_longer_than_the_table_are_refused():
    with pytest.raises(UserError, match="more than the model's positions 12"):
        LanguageModel(MODEL, SyntheticTokens(64, encoder_length=0, decoder_length=16)).train_source(2, 0)
