"""The token after the next, predicted by a module of its own (DeepSeek-V3, arXiv 2412.19437, section 2.2).

It reads a token's final hidden state and the vector of the token that follows, has one block of its own, and
the model's table and head. Its loss is one more that the model learns by; its guesses make decoding faster.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from pangu_jax.models.normalization import rms_norm
from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import Placement
from pangu_jax.models.projection import project_back
from pangu_jax.workloads.language.model import routed
from pangu_jax.workloads.language.model.decoder import JOIN, DecoderConfig
from pangu_jax.workloads.language.model.routed import RouterTotals

Batch = Mapping[str, jax.Array]
Streams = tuple[jax.Array, ...]


class RunsLayers(Protocol):
    """What the module takes of a forward pass (`forward.Forward`), which is above it."""

    @property
    def config(self) -> Any: ...

    @property
    def placement(self) -> Placement: ...

    def embed(self, params: Tree, batch: Batch, tower: str, /) -> Streams:
        """Vectors of the input tokens of each stream."""
        ...

    def run_tower(
        self,
        tower: int,
        layers: Tree,
        params: Tree,
        payload: dict[str, Any],
        batch: Batch,
        keys_B: jax.Array | None,
        first: jax.Array | int,
        /,
    ) -> dict[str, Any]:
        """The payload after some layers."""
        ...


def hidden_states(
    forward: RunsLayers, params: Tree, hidden: Streams, totals: RouterTotals | None, further: Batch
) -> tuple[Streams, RouterTotals | None]:
    """The module's final hidden states, scaled for the head, and totals with its own; nothing is dropped.

    Args:
      forward: the forward pass, whose table and layers' form it takes.
      params: all parameters.
      hidden: the decoder's final hidden states, rows of the residual stream.
      totals: of the experts of all layers before its block, whose state is behind theirs.
      further: from `one_further`.
    """
    config, own = forward.config, params["prediction"]
    assert isinstance(config, DecoderConfig), "no other has one"
    tower, epsilon = config.towers.index("decoder"), config.epsilon
    read = tuple(
        join(own, *pair, epsilon, forward.placement)
        for pair in zip(forward.embed(params, further, "decoder"), hidden, strict=True)
    )
    payload = {"decoder": read} if totals is None else {"decoder": read, routed.KEY: totals}
    payload = forward.run_tower(tower, own["block"], params, payload, further, None, config.tower_layers)
    hidden = tuple(rms_norm(x_BxTxD, own["norm"]["scale"], epsilon) for x_BxTxD in payload["decoder"])
    return hidden, payload.get(routed.KEY)


def join(
    params: Tree, embedded_BxTxD: jax.Array, hidden_BxTxD: jax.Array, epsilon: float, placement: Placement
) -> jax.Array:
    """What enters the block, [B, T, D]: row by row, so it may be any device's rows of the residual stream.

    Args:
      params: of a `decoder.PredictionModule`.
      embedded_BxTxD: vectors of the next tokens.
      hidden_BxTxD: final hidden states, normed as for the head.
      epsilon: of the norms.
      placement: where `join` is gathered from.
    """
    weight = placement.weights({"join": params["join"].astype(hidden_BxTxD.dtype)}, {"join": JOIN})["join"]
    token_BxTxD = rms_norm(embedded_BxTxD, params["token_norm"]["scale"], epsilon)
    normed_BxTxD = rms_norm(hidden_BxTxD, params["hidden_norm"]["scale"], epsilon)
    return project_back(jnp.stack([token_BxTxD, normed_BxTxD], axis=-2), weight)


def one_further(batch: Batch) -> dict[str, jax.Array]:
    """The batch as the module sees it: it reads the targets and predicts those that come after them.

    The last token of an example has nothing after it, whatever stands next in the window.
    """
    ahead = lambda x_BxT: jnp.pad(x_BxT[:, 1:], ((0, 0), (0, 1)))  # noqa: E731
    segments_BxT, targets_BxT = batch["decoder_segment_ids"], batch["decoder_target_tokens"]
    same_BxT = segments_BxT == ahead(segments_BxT)
    return {
        **batch,
        "decoder_input_tokens": targets_BxT,
        "decoder_target_tokens": ahead(targets_BxT),
        "decoder_loss_weights": ahead(batch["decoder_loss_weights"]) * same_BxT,
    }
