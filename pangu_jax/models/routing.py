"""Which experts a token visits and how much each counts, and keeping their loads alike.

Routers are pure functions of fp32 logits. What they balance by is a sum over tokens of

    experts x sum over e of fraction[e] x probability[token, e]

with the fraction of pairs of tokens and experts that went to e (Shazeer et al., arXiv 1701.06538; Fedus et
al., arXiv 2101.03961): 1 a token where loads are alike. The fraction has no gradient, and whose it is
decides whether a batch can be split. That of the token's own example ("sequence") and that of the whole step
before ("batch", kept as extra state) are known wherever a token is: any split of a batch into devices,
microbatches and stages adds up to the same. The fraction of the very batch is known after its last microbatch
alone, so that its product with the probabilities is no sum over examples: there is no such loss here.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Routes(NamedTuple):
    """What a router says of tokens.

    Attributes:
      expert_BxTxK: int32, the experts that a token visits, none twice.
      weight_BxTxK: fp32, what their outputs are multiplied with.
      probability_BxTxE: fp32, sums to 1 over all experts: what is balanced.
    """

    expert_BxTxK: jax.Array
    weight_BxTxK: jax.Array
    probability_BxTxE: jax.Array


def one_of_each_group(logits_BxTxE: jax.Array, scale_E: jax.Array, groups: int) -> Routes:
    """The likeliest expert of each group (mixture of grouped experts, arXiv 2505.21411).

    Softmax over all experts; a group is E / groups consecutive ones. The weight is that probability times the
    expert's learnt scale, not renormalised: weights of a token sum to less than 1 where scales are 1.

    Args:
      logits_BxTxE: fp32.
      scale_E: fp32, of each expert.
      groups: K, which divides E.
    """
    probability_BxTxE = jax.nn.softmax(logits_BxTxE, axis=-1)
    experts = logits_BxTxE.shape[-1]
    size = experts // groups
    grouped = jax.lax.stop_gradient(logits_BxTxE).reshape(*logits_BxTxE.shape[:-1], groups, size)
    first_K = jnp.arange(groups, dtype=jnp.int32) * size
    expert_BxTxK = first_K + jnp.argmax(grouped, axis=-1).astype(jnp.int32)
    weight_BxTxK = jnp.take_along_axis(probability_BxTxE, expert_BxTxK, axis=-1) * scale_E[expert_BxTxK]
    return Routes(expert_BxTxK, weight_BxTxK, probability_BxTxE)


def top_of_all(logits_BxTxE: jax.Array, bias_E: jax.Array, active: int, factor: float) -> Routes:
    """The experts of the largest sigmoids (DeepSeek-V3, arXiv 2412.19437).

    The weights are the sigmoids over their sum, times a factor.

    Args:
      logits_BxTxE: fp32.
      bias_E: fp32, added to the sigmoids for the choice alone: no gradient goes to it.
      active: K.
      factor: what a token's weights sum to.
    """
    score_BxTxE = jax.nn.sigmoid(logits_BxTxE)
    expert_BxTxK = jax.lax.top_k(jax.lax.stop_gradient(score_BxTxE) + bias_E, active)[1]
    score_BxTxK = jnp.take_along_axis(score_BxTxE, expert_BxTxK, axis=-1)
    weight_BxTxK = factor * score_BxTxK / (jnp.sum(score_BxTxK, axis=-1, keepdims=True) + 1e-20)
    probability_BxTxE = score_BxTxE / (jnp.sum(score_BxTxE, axis=-1, keepdims=True) + 1e-20)
    return Routes(expert_BxTxK, weight_BxTxK, probability_BxTxE)


def loads(expert_BxTxK: jax.Array, experts: int, counted_BxT: jax.Array) -> jax.Array:
    """fp32 counts [B, E] of an example's pairs by expert; `counted_BxT` is 0 where a token is padding."""
    chosen_BxTxE = jnp.sum(jax.nn.one_hot(expert_BxTxK, experts, dtype=jnp.float32), axis=-2)
    return jnp.einsum("bte,bt->be", chosen_BxTxE, counted_BxT.astype(jnp.float32))


def fractions(load_xE: jax.Array) -> jax.Array:
    """Loads [..., E] that sum to 1; all alike where there are none."""
    total_x1 = jnp.sum(load_xE, axis=-1, keepdims=True)
    return jnp.where(total_x1 > 0, load_xE / jnp.maximum(total_x1, 1.0), 1.0 / load_xE.shape[-1])


def imbalance(probability_BxTxE: jax.Array, fraction_xE: jax.Array, weight_BxT: jax.Array) -> jax.Array:
    """The balance loss, an fp32 scalar: a sum over tokens, each by its weight.

    Args:
      probability_BxTxE: of the choice.
      fraction_xE: [E], or [B, E] of each example; no gradient goes to it.
      weight_BxT: of tokens.
    """
    weighted_BxE = jnp.einsum("bte,bt->be", probability_BxTxE, weight_BxT.astype(jnp.float32))
    return probability_BxTxE.shape[-1] * jnp.sum(jax.lax.stop_gradient(fraction_xE) * weighted_BxE)


def corrected(bias_LxE: jax.Array, load_LxE: jax.Array, speed: float) -> jax.Array:
    """The bias of `top_of_all` after a step: lower by `speed` where a load is above the mean, or else higher.

    Balancing without a loss (Wang et al., arXiv 2408.15664), as DeepSeek-V3 trains; it needs the loads of a
    whole step, and is applied once per step. A layer without loads keeps its bias.
    """
    return bias_LxE + speed * jnp.sign(jnp.mean(load_LxE, axis=-1, keepdims=True) - load_LxE)
