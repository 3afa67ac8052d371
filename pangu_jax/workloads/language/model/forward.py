"""The forward pass of the encoder-decoder: whole, or as the parts that a pipeline runs one by one.

`loss` is the composition of the parts, so a pipelined model is the same code as the model on one device.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike

from pangu_jax.models import attention, flash, native, native_attention, native_blocks, positions
from pangu_jax.models.attention import Attend, AttentionMask
from pangu_jax.models.feed_forward import feed_forward
from pangu_jax.models.normalization import EPSILON, rms_norm
from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import OneDevice, Placement
from pangu_jax.models.stack import Remat, run_layers
from pangu_jax.workloads.language.model import encoder_decoder
from pangu_jax.workloads.language.model.cross_entropy import cross_entropy
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig

TOWERS = ("encoder", "decoder")
TOKENS = ("batch", "length")
TABLE = {"table": ("vocab", "embed")}
Batch = Mapping[str, jax.Array]
Split = TypeVar("Split")
Streams = tuple[jax.Array, ...]  # a residual stream for each stream of examples
Payload = dict[str, Streams]  # of each tower


class Loss(NamedTuple):
    """What a batch's loss is made of; all of it covers this device's part of the windows.

    Attributes:
      total: fp32 sum over tokens, with gradients.
      token_loss_BxT: fp32 -log p of each target, without gradients.
      weights_BxT: fp32 weight of each target.
    """

    total: jax.Array
    token_loss_BxT: jax.Array
    weights_BxT: jax.Array


@dataclass(frozen=True)
class Forward:
    """A forward pass: the configuration, and how this run places, rematerialises, rounds and attends.

    With `streams` > 1 a layer works on that many parts of the batch, each independent of the others, so that
    collectives of one run while another computes. `weights` is what decoding keeps of its weights for the
    kernels of a CPU. `keys_B` below is one PRNG key per example, so that dropout
    falls alike on every layout; None drops nothing.
    """

    config: EncoderDecoderConfig
    placement: Placement = OneDevice()  # noqa: RUF009 - stateless
    remat: Remat = "none"
    dtype: DTypeLike = jnp.float32
    kernel: Literal["plain", "flash"] = "plain"
    streams: int = 1
    weights: native.Weights = "float32"

    def encode(self, params: Tree, batch: Batch, keys_B: jax.Array | None = None) -> jax.Array:
        """The encoder's output [B, S, D]; its input tokens, segment ids and positions are each BxS."""
        payload = self.begin_tower(0, params, {}, batch)
        payload = self.run_tower(0, params["encoder"], params, payload, batch, keys_B, 0)
        return rms_norm(jnp.concatenate(payload["encoder"]), params["encoder_norm"]["scale"])

    def decode(
        self, params: Tree, batch: Batch, memory_BxSxD: jax.Array, keys_B: jax.Array | None = None
    ) -> jax.Array:
        """Final hidden states [B, T, D], scaled for the head, from `decoder_input_tokens` and the memory."""
        begun = self.begin_decoder(params, batch, memory_BxSxD)
        payload = self.run_tower(1, params["decoder"], params, begun, batch, keys_B, 0)
        return self._hidden(params, jnp.concatenate(payload["decoder"]))

    def begin_decoder(self, params: Tree, batch: Batch, memory_BxSxD: jax.Array) -> Payload:
        """What enters the decoder's first layer, beside a memory that need not be an encoder's output."""
        return {"encoder": tuple(self._split(memory_BxSxD)), "decoder": self._embed(params, batch, "decoder")}

    def logits(self, params: Tree, hidden: jax.Array) -> jax.Array:
        """fp32 logits [..., V] of hidden states [..., D]: for decoding, where few tokens matter."""
        return jnp.einsum("...d,vd->...v", hidden, self._head(params), preferred_element_type=jnp.float32)

    def loss(self, params: Tree, batch: Batch, keys_B: jax.Array | None = None) -> Loss:
        """Weighted cross-entropy of `decoder_target_tokens` under `decoder_loss_weights`, each BxT."""
        payload: Payload = {}
        for index, tower in enumerate(TOWERS):
            begun = self.begin_tower(index, params, payload, batch)
            payload = self.run_tower(index, params[tower], params, begun, batch, keys_B, 0)
        return self.finish(params, payload, batch)

    def begin_tower(self, tower: int, params: Tree, payload: Payload, batch: Batch) -> Payload:
        """What enters a tower's first layer: embeddings, and for the decoder the encoder's normed output."""
        if tower == 0:
            return {"encoder": self._embed(params, batch, "encoder")}
        scale_D = params["encoder_norm"]["scale"]
        memory = tuple(rms_norm(x_BxSxD, scale_D) for x_BxSxD in payload["encoder"])
        return {"encoder": memory, "decoder": self._embed(params, batch, "decoder")}

    def run_tower(
        self,
        tower: int,
        layers: Tree,
        params: Tree,
        payload: Payload,
        batch: Batch,
        keys_B: jax.Array | None,
        first: jax.Array | int,
    ) -> Payload:
        """The payload after some layers of a tower, stacked in `layers`; number `first` is their first."""
        name = TOWERS[tower]
        config, placement = self.config, self.placement
        logical = encoder_decoder.axes(config)[name]
        layer_axes = jax.tree.map(lambda a: a[1:], logical, is_leaf=lambda a: isinstance(a, tuple))
        if "prefix" in layers["attention"]:
            layer_axes["attention"]["prefix"] = attention.PREFIX
        stream_inputs = [
            self._layer_inputs(name, params, batch, keys, memory)
            for batch, keys, memory in zip(
                self._split(batch), self._split(keys_B), payload["encoder"], strict=True
            )
        ]

        def block(inputs, x_BxTxD, scale_D, compute, draw):
            if native.takes(placement, x_BxTxD, scale_D):
                normed_BxTxD, x_BxTxD = native_blocks.normed(x_BxTxD, {"scale": scale_D}, EPSILON)
            else:
                normed_BxTxD = rms_norm(x_BxTxD, scale_D)
            y_BxTxD = placement.leave(compute(placement.enter(normed_BxTxD)))
            y_BxTxD = self._dropout(y_BxTxD, inputs, 2 * draw + tower)
            return checkpoint_name(x_BxTxD + y_BxTxD, "residual")

        def attend(inputs, layer, x):
            return attention.self_attention(layer["attention"], x, inputs.rotation, inputs.attend, placement)

        def attend_memory(inputs, layer, x):
            memory_BxSxD = inputs.memory_BxSxD
            return attention.cross_attention(
                layer["cross_attention"], x, memory_BxSxD, inputs.attend_memory, placement
            )

        def feed(inputs, layer, x):
            return feed_forward(layer["feed_forward"], x, config.activation, placement)

        blocks = {"attention": attend, "cross_attention": attend_memory, "feed_forward": feed}

        def body(streams: Streams, stored: Tree, index: jax.Array) -> Streams:
            layer = placement.weights(jax.tree.map(lambda w: w.astype(self.dtype), stored), layer_axes)
            for number, (kind, compute) in enumerate(blocks.items()):
                if kind not in layer:
                    continue
                scale_D = layer[f"{kind}_norm"]["scale"]
                streams = tuple(
                    block(inputs, x, scale_D, partial(compute, inputs, layer), 3 * index + number)
                    for inputs, x in zip(stream_inputs, streams, strict=True)
                )
            return streams

        x = run_layers(body, layers, payload[name], remat=self.remat, unroll=config.unroll, first=first)
        return {**payload, name: x}

    def finish(self, params: Tree, payload: Payload, batch: Batch) -> Loss:
        """The loss of what left the decoder's last layer."""
        placement, table_VxD = self.placement, self._head(params)

        def of(x_BxTxD: jax.Array, batch: Batch) -> Loss:
            targets_BxT = placement.shard_length(batch["decoder_target_tokens"], TOKENS)
            weights_BxT = placement.shard_length(batch["decoder_loss_weights"].astype(jnp.float32), TOKENS)
            hidden_BxTxD = placement.enter(self._hidden(params, x_BxTxD))
            chunks, z_loss = self.config.loss_chunks, self.config.z_loss
            total, token_loss_BxT = cross_entropy(
                hidden_BxTxD, table_VxD, targets_BxT, weights_BxT, z_loss, chunks, placement
            )
            return Loss(total, token_loss_BxT, weights_BxT)

        losses = [of(*pair) for pair in zip(payload["decoder"], self._split(batch), strict=True)]
        token_loss_BxT, weights_BxT = (
            jnp.concatenate(parts) for parts in list(zip(*losses, strict=True))[1:]
        )
        return Loss(sum((loss.total for loss in losses), start=jnp.float32(0)), token_loss_BxT, weights_BxT)

    def _split(self, tree: Split) -> list[Split]:
        """Each stream's examples of a tree [B, ...]."""
        if self.streams == 1:
            return [tree]
        leaves, structure = jax.tree.flatten(tree)
        parts = zip(*(jnp.split(leaf, self.streams) for leaf in leaves), strict=True)
        return [structure.unflatten(part) for part in parts] if leaves else [tree] * self.streams

    def _hidden(self, params: Tree, x_BxTxD: jax.Array) -> jax.Array:
        return rms_norm(x_BxTxD, params["decoder_norm"]["scale"]) * self.config.head_scale

    def _embed(self, params: Tree, batch: Batch, tower: str) -> Streams:
        placement, words = self.placement, self.config.vocab_size
        table_VxD = params["embedding"].astype(self.dtype)
        prompted = table_VxD.shape[0] > words
        words_VxD = table_VxD[:words] if prompted else table_VxD
        words_VxD = placement.weights({"table": words_VxD}, TABLE)["table"]
        tokens_BxT = placement.shard_length(batch[f"{tower}_input_tokens"], TOKENS)

        def look_up(tokens_BxT: jax.Array) -> jax.Array:
            if not prompted:
                return placement.lookup(words_VxD, tokens_BxT)
            # Below the words a soft prompt's vectors, too few to be split: who has the first word adds them.
            found_BxTxD = placement.lookup(words_VxD, jnp.minimum(tokens_BxT, words - 1))
            vectors_BxTxD = table_VxD[words:][jnp.maximum(tokens_BxT - words, 0)]
            vectors_BxTxD *= placement.vocabulary_start(words_VxD.shape[0]) == 0
            return jnp.where(tokens_BxT[..., None] < words, found_BxTxD, vectors_BxTxD)

        return tuple(placement.leave(look_up(part)) for part in self._split(tokens_BxT))

    def _head(self, params: Tree) -> jax.Array:
        table_VxD = params["embedding" if self.config.tied_head else "head"].astype(self.dtype)
        if table_VxD.shape[0] > self.config.vocab_size:  # below the words, a soft prompt's vectors
            table_VxD = table_VxD[: self.config.vocab_size]
        return self.placement.weights({"table": table_VxD}, TABLE)["table"]

    def _layer_inputs(
        self, tower: str, params: Tree, batch: Batch, keys_B: jax.Array | None, memory_BxSxD: jax.Array
    ) -> "_LayerInputs":
        own_segments_BxT = self.placement.shard_length(batch[f"{tower}_segment_ids"], TOKENS)
        entered_BxSxD = attend_memory = None
        if tower == "decoder":
            mask = AttentionMask(own_segments_BxT, batch["encoder_segment_ids"])
            entered_BxSxD, attend_memory = self.placement.enter(memory_BxSxD), self._attend(mask)
        return _LayerInputs(
            window=batch[f"{tower}_segment_ids"].shape[1],
            keys_B=keys_B,
            rotation=self._rotation(batch[f"{tower}_positions"]),
            attend=self._attention(tower, params, own_segments_BxT, batch),
            memory_BxSxD=entered_BxSxD,
            attend_memory=attend_memory,
        )

    def _rotation(self, positions_BxT: jax.Array) -> positions.Rotation | None:
        if self.config.position != "rotary":
            return None
        return positions.rotation(self.placement.shard_length(positions_BxT, TOKENS), self.config.width)

    def _attention(self, tower: str, params: Tree, own_segments_BxT: jax.Array, batch: Batch) -> Attend:
        """Self-attention of a tower: who sees whom, and with which bias."""
        segments_BxT = batch[f"{tower}_segment_ids"]
        window = segments_BxT.shape[1]
        index_T = self.placement.shard_length(jnp.arange(window), ("length",)) if tower == "decoder" else None
        bias_HxTxS = None
        if f"{tower}_bias" in params:
            buckets_TxS = positions.relative_buckets(
                window,
                window,
                bidirectional=tower == "encoder",
                buckets=self.config.relative_buckets,
                max_distance=self.config.relative_max_distance,
            )
            bias_HxTxS = jnp.transpose(params[f"{tower}_bias"]["table"][buckets_TxS], (2, 0, 1))
            bias_HxTxS = self.placement.shard_length(bias_HxTxS, ("heads", "length", None))
        return self._attend(AttentionMask(own_segments_BxT, segments_BxT, index_T), bias_HxTxS)

    def _attend(self, mask: AttentionMask, bias_HxTxS: jax.Array | None = None) -> Attend:
        scale = self.config.scale
        by_kernel = self.kernel == "flash" and bias_HxTxS is None and flash.fits(mask)
        mask_Bx1xTxS = mask.as_array()

        def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            prefixed = k.shape[2] > mask_Bx1xTxS.shape[-1]
            if by_kernel and not prefixed:
                return flash.attend(q * scale, k, v, mask, self.placement)
            sees = attention.over_prefix(k.shape[2], mask_Bx1xTxS, bias_HxTxS)
            if native.takes(self.placement, q, k, v) and native_attention.fits(q, *sees):
                return checkpoint_name(native_attention.attend(q * scale, k, v, sees[0]), "attention")
            return attention.attend(q * scale, k, v, *sees)

        return attend

    def _dropout(self, y_BxTxD: jax.Array, inputs: "_LayerInputs", draw: jax.Array) -> jax.Array:
        keep = 1.0 - self.config.dropout
        if inputs.keys_B is None or keep == 1.0:
            return y_BxTxD
        shape = inputs.window, self.config.d_model

        def sample(key: jax.Array) -> jax.Array:
            return jax.random.bernoulli(jax.random.fold_in(key, draw), keep, shape)

        return jnp.where(self.placement.draw(sample, inputs.keys_B), y_BxTxD / keep, 0.0)


class _LayerInputs(NamedTuple):
    """What every layer of a tower reads besides the residual stream, for one stream of examples."""

    window: int
    keys_B: jax.Array | None
    rotation: positions.Rotation | None
    attend: Attend
    memory_BxSxD: jax.Array | None = None
    attend_memory: Attend | None = None
