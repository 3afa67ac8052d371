"""Routed experts against the plain form: values and every gradient, however few tokens an expert gets."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pangu_jax.models import experts, grouped_products
from pangu_jax.models.experts import CountedTokens, Experts, ExpertsConfig, RouterState
from pangu_jax.models.parameters import arrays
from pangu_jax.models.placement import OneDevice
from pangu_jax.runs.exchange import parts
from tests.models.plain_experts import plain_experts

CONFIGS = {
    "grouped": ExpertsConfig(8, 24, 4, "grouped", shared_d_ff=16),
    "sigmoid": ExpertsConfig(8, 24, 3, "sigmoid", factor=2.5),
}
X = jax.random.normal(jax.random.key(1), (3, 20, 16)).at[..., 0].set(1.0)
OUT = jax.random.normal(jax.random.key(2), X.shape)


def layer(config, skew=0.0):
    """Parameters of a layer, with scales that differ; `skew` sends most tokens to few experts."""
    params = jax.tree.map(lambda w: w[0], arrays(Experts(1, 16, config, nnx.Rngs(0))))
    if "router_scale" in params:
        params["router_scale"] = jnp.linspace(0.5, 1.5, config.experts)
    params["router"] = params["router"].at[0].add(skew * jnp.linspace(-1, 1, config.experts))
    return params


def state(config):
    bias = 0.1 * jax.random.normal(jax.random.key(3), (config.experts,))
    return RouterState(jnp.full(config.experts, 1 / config.experts), bias)


@functools.partial(jax.jit, static_argnames=("config", "form"))
def both(params, x, config, form):
    """Value and gradients of the routed form, and of the plain one."""
    tokens = CountedTokens(jnp.ones(x.shape[:2]), jnp.ones(x.shape[:2]))

    def routed(params, x):
        y, found = experts.experts(params, x, state(config), tokens, config, "silu", OneDevice())
        how = state(config), tokens, config, "silu", OneDevice(), experts.TURNED
        turned, _ = experts.experts(experts.turn(params), x, *how)
        return jnp.sum(y * OUT[: len(x)]), (y, turned, found)

    def plain(params, x):
        y = plain_experts(params, x, state(config), config)
        return jnp.sum(y * OUT[: len(x)]), (y, None)

    return tuple(jax.value_and_grad(f, (0, 1), has_aux=True)(params, x) for f in (routed, plain))


@pytest.mark.parametrize("form", ["blocks", pytest.param("megablox", marks=pytest.mark.prove)])
@pytest.mark.parametrize("name", CONFIGS)
def test_values_and_gradients_are_those_of_the_plain_form(name, form, monkeypatch):
    monkeypatch.setattr(grouped_products, "form_for", lambda *_: form)
    monkeypatch.setattr(grouped_products, "INTERPRETED", True)
    for skew in (0.0, 30.0):
        ((_, (y, turned, found)), grads), ((_, (plain_y, _)), plain_grads) = both(
            layer(CONFIGS[name], skew), X, CONFIGS[name], form
        )
        np.testing.assert_allclose(y, plain_y, atol=1e-5)
        np.testing.assert_allclose(turned, plain_y, atol=1e-5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), grads, plain_grads)
        learnt = {path: leaf for path, leaf in parts.by_path(grads[0]).items() if path != "router_bias"}
        assert all(float(jnp.max(jnp.abs(leaf))) > 1e-3 for leaf in [grads[1], *learnt.values()])
        assert float(found.load_E.sum()) == X.shape[0] * X.shape[1] * CONFIGS[name].active
    assert float(found.load_E.min()) == 0  # a skewed router leaves an expert without a token


def test_what_does_not_fit_is_one_line():
    with pytest.raises(ValueError, match=r"8 groups .* do not divide 60 experts; 6 or 10 would do"):
        ExpertsConfig(experts=60, active=8)
    with pytest.raises(ValueError, match=r"active 9 is more than Experts.experts 8"):
        ExpertsConfig(8, active=9, router="sigmoid")
