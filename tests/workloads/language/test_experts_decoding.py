"""Experts a few tokens at a time against the window, and the bias of a router among its parameters."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.workloads.language.model import architecture, decoder_weights, incremental
from pangu_jax.workloads.language.model.forward import Forward
from tests.workloads.language.test_experts import GROUPED, SIGMOID, workload

TOKENS = np.random.default_rng(0).integers(1, 64, (2, 7)).astype(np.int32)


@pytest.mark.parametrize("experts", [GROUPED, SIGMOID], ids=["grouped", "sigmoid"])
def test_a_token_at_a_time_is_the_whole_window(experts):
    config = dataclasses.replace(workload(experts).model, sandwich=True)
    forward, params = Forward(config), architecture.init(config, jax.random.key(0))
    positions = jnp.broadcast_to(jnp.arange(7), (2, 7))
    batch = {
        "decoder_input_tokens": TOKENS,
        "decoder_segment_ids": jnp.ones((2, 7), jnp.int32),
        "decoder_positions": positions,
    }
    expected = forward.logits(params, forward.decode(params, batch))
    weights = decoder_weights.prepare(forward, params)
    cache, found = incremental.empty_cache(forward, weights, 2, 7), []
    for column, new in ((0, 4), (4, 1), (5, 2)):  # a prefix at once, one token, two
        visible = jnp.arange(7) <= positions[:, column : column + new, None]
        part = slice(column, column + new)
        hidden, cache = incremental.extend(
            forward, weights, None, cache, TOKENS[:, part], positions[:, part], column, visible, None
        )
        logits = incremental.logits(forward, weights, hidden)
        found.append(logits.reshape(-1, 2, new).transpose(1, 2, 0))
    np.testing.assert_allclose(jnp.concatenate(found, 1), expected, atol=2e-5)


def test_without_its_state_a_router_chooses_as_with_it():
    made = workload(SIGMOID, predictions=1)
    variables = made.init(jax.random.key(0))
    state = variables.extra["experts"]
    moved = state | {"bias": 0.3 * jax.random.normal(jax.random.key(1), state["bias"].shape)}
    variables = variables._replace(extra={"experts": moved})
    batch = made.train_source(4, 0).batch(0)
    forward = Forward(made.model)
    with_state = forward.loss(variables.params | variables.extra, batch)
    without = forward.loss(made.evaluated(variables).params, batch)
    unmoved = forward.loss(variables.params, batch)
    np.testing.assert_allclose(without.total, with_state.total, rtol=1e-6)
    np.testing.assert_array_equal(without.routed.load_LxE, with_state.routed.load_LxE)
    assert np.any(np.asarray(unmoved.routed.load_LxE != with_state.routed.load_LxE), axis=1).all()
    assert with_state.routed.load_LxE.shape[0] == 4 + 1  # the block that predicts has experts too
