"""Layouts of latent attention and of a module that predicts one token further, against one device."""

import dataclasses

import pytest

from data_pipelines.text.synthetic import SyntheticTokens
from pangu_jax.models.experts import ExpertsConfig
from pangu_jax.models.latent_attention import LatentWidths
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel.layout import Layout
from pangu_jax.training import optimizers, schedules
from pangu_jax.workloads.language import LanguageModel
from pangu_jax.workloads.language.model.decoder import DecoderConfig
from tests.parallel.test_parity import BATCH, assert_same, three_steps
from tests.workloads.language import test_experts

MODEL = DecoderConfig(
    vocab_size=64,
    d_model=32,
    d_ff=48,
    heads=8,
    latent=LatentWidths(rank=40, query_rank=24, plain=6, rotary=4, value=5),
    layers=4,
    sandwich=True,
    predictions=1,
    tied_head=False,
    loss_chunks=2,
)
TOKENS = SyntheticTokens(64, encoder_length=0, decoder_length=8)
FAST = {
    "data 2 x fsdp 2 x model 2, by hand": Layout(data=2, fsdp=2, model=2, partitioning="manual"),
    "model 4 x sequence 2": Layout(data=1, model=4, sequence=2),
}
OTHERS = {
    "stage 2 x model 2 x fsdp 2, circular": Layout(
        stage=2, data=1, model=2, fsdp=2, schedule="circular", repeats=2, microbatches=4, remat="dots"
    ),
    "fsdp 8": Layout(data=1, fsdp=8),
    "sequence 4 x data 2": Layout(sequence=4, data=2, remat="full"),
    "stage 4 x data 2, gpipe": Layout(stage=4, data=2, schedule="gpipe", microbatches=4),
    "stage 2 x model 2 x data 2, 1f1b": Layout(stage=2, model=2, data=2, schedule="1f1b", microbatches=4),
}


@pytest.fixture(scope="module")
def adamw():
    return optimizers.adamw(schedules.constant_schedule(1e-2))


@pytest.fixture(scope="module")
def one_device(adamw):
    return three_steps(Layout(data=1), adamw, LanguageModel(MODEL, TOKENS))


@pytest.mark.parametrize("name", FAST)
def test_layouts(name, adamw, one_device):
    assert_same(three_steps(FAST[name], adamw, LanguageModel(MODEL, TOKENS)), one_device)


@pytest.mark.prove
@pytest.mark.parametrize("partitioning", ["auto", "manual"])
@pytest.mark.parametrize("name", [*FAST, *OTHERS])
def test_more_layouts(name, partitioning, adamw, one_device, proof):
    layout = dataclasses.replace((FAST | OTHERS)[name], partitioning=partitioning)
    difference = assert_same(three_steps(layout, adamw, LanguageModel(MODEL, TOKENS)), one_device)
    proof("largest difference of a gradient", difference)


@pytest.mark.prove
def test_the_module_has_experts_and_loads_of_its_own():
    """Its block is the fifth with experts: behind a dense layer the tower has four."""
    experts = ExpertsConfig(8, 16, 3, "sigmoid", factor=2.5, balance=0.05, bias_speed=0.01)
    model = dataclasses.replace(MODEL, layers=5, dense_layers=1, experts=experts, sandwich=False)
    made = LanguageModel(model, TOKENS)
    expected = test_experts.three_steps(Layout(data=1), made)
    assert expected[2]["experts"]["fraction"].shape == (5, 8)
    layout = Layout(data=1, fsdp=2, expert=2, model=2, partitioning="manual")
    metrics, *rest = test_experts.three_steps(layout, made)
    # Of the first step: Adam's of gradients near zero are noise, which later steps read.
    test_experts.assert_same((metrics[:1], *rest), (expected[0][:1], *expected[1:]))


def test_a_latent_is_a_width_that_shards_must_divide():
    problems = layouts.check(Layout(data=1, fsdp=16), 16 * BATCH, LanguageModel(MODEL, TOKENS).dimensions())
    assert [name for name, _ in problems] == ["Layout.fsdp"] * 2
    assert "query latent embed 24 is not divisible by fsdp 16" in problems[1][1]
