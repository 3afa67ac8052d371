"""A feed-forward block of experts: each token visits a few of them, and perhaps one that all visit.

Nothing is dropped. Where experts live on several devices, `Placement.at_experts` brings the tokens to them.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from pangu_jax.models import grouped_products, routing, slots
from pangu_jax.models.feed_forward import ACTIVATIONS, FeedForward, feed_forward
from pangu_jax.models.parameters import Tree, normal, ones, zeros
from pangu_jax.models.placement import Placement

WEIGHTS = ("gate", "up", "down")
AXES = ("expert", "embed", "mlp")  # of a layer's weight, in storage
TURNED = ("expert", "mlp", "embed")  # of a decoder's, see `turn`
TOKENS = ("batch", "length", None)


@dataclass(frozen=True)
class ExpertsConfig:
    """Experts in place of a feed-forward block, all gated.

    Args:
      experts: of a layer.
      d_ff: width of one.
      active: those that a token visits.
      router: "grouped": softmax over all and the likeliest of each of `active` groups of consecutive experts,
        weighed by its probability times a learnt scale (arXiv 2505.21411). "sigmoid": those with the largest
        sigmoid plus correction bias, weighed by their sigmoids over the sum (arXiv 2412.19437).
      factor: what the weights of "sigmoid" sum to.
      shared_d_ff: width of a feed-forward block that all tokens pass and whose output is added as it is; 0
        for none.
      balance: weight of the balance loss (`models/routing.py`), added up over layers.
      balance_over: whose loads it goes by: "batch" those of the whole step before, "sequence" those of a
        token's own window.
      bias_speed: by how much the correction bias of "sigmoid" moves in a step; 0 keeps it.
    """

    experts: int = 64
    d_ff: int = 1344
    active: int = 8
    router: Literal["grouped", "sigmoid"] = "grouped"
    factor: float = 1.0
    shared_d_ff: int = 0
    balance: float = 0.001
    balance_over: Literal["batch", "sequence"] = "batch"
    bias_speed: float = 0.0

    def __post_init__(self):
        for name in ("experts", "d_ff", "active"):
            if getattr(self, name) < 1:
                raise ValueError(f"Experts.{name} must be at least 1, got {getattr(self, name)}")
        if self.active > self.experts:
            raise ValueError(f"Experts.active {self.active} is more than Experts.experts {self.experts}")
        if self.router == "grouped" and self.experts % self.active:
            fit = _around(self.experts, self.active)
            raise ValueError(
                f"router 'grouped' takes one of each of {self.active} groups (Experts.active), which do "
                f"not divide {self.experts} experts; {fit} would do"
            )

    @property
    def groups(self) -> int:
        """Of which a token visits one expert each; 1 where experts are in none."""
        return self.active if self.router == "grouped" else 1

    def most_at(self, here: int) -> int:
        """Experts that a token can visit among `here` consecutive ones, a device's share of them."""
        if self.router == "grouped":
            return max(1, self.active * here // self.experts)
        return min(self.active, here)

    def filled(self, here: int) -> float:
        """Of the rows that `here` experts have room for, the part with a token where loads are alike."""
        return self.active * here / (self.experts * self.most_at(here))

    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide."""
        sizes = {"expert": self.experts, "expert_mlp": self.d_ff}
        sizes |= {"group_expert": self.active} if self.router == "grouped" else {}
        return sizes | ({"shared_mlp": self.shared_d_ff} if self.shared_d_ff else {})


class Experts(nnx.Module):
    """Stacked weights: `router` [layers, embed, E]; `gate`, `up`, `down` [layers, E, embed, mlp].

    With router "grouped" `router_scale` [layers, E]; with "sigmoid" `router_bias` [layers, E], a correction
    bias that was read from elsewhere: no gradient goes to it. `shared`, a `FeedForward`, where there is one.
    """

    def __init__(self, layers: int, d_model: int, config: ExpertsConfig, rngs: nnx.Rngs):
        shape, axes = (layers, config.experts, d_model, config.d_ff), ("layers", *AXES)
        router_axes = ("layers", "embed", None)
        self.router = normal(rngs, (layers, d_model, config.experts), router_axes, fan_in=d_model)
        if config.router == "grouped":
            self.router_scale = ones((layers, config.experts), ("layers", None))
        else:
            self.router_bias = zeros((layers, config.experts), ("layers", None))
        self.gate = normal(rngs, shape, axes, fan_in=d_model)
        self.up = normal(rngs, shape, axes, fan_in=d_model)
        self.down = normal(rngs, shape, axes, fan_in=config.d_ff)
        if config.shared_d_ff:
            self.shared = FeedForward(layers, d_model, config.shared_d_ff, True, rngs)


class RouterState(NamedTuple):
    """What routing in a layer reads besides parameters, from the steps before.

    Attributes:
      fraction_E: fp32, of loads, which "batch" balances by.
      bias_E: fp32, the correction bias of "sigmoid".
    """

    fraction_E: jax.Array
    bias_E: jax.Array


class CountedTokens(NamedTuple):
    """Which tokens count.

    Attributes:
      real_BxT: 0 for padding, which is no load.
      weight_BxT: fp32, of tokens in the balance loss.
    """

    real_BxT: jax.Array
    weight_BxT: jax.Array


class RouterSums(NamedTuple):
    """Of a layer's routing: sums over tokens.

    Attributes:
      load_E: fp32 counts of pairs, without gradients.
      imbalance: fp32 scalar, the balance loss without its weight.
    """

    load_E: jax.Array
    imbalance: jax.Array


def experts(
    params: Tree,
    x_BxTxD: jax.Array,
    state: RouterState,
    tokens: CountedTokens,
    config: ExpertsConfig,
    activation: str,
    placement: Placement,
    axes: tuple[str, ...] = AXES,
) -> tuple[jax.Array, RouterSums]:
    """The block's output [B, T, D], a partial sum over `mlp`, and what its router did.

    Args:
      params: of one layer.
      x_BxTxD: what enters the block.
      state: of the layer.
      tokens: which count.
      config: of the experts.
      activation: "relu", "gelu" or "silu".
      placement: where things are.
      axes: of `gate`, `up` and `down`: `AXES` or `TURNED`.
    """
    choice = choose(params, x_BxTxD, state, config)
    expert_BxTxK, weight_BxTxK = choice.expert_BxTxK, choice.weight_BxTxK
    compute = partial(_own_experts, config, activation, placement, axes == TURNED)
    weights, where = {name: params[name] for name in WEIGHTS}, dict.fromkeys(WEIGHTS, axes)
    y_BxTxD = placement.at_experts(compute, weights, where, (x_BxTxD, expert_BxTxK, weight_BxTxK))
    if "shared" in params:
        y_BxTxD += feed_forward(params["shared"], x_BxTxD, activation, placement)
    return y_BxTxD, _statistics(choice, state, tokens, config, placement)


def turn(params: Tree) -> Tree:
    """A layer's parameters with `gate`, `up` and `down` as `TURNED`, for steps of few tokens.

    A TPU puts the dimension last that fills its tiles of 128: [E, embed, mlp] with an `mlp` that 128 does not
    divide lies turned in its memory. A kernel wants the order of the shape, so all experts would be copied
    first: little beside the products of many tokens, four fifths of a step of a few.
    """
    return params | {name: jnp.swapaxes(params[name], 1, 2) for name in WEIGHTS}


def choose(params: Tree, x_BxTxD: jax.Array, state: RouterState, config: ExpertsConfig) -> routing.Routes:
    """The experts of each token, from fp32 logits."""
    logits_BxTxE = jnp.tensordot(x_BxTxD, params["router"], 1, preferred_element_type=jnp.float32)
    if config.router == "grouped":
        scale_E = params["router_scale"].astype(jnp.float32)
        return routing.one_of_each_group(logits_BxTxE, scale_E, config.groups)
    bias_E = jax.lax.stop_gradient(params["router_bias"].astype(jnp.float32)) + state.bias_E
    return routing.top_of_all(logits_BxTxE, bias_E, config.active, config.factor)


def _own_experts(
    config: ExpertsConfig,
    activation: str,
    placement: Placement,
    turned: bool,
    weights: Tree,
    first: jax.Array | int,
    x_BxTxD: jax.Array,
    expert_BxTxK: jax.Array,
    weight_BxTxK: jax.Array,
) -> jax.Array:
    """What the experts that live here, the first of which is number `first`, add to each row, [B, T, D]."""
    here, width = weights["up"].shape[0], x_BxTxD.shape[-1]
    x_NxD = x_BxTxD.reshape(-1, width)
    expert_NxK, weight_NxK = (a.reshape(x_NxD.shape[0], -1) for a in (expert_BxTxK, weight_BxTxK))
    form = grouped_products.form_for(placement, x_NxD, *weights.values())
    most = config.most_at(here)
    visits = x_NxD.shape[0] * config.active
    lie = grouped_products.groups_for(form, visits, config.experts, placement.platform)
    lie = lie._replace(filled=config.filled(here))
    expert_NxM, weight_NxM = slots.of_here(expert_NxK - first, weight_NxK, here, most)
    assigned = slots.assign(expert_NxM, here, lie.block, lie.rows)

    row_RxD, sizes_E = slots.spread(x_NxD, assigned), assigned.sizes_E
    up, gate, down = weights["up"], weights["gate"], weights["down"]
    if turned:
        wide = [grouped_products.product(row_RxD, weight, sizes_E, True, lie) for weight in (up, gate)]
    else:
        wide = grouped_products.two_products(row_RxD, up, gate, sizes_E, lie)
    up_RxF, gate_RxF = (checkpoint_name(one, "up") for one in wide)
    hidden_RxF = up_RxF * ACTIVATIONS[activation](gate_RxF)
    y_RxD = grouped_products.product(hidden_RxF, down, sizes_E, not turned, lie)
    return slots.collect(y_RxD, weight_NxM, assigned).reshape(x_BxTxD.shape)


def _statistics(
    choice: routing.Routes,
    state: RouterState,
    tokens: CountedTokens,
    config: ExpertsConfig,
    placement: Placement,
) -> RouterSums:
    load_BxE = routing.loads(choice.expert_BxTxK, config.experts, tokens.real_BxT)
    fraction_xE = state.fraction_E
    if config.balance_over == "sequence":  # of which each device may have a part
        parts_BxPxE = placement.whole_length(load_BxE[:, None], TOKENS)
        fraction_xE = routing.fractions(jnp.sum(parts_BxPxE, axis=1))
    imbalance = routing.imbalance(choice.probability_BxTxE, fraction_xE, tokens.weight_BxT)
    return RouterSums(jax.lax.stop_gradient(jnp.sum(load_BxE, axis=0)), imbalance)


def _around(experts: int, active: int) -> str:
    """The numbers next to one that does not divide, in words."""
    fit = [n for n in range(1, experts + 1) if experts % n == 0]
    below, above = [n for n in fit if n < active][-1:], [n for n in fit if n > active][:1]
    return " or ".join(map(str, below + above))
