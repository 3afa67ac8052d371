"""What routing leaves beside the residual stream: loads and imbalance of all layers, and state between steps.

A tower's payload carries `RouterTotals` from layer to layer, so that a pipeline adds them up as it goes.
Loads of a whole step become state that the next step reads: the fractions that it balances by, and the
correction bias. Both are the same however the batch was split (`models/routing.py`).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from pangu_jax.models import routing
from pangu_jax.models.experts import ExpertsConfig, RouterState, RouterSums
from pangu_jax.models.parameters import Tree

KEY = "experts"  # of the block, of its totals in a payload, and of its state among extra and parameters
BIASES = ("router_bias", "router_scale")  # in fp32 whatever the dtype of products
SHOWN = 0.95  # of the loads that are shown, the part that is kept in a step


class RouterTotals(NamedTuple):
    """Of the layers so far.

    Attributes:
      load_LxE: fp32 counts by layer and expert, zeros in layers to come.
      imbalance: fp32 scalar, the sum of their balance losses without their weight.
    """

    load_LxE: jax.Array
    imbalance: jax.Array

    def plus(self, layer: jax.Array, sums: RouterSums) -> "RouterTotals":
        """With those of a layer."""
        return RouterTotals(self.load_LxE.at[layer].add(sums.load_E), self.imbalance + sums.imbalance)


def nothing(layers: int, config: ExpertsConfig) -> RouterTotals:
    """Before the first layer."""
    return RouterTotals(jnp.zeros((layers, config.experts), jnp.float32), jnp.float32(0))


def fresh(layers: int, config: ExpertsConfig) -> Tree:
    """State before the first step, each fp32 [layers, E].

    `fraction` of loads in the step before; `shown`, a running mean of it; `bias` where there is one.
    """
    alike_LxE = jnp.full((layers, config.experts), 1 / config.experts, jnp.float32)
    bias = {"bias": jnp.zeros_like(alike_LxE)} if config.bias_speed else {}
    return {"fraction": alike_LxE, "shown": alike_LxE, **bias}


def after_step(state: Tree, load_LxE: jax.Array, config: ExpertsConfig) -> Tree:
    """The state after a step with these loads."""
    fraction_LxE = routing.fractions(load_LxE)
    shown_LxE = SHOWN * state["shown"] + (1 - SHOWN) * fraction_LxE
    bias = {}
    if "bias" in state:
        bias = {"bias": routing.corrected(state["bias"], load_LxE, config.bias_speed)}
    return {"fraction": fraction_LxE, "shown": shown_LxE, **bias}


def of_layer(params: Tree, layer: jax.Array, config: ExpertsConfig) -> RouterState:
    """What a layer reads of the state, if it is among the parameters: nothing else needs it."""
    state = params.get(KEY, {})
    alike_E = jnp.full(config.experts, 1 / config.experts, jnp.float32)
    fraction_E = state["fraction"][layer] if "fraction" in state else alike_E
    return RouterState(fraction_E, state["bias"][layer] if "bias" in state else jnp.zeros_like(alike_E))


def with_bias(params: Tree, state: Tree) -> Tree:
    """Parameters whose router has the state's bias, for use without the state."""
    if "bias" not in state:
        return params

    def with_rows(layers: Tree, bias_LxE: jax.Array) -> Tree:
        return layers | {KEY: layers[KEY] | {"router_bias": layers[KEY]["router_bias"] + bias_LxE}}

    count = params["decoder"][KEY]["router_bias"].shape[0]
    params = params | {"decoder": with_rows(params["decoder"], state["bias"][:count])}
    if "prediction" not in params:
        return params
    own = params["prediction"]
    return params | {"prediction": own | {"block": with_rows(own["block"], state["bias"][count:])}}


def in_dtype(layer: Tree, dtype: DTypeLike) -> Tree:
    """Weights of a layer in the dtype of products, a router's biases as they are."""

    def cast(path: tuple[Any, ...], weight: jax.Array) -> jax.Array:
        return weight if path[-1].key in BIASES else weight.astype(dtype)

    return jax.tree_util.tree_map_with_path(cast, layer)


def metrics(totals: RouterTotals, weight: jax.Array, state: Tree) -> dict[str, tuple[jax.Array, jax.Array]]:
    """What is reported of a (micro)batch of this weight, as sum and weight.

    expert_imbalance: the balance loss of a token, 1 where loads are alike. expert_load_max: the part of a
    layer's loads that went to its fullest expert, in the layer where it was largest, in the step before: of
    this one it is known when all microbatches are done.
    """
    found = {"expert_imbalance": (totals.imbalance / totals.load_LxE.shape[0], weight)}
    if "fraction" in state:
        found["expert_load_max"] = (jnp.max(state["fraction"]) * weight, weight)
    return found
