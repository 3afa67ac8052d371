"""The blocks of a layer: what is computed of the normed residual stream before it is added to it."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pangu_jax.models import attention
from pangu_jax.models.attention import Attend
from pangu_jax.models.experts import CountedTokens, RouterSums, experts
from pangu_jax.models.feed_forward import feed_forward
from pangu_jax.models.grouped_attention import grouped_attention
from pangu_jax.models.latent_attention import latent_attention
from pangu_jax.models.normalization import biased, normed
from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import Placement
from pangu_jax.models.positions import Rotation
from pangu_jax.workloads.language.model import routed
from pangu_jax.workloads.language.model.architecture import Architecture
from pangu_jax.workloads.language.model.token_loss import TOKENS


class LayerInputs(NamedTuple):
    """What every layer of a tower reads besides the residual stream, for one stream of examples."""

    window: int
    keys_B: jax.Array | None
    rotation: Rotation | None
    attend: Attend
    memory_BxSxD: jax.Array | None = None
    attend_memory: Attend | None = None
    counted: CountedTokens | None = None
    queries_BxTxD: jax.Array | None = None  # of which attention makes its queries, in a query layer


class BlockCall(NamedTuple):
    """Where a block is computed.

    Attributes:
      config: the model's.
      placement: of its tensors.
      params: all parameters, for the state of routers.
      inputs: of the layer, for one stream of examples.
      layer: the layer's weights, by block.
      index: int32, its number in its stack.
    """

    config: Architecture
    placement: Placement
    params: Tree
    inputs: LayerInputs
    layer: Tree
    index: jax.Array


Computed = tuple[jax.Array, RouterSums | None]


def attend(at: BlockCall, x_BxTxD: jax.Array) -> Computed:
    """Self-attention, as the layer's weights have it: of latents, of grouped heads, or plain."""
    own, inputs = at.layer["attention"], at.inputs
    if at.config.latent:
        assert inputs.rotation
        heads = own, x_BxTxD, inputs.rotation, inputs.attend
        return latent_attention(*heads, at.config.latent, at.placement), None
    if "key_value" in own:
        heads = own, x_BxTxD, inputs.rotation, inputs.attend
        return grouped_attention(*heads, at.placement, inputs.queries_BxTxD), None
    return attention.self_attention(own, x_BxTxD, inputs.rotation, inputs.attend, at.placement), None


def attend_memory(at: BlockCall, x_BxTxD: jax.Array) -> Computed:
    """Attention to the encoder's output."""
    memory_BxSxD, sees = at.inputs.memory_BxSxD, at.inputs.attend_memory
    assert memory_BxSxD is not None and sees
    return attention.cross_attention(
        at.layer["cross_attention"], x_BxTxD, memory_BxSxD, sees, at.placement
    ), None


def feed(at: BlockCall, x_BxTxD: jax.Array) -> Computed:
    """The feed-forward block."""
    return feed_forward(at.layer["feed_forward"], x_BxTxD, at.config.activation, at.placement), None


def visit(at: BlockCall, x_BxTxD: jax.Array) -> Computed:
    """The experts that each token is sent to, and what their loads add up to."""
    own, counted = at.config.experts, at.inputs.counted
    assert own and counted
    state = routed.of_layer(at.params, at.index, own)
    return experts(at.layer[routed.KEY], x_BxTxD, state, counted, own, at.config.activation, at.placement)


KINDS: dict[str, Callable[[BlockCall, jax.Array], Computed]] = {
    "attention": attend,
    "cross_attention": attend_memory,
    "feed_forward": feed,
    routed.KEY: visit,
}
DRAWS = {"attention": 0, "cross_attention": 1, "feed_forward": 2, routed.KEY: 2}  # of dropout, in a layer


def computed(kind: str, at: BlockCall, normed_BxTxD: jax.Array) -> Computed:
    """What is added to the residual stream: a block of whole rows, with its bias and second norm."""
    y_BxTxD, found = KINDS[kind](at, at.placement.enter(normed_BxTxD))
    y_BxTxD = at.placement.leave(y_BxTxD)
    if "out_bias" in at.layer[kind]:
        y_BxTxD = biased(y_BxTxD, at.layer[kind]["out_bias"])
    if f"{kind}_post_norm" in at.layer:
        y_BxTxD = normed(y_BxTxD, at.layer[f"{kind}_post_norm"], at.config.epsilon)
    return y_BxTxD, found


def dropped(
    config: Architecture, placement: Placement, inputs: LayerInputs, y_BxTxD: jax.Array, draw: jax.Array
) -> jax.Array:
    """A block's output after dropout number `draw`; as it is where there are no keys."""
    keep = 1.0 - config.dropout
    if inputs.keys_B is None or keep == 1.0:
        return y_BxTxD
    shape = inputs.window, config.d_model

    def sample(key: jax.Array) -> jax.Array:
        return jax.random.bernoulli(jax.random.fold_in(key, draw), keep, shape)

    return jnp.where(placement.draw(sample, inputs.keys_B), y_BxTxD / keep, 0.0)


def kinds_of(layer: Mapping[str, Tree]) -> list[str]:
    """Its blocks, in their order."""
    return [kind for kind in KINDS if kind in layer]


def counted(
    batch: Mapping[str, jax.Array], own_segments_BxT: jax.Array, placement: Placement
) -> CountedTokens:
    """Which tokens are a load: padding is none, and what is not learnt from is not balanced either."""
    weights_BxT = batch.get("decoder_loss_weights")
    if weights_BxT is None:
        weights_BxT = jnp.zeros(batch["decoder_segment_ids"].shape)
    return CountedTokens(own_segments_BxT > 0, placement.shard_length(weights_BxT, TOKENS))
