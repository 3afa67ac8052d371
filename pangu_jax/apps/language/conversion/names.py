"""Which array of ours is which tensor of a Hugging Face T5: one table, for both directions.

Theirs are matrices, [out, in], one for each layer and projection. Ours hold all layers (first axis), have
heads as an axis of their own, and keep projections of the same input in one array (axis -2).
"""

from collections.abc import Iterator
from types import EllipsisType
from typing import Any, NamedTuple

import jax
import numpy as np

from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig

Shape = tuple[int, ...]
Index = tuple[int | slice | EllipsisType, ...]


class Entry(NamedTuple):
    """A row of the table.

    Attributes:
      theirs: their name, with `{layer}` where ours is stacked over layers, `{part}` where it holds several.
      turned: ours is stored input first, [in, out], and theirs output first.
      parts: what `{part}` may be, in the order of our axis -2.
    """

    theirs: str
    turned: bool = False
    parts: str = ""


class TensorPiece(NamedTuple):
    """One tensor of theirs, and where it lies in one of our arrays.

    Attributes:
      name: of theirs.
      shape: of theirs.
      index: into our array; what it selects has `ours` as its shape.
      ours: see `index`.
      turned: see Entry.
    """

    name: str
    shape: Shape
    index: Index
    ours: Shape
    turned: bool

    def to_ours(self, tensor: np.ndarray) -> np.ndarray:
        """Their tensor as it lies in our array: a view where it can be one."""
        return (tensor.T if self.turned else tensor).reshape(self.ours)

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        """This piece of our whole array as their tensor, contiguous."""
        matrix = array[self.index].reshape(self.shape[::-1] if self.turned else self.shape)
        return np.ascontiguousarray(matrix.T if self.turned else matrix)


ENCODER, DECODER = "encoder.block.{layer}.layer.", "decoder.block.{layer}.layer."

NAMES: dict[str, Entry] = {
    "embedding": Entry("shared.weight"),
    "head": Entry("lm_head.weight"),
    "encoder_bias/table": Entry("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"),
    "encoder/attention_norm/scale": Entry(ENCODER + "0.layer_norm.weight"),
    "encoder/attention/qkv": Entry(ENCODER + "0.SelfAttention.{part}.weight", turned=True, parts="qkv"),
    "encoder/attention/out": Entry(ENCODER + "0.SelfAttention.o.weight"),
    "encoder/feed_forward_norm/scale": Entry(ENCODER + "1.layer_norm.weight"),
    "encoder/feed_forward/gate": Entry(ENCODER + "1.DenseReluDense.wi_0.weight", turned=True),
    "encoder/feed_forward/up": Entry(ENCODER + "1.DenseReluDense.wi_1.weight", turned=True),
    "encoder/feed_forward/down": Entry(ENCODER + "1.DenseReluDense.wo.weight"),
    "encoder_norm/scale": Entry("encoder.final_layer_norm.weight"),
    "decoder_bias/table": Entry("decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"),
    "decoder/attention_norm/scale": Entry(DECODER + "0.layer_norm.weight"),
    "decoder/attention/qkv": Entry(DECODER + "0.SelfAttention.{part}.weight", turned=True, parts="qkv"),
    "decoder/attention/out": Entry(DECODER + "0.SelfAttention.o.weight"),
    "decoder/cross_attention_norm/scale": Entry(DECODER + "1.layer_norm.weight"),
    "decoder/cross_attention/query": Entry(DECODER + "1.EncDecAttention.q.weight", turned=True),
    "decoder/cross_attention/key_value": Entry(
        DECODER + "1.EncDecAttention.{part}.weight", turned=True, parts="kv"
    ),
    "decoder/cross_attention/out": Entry(DECODER + "1.EncDecAttention.o.weight"),
    "decoder/feed_forward_norm/scale": Entry(DECODER + "2.layer_norm.weight"),
    "decoder/feed_forward/gate": Entry(DECODER + "2.DenseReluDense.wi_0.weight", turned=True),
    "decoder/feed_forward/up": Entry(DECODER + "2.DenseReluDense.wi_1.weight", turned=True),
    "decoder/feed_forward/down": Entry(DECODER + "2.DenseReluDense.wo.weight"),
    "decoder_norm/scale": Entry("decoder.final_layer_norm.weight"),
}

# Where the feed-forward block is plain, as in the first T5.
PLAIN: dict[str, Entry] = {
    "encoder/feed_forward/up": Entry(ENCODER + "1.DenseReluDense.wi.weight", turned=True),
    "decoder/feed_forward/up": Entry(DECODER + "2.DenseReluDense.wi.weight", turned=True),
}

EMBEDDING, HEAD = NAMES["embedding"].theirs, NAMES["head"].theirs

# Names that files may have for the embedding beside or instead of its own; always the same to the bit.
EMBEDDING_ALIASES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")

# In some old files, and read by nobody.
UNUSED = ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",)


def shapes(config: EncoderDecoderConfig) -> dict[str, Shape]:
    """Path ("encoder/attention/qkv") -> shape of every parameter of ours."""
    tree = jax.eval_shape(lambda: architecture.init(config, jax.random.key(0)))
    return {path: leaf.shape for path, leaf in by_path(tree).items()}


def by_path(params: Tree) -> dict[str, Any]:
    """The arrays of a tree of parameters by path ("encoder/attention/qkv")."""
    leaves = jax.tree.leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def pieces(config: EncoderDecoderConfig) -> dict[str, list[TensorPiece]]:
    """Path of every array of ours -> the tensors of theirs that it is made of."""
    table = NAMES if config.gated else NAMES | PLAIN
    return {path: list(_pieces(table[path], shape)) for path, shape in shapes(config).items()}


def _pieces(entry: Entry, shape: Shape) -> Iterator[TensorPiece]:
    stacked = "{layer}" in entry.theirs
    for layer in range(shape[0] if stacked else 1):
        before = (layer,) if stacked else ()
        for number, part in enumerate(entry.parts or [""]):
            index: Index = before
            ours = shape[len(before) :]
            if entry.parts:
                index, ours = (*before, ..., number, slice(None)), ours[:-2] + ours[-1:]
            matrix = (ours[0], int(np.prod(ours[1:]))) if len(ours) > 1 else ours
            theirs = matrix[::-1] if entry.turned else matrix
            yield TensorPiece(entry.theirs.format(layer=layer, part=part), theirs, index, ours, entry.turned)
