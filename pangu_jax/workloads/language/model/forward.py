"""The forward pass of a language model: whole, or as the parts that a pipeline runs one by one.

An encoder and a decoder, or a decoder alone, as `config.towers` says.

`loss` is the composition of the parts, so a pipelined model is the same code as the model on one device.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike

from pangu_jax.models import attention, native, native_blocks, positions
from pangu_jax.models.attention import Attend, AttentionMask
from pangu_jax.models.normalization import normed
from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import OneDevice, Placement
from pangu_jax.models.stack import Remat, run_layers
from pangu_jax.workloads.language.model import architecture, attending, blocks, prediction, routed
from pangu_jax.workloads.language.model.architecture import Architecture
from pangu_jax.workloads.language.model.blocks import LayerInputs
from pangu_jax.workloads.language.model.decoder import QUERY_LAYER
from pangu_jax.workloads.language.model.embedding import TABLE, look_up
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.language.model.learned_positions import added, vectors
from pangu_jax.workloads.language.model.token_loss import TOKENS, Loss, balanced, joined, token_loss

Batch = Mapping[str, jax.Array]
Split = TypeVar("Split")
Streams = tuple[jax.Array, ...]  # a residual stream for each stream of examples
Carry = tuple[Streams, routed.RouterTotals | None]
Payload = dict[str, Any]  # Streams of each tower, and RouterTotals where there are experts


@dataclass(frozen=True)
class Forward:
    """A forward pass: the configuration, and how this run places, rematerialises, rounds and attends.

    With `streams` > 1 a layer works on that many parts of the batch, each independent of the others, so that
    collectives of one run while another computes. `weights` is what decoding keeps of its weights for the
    kernels of a CPU. `keys_B` below is one PRNG key per example, so that dropout
    falls alike on every layout; None drops nothing.
    """

    config: Architecture
    placement: Placement = OneDevice()  # noqa: RUF009 - stateless
    remat: Remat = "none"
    dtype: DTypeLike = jnp.float32
    kernel: attending.Kernel = "plain"
    streams: int = 1
    weights: native.Weights = "float32"

    def encode(self, params: Tree, batch: Batch, keys_B: jax.Array | None = None) -> jax.Array:
        """The encoder's output [B, S, D]; its input tokens, segment ids and positions are each BxS."""
        payload = self.begin_tower(0, params, {}, batch)
        payload = self.run_tower(0, params["encoder"], params, payload, batch, keys_B, 0)
        return self._norm(jnp.concatenate(payload["encoder"]), params["encoder_norm"])

    def decode(
        self,
        params: Tree,
        batch: Batch,
        memory_BxSxD: jax.Array | None = None,
        keys_B: jax.Array | None = None,
    ) -> jax.Array:
        """Final hidden states [B, T, D], scaled for the head, from `decoder_input_tokens` and the memory.

        A decoder alone has none.
        """
        begun = self.begin_decoder(params, batch, memory_BxSxD)
        tower = self.config.towers.index("decoder")
        payload = self.run_tower(tower, params["decoder"], params, begun, batch, keys_B, 0)
        return jnp.concatenate(self.hidden(params, payload, batch, keys_B))

    def begin_decoder(self, params: Tree, batch: Batch, memory_BxSxD: jax.Array | None = None) -> Payload:
        """What enters the decoder's first layer, beside a memory that need not be an encoder's output."""
        begun = self._begun(params, batch, "decoder", None)
        return begun if memory_BxSxD is None else {"encoder": tuple(self._split(memory_BxSxD)), **begun}

    def logits(self, params: Tree, hidden: jax.Array) -> jax.Array:
        """fp32 logits [..., V] of hidden states [..., D]: for decoding, where few tokens matter."""
        return jnp.einsum("...d,vd->...v", hidden, self._head(params), preferred_element_type=jnp.float32)

    def loss(self, params: Tree, batch: Batch, keys_B: jax.Array | None = None) -> Loss:
        """Weighted cross-entropy of `decoder_target_tokens` under `decoder_loss_weights`, each BxT."""
        payload: Payload = {}
        for index, tower in enumerate(self.config.towers):
            begun = self.begin_tower(index, params, payload, batch, keys_B)
            payload = self.run_tower(index, params[tower], params, begun, batch, keys_B, 0)
        return self.finish(params, payload, batch, keys_B)

    def begin_tower(
        self, tower: int, params: Tree, payload: Payload, batch: Batch, keys_B: jax.Array | None = None
    ) -> Payload:
        """What enters a tower's first layer: embeddings, and for the decoder the encoder's normed output.

        Dense layers before those with experts are in no tower: they are run here.
        """
        if tower == 0:
            return self._begun(params, batch, self.config.towers[0], keys_B)
        memory = tuple(self._norm(x_BxSxD, params["encoder_norm"]) for x_BxSxD in payload["encoder"])
        return {"encoder": memory, "decoder": self.embed(params, batch, "decoder")}

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
        return self._run(self.config.towers[tower], tower, layers, params, payload, batch, keys_B, first)

    def _begun(self, params: Tree, batch: Batch, name: str, keys_B: jax.Array | None) -> Payload:
        config, begun = self.config, {name: self.embed(params, batch, name)}
        if config.experts is None:
            return begun
        if "dense" in params:
            begun = self._run("dense", 0, params["dense"], params, begun, batch, keys_B, 0)
        return {**begun, routed.KEY: routed.nothing(config.routed_layers, config.experts)}

    def _run(
        self,
        stack: str,
        tower: int,
        layers: Tree,
        params: Tree,
        payload: Payload,
        batch: Batch,
        keys_B: jax.Array | None,
        first: jax.Array | int,
    ) -> Payload:
        """Some layers of a stack: of a tower, by its name, the dense ones before or the query layer after."""
        config, placement = self.config, self.placement
        name = config.towers[tower]
        before = {"dense": 0, QUERY_LAYER: config.decoder_layers - 1}.get(stack, config.dense_layers)
        logical = architecture.axes(config)[stack]
        layer_axes = jax.tree.map(lambda a: a[1:], logical, is_leaf=lambda a: isinstance(a, tuple))
        if "prefix" in layers["attention"]:
            layer_axes["attention"]["prefix"] = attention.PREFIX
        stream_inputs = [
            self._layer_inputs(stack, name, params, batch, keys, memory)
            for batch, keys, memory in zip(
                self._split(batch),
                self._split(keys_B),
                payload.get("encoder", (None,) * self.streams),
                strict=True,
            )
        ]

        def block(inputs, x_BxTxD, layer, kind, index):
            norm = layer[f"{kind}_norm"]
            if native.takes(placement, x_BxTxD, norm["scale"]):
                normed_BxTxD, x_BxTxD = native_blocks.normed(x_BxTxD, norm, config.epsilon)
            else:
                normed_BxTxD = self._norm(x_BxTxD, norm)
            at = blocks.BlockCall(config, placement, params, inputs, layer, index)
            y_BxTxD, found = blocks.computed(kind, at, normed_BxTxD)
            draw = 3 * (index + before) + blocks.DRAWS[kind]
            y_BxTxD = blocks.dropped(config, placement, inputs, y_BxTxD, 2 * draw + tower)
            return checkpoint_name(x_BxTxD + y_BxTxD, "residual"), found

        def body(carry: Carry, stored: Tree, index: jax.Array) -> Carry:
            streams, totals = carry
            layer = placement.weights(routed.in_dtype(stored, self.dtype), layer_axes)
            for kind in blocks.kinds_of(layer):
                done = [
                    block(inputs, x, layer, kind, index)
                    for inputs, x in zip(stream_inputs, streams, strict=True)
                ]
                streams = tuple(x for x, _ in done)
                for _, found in done:
                    totals = totals.plus(index, found) if found and totals else totals
            return streams, totals

        carry: Carry = payload[name], payload.get(routed.KEY)
        x, totals = run_layers(body, layers, carry, remat=self.remat, unroll=config.unroll, first=first)
        return {**payload, name: x, **({} if totals is None else {routed.KEY: totals})}

    def finish(self, params: Tree, payload: Payload, batch: Batch, keys_B: jax.Array | None = None) -> Loss:
        """The loss of what left the decoder's tower, with that of the token after the next."""
        hidden = self.hidden(params, payload, batch, keys_B)
        loss = self._token_loss(params, hidden, batch)
        totals = payload.get(routed.KEY)
        if self.config.predictions:
            further = prediction.one_further(batch)
            hidden, totals = prediction.hidden_states(self, params, hidden, totals, further)
            predicted = self._token_loss(params, hidden, further)
            loss = loss._replace(total=loss.total + self.config.prediction_weight * predicted.total)
        return balanced(loss, totals, self.config.experts.balance) if totals and self.config.experts else loss

    def _token_loss(self, params: Tree, hidden: Streams, batch: Batch) -> Loss:
        table_VxD = self._head(params)

        def of(hidden_BxTxD: jax.Array, batch: Batch) -> Loss:
            hidden_BxTxD = self.placement.enter(hidden_BxTxD)
            return token_loss(self.config, hidden_BxTxD, table_VxD, batch, self.placement)

        return joined([of(*pair) for pair in zip(hidden, self._split(batch), strict=True)])

    def _split(self, tree: Split) -> list[Split]:
        """Each stream's examples of a tree [B, ...]."""
        if self.streams == 1:
            return [tree]
        leaves, structure = jax.tree.flatten(tree)
        parts = zip(*(jnp.split(leaf, self.streams) for leaf in leaves), strict=True)
        return [structure.unflatten(part) for part in parts] if leaves else [tree] * self.streams

    def hidden(
        self, params: Tree, payload: Payload, batch: Batch, keys_B: jax.Array | None = None
    ) -> Streams:
        """Final hidden states, scaled for the head, of what left the decoder's tower: normed, and through a
        query layer where the model has one, which nothing norms."""
        hidden = tuple(
            self._norm(x_BxTxD, params["decoder_norm"]) * self.config.head_scale
            for x_BxTxD in payload["decoder"]
        )
        if QUERY_LAYER not in params:
            return hidden
        tower = self.config.towers.index("decoder")
        begun = {"decoder": hidden}
        return self._run(QUERY_LAYER, tower, params[QUERY_LAYER], params, begun, batch, keys_B, 0)["decoder"]

    def _norm(self, x_BxTxD: jax.Array, norm: Tree) -> jax.Array:
        return normed(x_BxTxD, norm, self.config.epsilon)

    def embed(self, params: Tree, batch: Batch, tower: str) -> Streams:
        """The residual stream of each stream's input tokens, with their positions where these are learnt."""
        table_VxD = params["embedding"].astype(self.dtype)
        tokens_BxT = self.placement.shard_length(batch[f"{tower}_input_tokens"], TOKENS)
        found = look_up(table_VxD, self._split(tokens_BxT), self.config.vocab_size, self.placement)
        if "positions" not in params:
            return found
        positions = self._split(batch[f"{tower}_positions"])
        return added(params["positions"], found, positions, self.dtype, self.placement)

    def _head(self, params: Tree) -> jax.Array:
        table_VxD = params["embedding" if self.config.tied_head else "head"].astype(self.dtype)
        if table_VxD.shape[0] > self.config.vocab_size:  # below the words, a soft prompt's vectors
            table_VxD = table_VxD[: self.config.vocab_size]
        return self.placement.weights({"table": table_VxD}, TABLE)["table"]

    def _layer_inputs(
        self,
        stack: str,
        tower: str,
        params: Tree,
        batch: Batch,
        keys_B: jax.Array | None,
        memory_BxSxD: jax.Array | None,
    ) -> LayerInputs:
        own_segments_BxT = self.placement.shard_length(batch[f"{tower}_segment_ids"], TOKENS)
        entered_BxSxD = attend_memory = queries_BxTxD = None
        if stack == QUERY_LAYER:
            asked = [batch[f"{tower}_positions"]]
            (queries,) = vectors(params["queries"], asked, self.dtype, self.placement)
            queries_BxTxD = self.placement.enter(queries)
        if tower == "decoder" and memory_BxSxD is not None:
            mask = AttentionMask(own_segments_BxT, batch["encoder_segment_ids"])
            entered_BxSxD, attend_memory = self.placement.enter(memory_BxSxD), self._attend(mask)
        return LayerInputs(
            window=batch[f"{tower}_segment_ids"].shape[1],
            keys_B=keys_B,
            rotation=self._rotation(batch[f"{tower}_positions"]),
            attend=self._attention(tower, params, own_segments_BxT, batch),
            memory_BxSxD=entered_BxSxD,
            attend_memory=attend_memory,
            counted=blocks.counted(batch, own_segments_BxT, self.placement) if self.config.experts else None,
            queries_BxTxD=queries_BxTxD,
        )

    def _rotation(self, positions_BxT: jax.Array) -> positions.Rotation | None:
        if self.config.position != "rotary":
            return None
        positions_BxT = self.placement.shard_length(positions_BxT, TOKENS)
        return positions.rotation(positions_BxT, self.config.rotary, self.config.rope_theta)

    def _attention(self, tower: str, params: Tree, own_segments_BxT: jax.Array, batch: Batch) -> Attend:
        """Self-attention of a tower: who sees whom, and with which bias."""
        segments_BxT = batch[f"{tower}_segment_ids"]
        window = segments_BxT.shape[1]
        index_T = self.placement.shard_length(jnp.arange(window), ("length",)) if tower == "decoder" else None
        bias_HxTxS = None
        if f"{tower}_bias" in params:
            assert isinstance(self.config, EncoderDecoderConfig), "no other has a bias"
            buckets_TxS = self.config.buckets(window, bidirectional=tower == "encoder")
            bias_HxTxS = jnp.transpose(params[f"{tower}_bias"]["table"][buckets_TxS], (2, 0, 1))
            bias_HxTxS = self.placement.shard_length(bias_HxTxS, ("heads", "length", None))
        return self._attend(AttentionMask(own_segments_BxT, segments_BxT, index_T), bias_HxTxS)

    def _attend(self, mask: AttentionMask, bias_HxTxS: jax.Array | None = None) -> Attend:
        return attending.attending(mask, bias_HxTxS, self.config.scale, self.kernel, self.placement)
