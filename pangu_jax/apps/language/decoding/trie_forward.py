"""The forward pass over candidates: a decoder whose columns see their ancestors in a trie.

For tuning it can be cut: below the lowest layer that still learns nothing is differentiated, so freezing
saves time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from pangu_jax.apps.language.decoding.prefill import encoder_batch
from pangu_jax.models import attention
from pangu_jax.models.attention import Attend
from pangu_jax.models.grouped_attention import each_for
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.language.model.forward import Forward, Payload

Pool = Literal["encoder", "decoder_mean", "decoder_last"]
Batch = Mapping[str, jax.Array]


class TokenScores(NamedTuple):
    """What the tokens of candidates got.

    Attributes:
      token_BxP: fp32 log p of each token of each candidate.
      smooth_BxP: fp32 mean of log p over the vocabulary where that token is.
      log_p_BxRxV: fp32 log p over the vocabulary at the columns that are read.
    """

    token_BxP: jax.Array
    smooth_BxP: jax.Array
    log_p_BxRxV: jax.Array


class Scores(NamedTuple):
    """What a batch's candidates got.

    Attributes:
      candidate_BxC: fp32 sum of log p of each candidate's tokens, or a classifier's logits; -inf for padding.
      length_BxC: fp32 number of tokens of each; ones for a classifier.
      tokens: of which it is a sum; None for a classifier.
    """

    candidate_BxC: jax.Array
    length_BxC: jax.Array
    tokens: TokenScores | None = None


@dataclass(frozen=True)
class TrieForward(Forward):
    """A forward pass whose decoder reads `decoder_sees` [B, M, M] instead of the order of its columns."""

    def _attention(self, tower: str, params: Tree, own_segments_BxT: jax.Array, batch: Batch) -> Attend:
        if tower == "encoder":
            return super()._attention(tower, params, own_segments_BxT, batch)
        mask_Bx1xMxM, bias_BxHxMxM = batch["decoder_sees"][:, None], None
        if "decoder_bias" in params:
            bias_BxHxMxM = self._bias(params["decoder_bias"]["table"], batch["decoder_positions"])

        def attend(q_BxHxTxK: jax.Array, k_BxGxSxK: jax.Array, v_BxGxSxK: jax.Array) -> jax.Array:
            k_BxHxSxK, v_BxHxSxK = each_for(q_BxHxTxK, k_BxGxSxK), each_for(q_BxHxTxK, v_BxGxSxK)
            mask, bias = attention.over_prefix(k_BxHxSxK.shape[2], mask_Bx1xMxM, bias_BxHxMxM)
            scores = jnp.einsum(
                "bhtk,bhsk->bhts",
                q_BxHxTxK * self.config.scale,
                k_BxHxSxK,
                preferred_element_type=jnp.float32,
            )
            scores = scores if bias is None else scores + bias
            p_BxHxTxS = jax.nn.softmax(jnp.where(mask, scores, jnp.finfo(jnp.float32).min))
            return jnp.einsum("bhts,bhsk->bhtk", p_BxHxTxS.astype(v_BxHxSxK.dtype), v_BxHxSxK)

        return attend

    def _bias(self, table_NxH: jax.Array, depth_BxM: jax.Array) -> jax.Array:
        """T5's bias by the distance of two columns on their path, [B, H, M, M]."""
        assert isinstance(self.config, EncoderDecoderConfig), "no other has a bias"
        buckets_MxM = self.config.buckets(depth_BxM.shape[1], bidirectional=False)
        by_distance_MxH = table_NxH[buckets_MxM[-1, ::-1]]
        distance_BxMxM = jnp.maximum(depth_BxM[:, :, None] - depth_BxM[:, None], 0)
        return jnp.moveaxis(by_distance_MxH[distance_BxMxM], -1, 1).astype(jnp.float32)


def scores(
    forward: TrieForward,
    params: Tree,
    batch: Batch,
    pool: Pool | None = None,
    keys_B: jax.Array | None = None,
    lowest: int = 0,
) -> Scores:
    """Scores of a batch's candidates, by their tokens or, with a `pool`, by `params["classifier"]`.

    Args:
      forward: the forward pass.
      params: complete parameters.
      batch: as for `token_scores`; of each pair `candidate` BxP, the number of its candidate; `choices` BxC,
        which candidates there are; and for a pool `given` B, columns of start token and prefix.
      pool: what the classifier looks at: the mean of the encoder's output, or of the decoder's hidden states
        over the prefix their mean or the last; None scores tokens.
      keys_B: PRNG keys of dropout; None drops nothing.
      lowest: height below which nothing is differentiated: 0 the embeddings, then the layers of both towers.
    """
    if pool is not None:
        return _classified(params, _pooled(forward, params, batch, pool, keys_B, lowest), batch)
    tokens = token_scores(forward, params, batch, keys_B, lowest)
    owner_BxPxC = jax.nn.one_hot(batch["candidate"], batch["choices"].shape[1])
    candidate_BxC = jnp.einsum("bp,bpc->bc", tokens.token_BxP, owner_BxPxC)
    length_BxC = jnp.sum(owner_BxPxC, axis=1)
    return Scores(jnp.where(batch["choices"], candidate_BxC, -jnp.inf), jnp.maximum(length_BxC, 1), tokens)


def token_scores(
    forward: TrieForward,
    params: Tree,
    batch: Batch,
    keys_B: jax.Array | None = None,
    lowest: int = 0,
) -> TokenScores:
    """Scores of the tokens of candidates; arguments as for `scores`.

    The batch holds, as int32, `inputs` BxS of the encoder, padded with 0, and as `trie.plan` has them
    `tokens`, `depth` BxM, `read` BxR, `at` and `token` BxP; and as bool `sees` BxMxM (`trie.ancestors`).
    """
    params = _held(params, lowest)
    hidden_BxMxD = _hidden(forward, params, batch, keys_B, lowest)
    hidden_BxRxD = jnp.take_along_axis(hidden_BxMxD, batch["read"][..., None], axis=1)
    log_p_BxRxV = jax.nn.log_softmax(forward.logits(params, hidden_BxRxD))
    row_Bx1 = jnp.arange(len(batch["read"]))[:, None]
    token_BxP = log_p_BxRxV[row_Bx1, batch["at"], batch["token"]]
    smooth_BxP = jnp.take_along_axis(jnp.mean(log_p_BxRxV, axis=-1), batch["at"], axis=1)
    return TokenScores(token_BxP, smooth_BxP, log_p_BxRxV)


def _held(params: Tree, lowest: int) -> Tree:
    """The embeddings are the bottom, although their table may be the head as well."""
    if lowest <= 0:
        return params
    return params | {"embedding": jax.lax.stop_gradient(params["embedding"])}


def _pooled(
    forward: TrieForward, params: Tree, batch: Batch, pool: Pool, keys_B: jax.Array | None, lowest: int
) -> jax.Array:
    """What a classifier looks at, [B, D]."""
    params = _held(params, lowest)
    if pool == "encoder":
        payload, features = _encoded(forward, params, batch, keys_B, lowest)
        (memory_BxSxD,) = payload["encoder"]
        return _mean(memory_BxSxD, features["encoder_segment_ids"] != 0)
    hidden_BxMxD = _hidden(forward, params, batch, keys_B, lowest)
    if pool == "decoder_last":
        last_Bx1x1 = batch["given"][:, None, None] - 1
        return jnp.take_along_axis(hidden_BxMxD, last_Bx1x1, axis=1)[:, 0]
    given_BxM = jnp.arange(hidden_BxMxD.shape[1]) < batch["given"][:, None]
    return _mean(hidden_BxMxD, given_BxM)


def _encoded(
    forward: TrieForward, params: Tree, batch: Batch, keys_B: jax.Array | None, lowest: int
) -> tuple[Payload, Batch]:
    """What enters the decoder, an encoder's normed output with it; and the features of all towers."""
    features = {
        "decoder_input_tokens": batch["tokens"],
        "decoder_segment_ids": jnp.ones_like(batch["tokens"]),
        "decoder_positions": batch["depth"],
        "decoder_sees": batch["sees"],
    }
    if "encoder" not in forward.config.towers:
        return forward.begin_tower(0, params, {}, features, keys_B), features
    features = encoder_batch(batch["inputs"]) | features
    payload = forward.begin_tower(0, params, {}, features)
    payload = _run(forward, 0, params, payload, features, keys_B, lowest - 1)
    return forward.begin_tower(1, params, payload, features), features


def _hidden(
    forward: TrieForward, params: Tree, batch: Batch, keys_B: jax.Array | None, lowest: int
) -> jax.Array:
    """The decoder's final hidden states, [B, M, D], scaled for the head."""
    payload, features = _encoded(forward, params, batch, keys_B, lowest)
    config = forward.config
    frozen = lowest - 1 - config.encoder_layers
    payload = _run(forward, config.towers.index("decoder"), params, payload, features, keys_B, frozen)
    (hidden_BxMxD,) = forward.hidden(params, payload, features, keys_B)
    return hidden_BxMxD


def _run(forward, tower, params, payload, features, keys_B, frozen):
    """A tower's layers; `frozen` of them, the lowest, are outside of the backward pass."""
    layers = params[forward.config.towers[tower]]
    count = jax.tree.leaves(layers)[0].shape[0]
    frozen = min(max(frozen, 0), count)
    if frozen:
        below = jax.tree.map(lambda w: jax.lax.stop_gradient(w[:frozen]), layers)
        payload = jax.lax.stop_gradient(payload)
        payload = forward.run_tower(tower, below, params, payload, features, keys_B, 0)
        payload = jax.lax.stop_gradient(payload)
    if frozen < count:
        above = jax.tree.map(lambda w: w[frozen:], layers) if frozen else layers
        payload = forward.run_tower(tower, above, params, payload, features, keys_B, frozen)
    return payload


def _classified(params: Tree, pooled_BxD: jax.Array, batch: Batch) -> Scores:
    logits_BxC = pooled_BxD.astype(jnp.float32) @ params["classifier"]["kernel"]
    logits_BxC += params["classifier"]["bias"]
    return Scores(jnp.where(batch["choices"], logits_BxC, -jnp.inf), jnp.ones_like(logits_BxC))


def _mean(x_BxTxD: jax.Array, seen_BxT: jax.Array) -> jax.Array:
    total_BxD = jnp.einsum("btd,bt->bd", x_BxTxD, seen_BxT.astype(x_BxTxD.dtype))
    return total_BxD / jnp.maximum(jnp.sum(seen_BxT, axis=1, keepdims=True), 1)
