"""Placement points: the names a model gives to the moments when a tensor changes where it lives.

A model knows logical axes and never a mesh. Where a weight must be whole before it is used, where an
activation crosses the edge of a tensor-parallel block, or where a row needs all of a window's length, the
model calls one of these points. `pangu_jax.parallel` hands in an implementation: sharding constraints that
the compiler carries out (`constraints.py`), or explicit collectives (`manual.py`). On one device every
point is the identity, `OneDevice`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax

Params = Mapping[str, Any]
Axes = Mapping[str, Any]
LogicalAxes = tuple[str | None, ...]
Tree = Any
Compare = Callable[[Tree, Tree, jax.Array | bool], Tree]
AtExperts = Callable[..., jax.Array]


class Placement(Protocol):
    """The placement points.

    Placements compare by value: a program compiled for one serves an equal one.
    """

    @property
    def batch_shards(self) -> int:
        """Parts of equal size into which the examples of a batch are split."""
        ...

    @property
    def platform(self) -> str:
        """Of the devices, as JAX names it: it says which kernels there are."""
        ...

    @property
    def whole_examples(self) -> bool:
        """Whether each device has all of its examples: neither their positions nor heads are split."""
        ...

    def several(self, count: int, /) -> "Placement":
        """The points for a residual stream of `count` times the examples, those of one side by side."""
        ...

    def weights(self, params: Params, axes: Axes, /) -> Params:
        """Bring weights from storage to where they are used (an FSDP gather); whole ones stay as they are."""
        ...

    def begin(self, x_BxTxD: jax.Array, /) -> jax.Array:
        """The residual stream, from rows that every device has computed whole (an embedding of patches)."""
        ...

    def stored(self, params: Params, axes: Axes, /) -> Params:
        """Weights that were made of others, back into the shards that weights are stored in."""
        ...

    def enter(self, x_BxTxD: jax.Array, /) -> jax.Array:
        """The residual stream on its way into a tensor-parallel block: every row is whole there."""
        ...

    def inside(self, x: jax.Array, axes: LogicalAxes, /) -> jax.Array:
        """A tensor inside a tensor-parallel block, with the logical axis of each dimension."""
        ...

    def leave(self, y_BxTxD: jax.Array, /) -> jax.Array:
        """A block's output on its way back to the residual stream (partial sums are added here)."""
        ...

    def shard_length(self, x: jax.Array, axes: LogicalAxes, /) -> jax.Array:
        """The part of a whole `length` dimension that this device works on."""
        ...

    def whole_length(self, x: jax.Array, axes: LogicalAxes, /) -> jax.Array:
        """The inverse: all of the `length` dimension, gathered from the devices that share a window."""
        ...

    def lookup(self, table_VxD: jax.Array, tokens_BxT: jax.Array, /) -> jax.Array:
        """Rows of a table, [B, T, D]: a partial sum where the vocabulary is split, on its way to `leave`."""
        ...

    def vocabulary_start(self, rows: int, /) -> jax.Array | int:
        """The token id of the first of the `rows` rows of a table that live here."""
        ...

    def vocabulary_sum(self, x: jax.Array, /) -> jax.Array:
        """A sum over the vocabulary's parts, wherever they live."""
        ...

    def vocabulary_max(self, x: jax.Array, /) -> jax.Array:
        """A maximum over the vocabulary's parts; no gradient."""
        ...

    def everyone(self, x_B: jax.Array, /) -> jax.Array:
        """The rows [N, ...] of all devices' examples, in the batch's order, from one's own [B, ...]."""
        ...

    def first_example(self, rows: int, /) -> jax.Array | int:
        """The number in the batch of the first of the `rows` examples that live here."""
        ...

    def ring(self, compare: Compare, own: Tree, others: Tree, /) -> Tree:
        """The sum of compare(own, block, is_own) over all devices' blocks of others, one after the other.

        The blocks go round the devices, and round once more for the gradient: nothing is kept of a block.

        Args:
          compare: of one's own rows and one device's block of the others, and whether that is one's own;
            gives a tree of fp32 arrays [B, ...]. All that is differentiated is in its first two arguments.
          own: a tree of fp32 arrays [B, ...], and of scalars that are the same everywhere.
          others: a tree of fp32 arrays [B, ...].
        """
        ...

    def at_experts(
        self, compute: AtExperts, weights: Params, axes: Axes, tokens: tuple[jax.Array, ...], /
    ) -> jax.Array:
        """What experts make of tokens, wherever the experts live: dispatch there, and combination here.

        Args:
          compute: (weights that live here, number of their first expert, tokens) -> [B, T, D], a sum over the
            experts that live here, of tokens that need not be this device's own.
          weights: of all experts, [E, ...].
          axes: of the weights.
          tokens: arrays [B, T, ...], the first of them the rows [B, T, D].

        Returns the sum over all experts, [B, T, D] of this device's own tokens: on its way to `leave`.
        """
        ...

    def draw(self, sample: Callable[[jax.Array], jax.Array], keys_B: jax.Array, /) -> jax.Array:
        """sample(key) [T, D] of each example, in the parts of the residual stream that live here."""
        ...

    def locally(
        self,
        kernel: Callable[..., jax.Array],
        arrays: tuple[jax.Array, ...],
        axes: tuple[LogicalAxes, ...],
        out_axes: LogicalAxes,
        /,
    ) -> jax.Array:
        """kernel(*arrays) on each device's own parts: for kernels that the compiler cannot split."""
        ...


@dataclass(frozen=True)
class OneDevice(Placement):
    """Everything lives on one device: every point is the identity.

    Attributes:
      native: whether the backend's kernels may be called (`models/native.py`): here alone nothing is split.
      platform: of the device; a run on TPUs or GPUs has a mesh, of one of them too.
    """

    native: bool = False
    platform: str = "cpu"
    whole_examples: bool = True

    @property
    def batch_shards(self) -> int:
        return 1

    def several(self, count: int) -> "OneDevice":
        del count
        return self

    def weights(self, params: Params, axes: Axes) -> Params:
        del axes
        return params

    def begin(self, x_BxTxD: jax.Array) -> jax.Array:
        return x_BxTxD

    def stored(self, params: Params, axes: Axes) -> Params:
        del axes
        return params

    def enter(self, x_BxTxD: jax.Array) -> jax.Array:
        return x_BxTxD

    def inside(self, x: jax.Array, axes: LogicalAxes) -> jax.Array:
        del axes
        return x

    def leave(self, y_BxTxD: jax.Array) -> jax.Array:
        return y_BxTxD

    def shard_length(self, x: jax.Array, axes: LogicalAxes) -> jax.Array:
        del axes
        return x

    def whole_length(self, x: jax.Array, axes: LogicalAxes) -> jax.Array:
        del axes
        return x

    def lookup(self, table_VxD: jax.Array, tokens_BxT: jax.Array) -> jax.Array:
        return table_VxD[tokens_BxT]

    def vocabulary_start(self, rows: int) -> int:
        del rows
        return 0

    def vocabulary_sum(self, x: jax.Array) -> jax.Array:
        return x

    def vocabulary_max(self, x: jax.Array) -> jax.Array:
        return x

    def everyone(self, x_B: jax.Array) -> jax.Array:
        return x_B

    def first_example(self, rows: int) -> int:
        del rows
        return 0

    def ring(self, compare: Compare, own: Tree, others: Tree) -> Tree:
        return compare(own, others, True)

    def at_experts(
        self, compute: AtExperts, weights: Params, axes: Axes, tokens: tuple[jax.Array, ...]
    ) -> jax.Array:
        del axes
        return compute(weights, 0, *tokens)

    def draw(self, sample: Callable[[jax.Array], jax.Array], keys_B: jax.Array) -> jax.Array:
        return jax.vmap(sample)(keys_B)

    def locally(
        self,
        kernel: Callable[..., jax.Array],
        arrays: tuple[jax.Array, ...],
        axes: tuple[LogicalAxes, ...],
        out_axes: LogicalAxes,
    ) -> jax.Array:
        del axes, out_axes
        return kernel(*arrays)
