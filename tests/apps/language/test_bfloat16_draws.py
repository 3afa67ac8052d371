"""Draws keep their odds in bfloat16: JAX draws its uniform numbers in the type that it is given.

With a bfloat16 probability there are 128 of them, so what is rare happens for one draw in 128 or never; with
bfloat16 logits the noise of many equal ones is the same, and the first of them is taken.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.apps.language.decoding import sampling
from pangu_jax.apps.language.decoding.settings import Sampling
from pangu_jax.apps.language.tuning import modes
from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads.language.model import blocks
from pangu_jax.workloads.language.model.blocks import LayerInputs
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig

EQUAL = jnp.zeros((8192, 100), jnp.bfloat16)


@pytest.mark.parametrize(
    ("settings", "among"),
    [
        (Sampling(), 8192),
        (Sampling(top_p=0.9), 8192),
        (Sampling(top_k=4096), 4096),
        (Sampling(temperature=0.3, top_k=4096, top_p=0.99), 4096),
    ],
    ids=str,
)
def test_equal_bfloat16_logits_are_drawn_evenly(settings, among):
    drawn = np.asarray(sampling.draw(EQUAL, jax.random.split(jax.random.key(0), 100), settings))
    assert len(set(drawn.tolist())) > 90 and drawn.max() > 0.9 * among
    assert abs(drawn.mean() / among - 0.5) < 0.12  # four standard deviations


def test_bfloat16_logits_as_they_are_are_not():
    """What the cast is for: a JAX that draws these evenly needs it no more."""
    drawn = jax.vmap(jax.random.categorical, (0, 1))(jax.random.split(jax.random.key(0), 100), EQUAL)
    assert drawn.mean() < 1024


def test_the_normaliser_of_bfloat16_logits_is_a_sum_in_fp32():
    np.testing.assert_allclose(sampling.log_normaliser(EQUAL)[0], np.log(8192), rtol=1e-6)


@pytest.mark.parametrize("rate", [0.001, 0.004])
def test_rare_dropout_stays_rare_in_bfloat16(rate):
    config = EncoderDecoderConfig(
        vocab_size=8, d_model=256, d_ff=8, heads=1, encoder_layers=1, decoder_layers=1, dropout=rate
    )
    inputs = LayerInputs(64, jax.random.split(jax.random.key(1), 64), rotation=None, attend=None)
    ones = jnp.ones((64, 64, 256), jnp.bfloat16)
    kept = blocks.dropped(config, OneDevice(), inputs, ones, jnp.int32(0))
    dropped = float(jnp.mean(kept == 0, dtype=jnp.float32))
    assert kept.dtype == jnp.bfloat16 and abs(dropped / rate - 1) < 0.15


@pytest.mark.parametrize("share", [0.001, 0.9999])
def test_freezing_moves_its_share_of_bfloat16_weights(share):
    context = SimpleNamespace(key_of=lambda step: jax.random.key(2))
    gradient = jnp.ones((1024, 1024), jnp.bfloat16)
    moved = modes.ChildTuningF(share).freeze_mask(jnp.int32(0), ("up",), gradient, context)
    rare = min(share, 1 - share)
    found = float(jnp.mean(moved == (share < 0.5), dtype=jnp.float32))
    assert moved.dtype == jnp.bfloat16 and abs(found / rare - 1) < 0.3


def test_mixout_puts_back_its_share_of_bfloat16_weights():
    weight = {"up": jnp.ones((1024, 1024), jnp.bfloat16)}
    context = SimpleNamespace(
        key_of=lambda step: jax.random.key(3), start=jax.tree.map(jnp.zeros_like, weight)
    )
    seen = modes.Mixout(0.002).perturbed(weight, jnp.int32(0), context)["up"]
    assert abs(float(jnp.mean(seen == 0, dtype=jnp.float32)) / 0.002 - 1) < 0.15
