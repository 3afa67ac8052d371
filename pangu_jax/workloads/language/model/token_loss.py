"""The loss of a batch's target tokens, and of each of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pangu_jax.models.placement import Placement
from pangu_jax.workloads.language.model.architecture import Architecture
from pangu_jax.workloads.language.model.cross_entropy import cross_entropy
from pangu_jax.workloads.language.model.routed import RouterTotals

TOKENS = ("batch", "length")


class Loss(NamedTuple):
    """What a batch's loss is made of; all of it covers this device's part of the windows.

    Attributes:
      total: fp32 sum over tokens, with gradients.
      token_loss_BxT: fp32 -log p of each target, without gradients.
      weights_BxT: fp32 weight of each target.
      routed: loads of experts and their balance loss, which `total` has; None where there are no experts.
    """

    total: jax.Array
    token_loss_BxT: jax.Array
    weights_BxT: jax.Array
    routed: RouterTotals | None = None


def token_loss(
    config: Architecture,
    hidden_BxTxD: jax.Array,
    table_VxD: jax.Array,
    batch: Mapping[str, jax.Array],
    placement: Placement,
) -> Loss:
    """The loss of `decoder_target_tokens` under `decoder_loss_weights`, each BxT.

    Args:
      config: says in how many pieces, and the weight of z-loss.
      hidden_BxTxD: final hidden states, scaled for the head, every row whole.
      table_VxD: the head.
      batch: a (micro)batch.
      placement: where the vocabulary's parts live.
    """
    targets_BxT = placement.shard_length(batch["decoder_target_tokens"], TOKENS)
    weights_BxT = placement.shard_length(batch["decoder_loss_weights"].astype(jnp.float32), TOKENS)
    total, token_loss_BxT = cross_entropy(
        hidden_BxTxD, table_VxD, targets_BxT, weights_BxT, config.z_loss, config.loss_chunks, placement
    )
    return Loss(total, token_loss_BxT, weights_BxT)


def joined(losses: Sequence[Loss]) -> Loss:
    """The loss of the examples of all, one after the other."""
    token_loss_BxT, weights_BxT = (jnp.concatenate(parts) for parts in list(zip(*losses, strict=True))[1:3])
    return Loss(sum((loss.total for loss in losses), start=jnp.float32(0)), token_loss_BxT, weights_BxT)


def balanced(loss: Loss, totals: RouterTotals, weight: float) -> Loss:
    """The loss with what experts did, and their balance loss by its weight."""
    return loss._replace(total=loss.total + weight * totals.imbalance, routed=totals)
