"""Placement by explicit collectives: every device runs its own program on its own parts of all arrays.

For use inside a shard_map over the axes of a mesh, without varying-axes checks, where the transpose of a
psum is a psum: derivatives are those of the sum of all devices' results (see `shards.py`).
"""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh

from pangu_jax.parallel.example_ring import Compare, Tree, around
from pangu_jax.parallel.expert_exchange import at_experts
from pangu_jax.parallel.mesh import RINGS
from pangu_jax.parallel.rules import BATCH, LogicalAxes


class ManualPlacement:
    """Implements `pangu_jax.models.placement.Placement` where all mesh axes are manual.

    The residual stream is split over `model` by rows (examples x positions, flattened), as in sequence
    parallelism (Korthikanti et al., arXiv 2205.05198): a block is entered by an all-gather and left by a
    reduce-scatter, both along the first dimension, which is the one that a TPU gathers without copies.

    Args:
      mesh: the mesh, for the sizes of its axes.
      examples: examples of a (micro)batch on this device's row of the mesh.
      widths: the model's, by which a whole weight is known from a shard (`layout.gathers_by_hand`).
    """

    def __init__(self, mesh: Mesh, examples: int, widths: Collection[int]):
        self._mesh, self._sizes = mesh, dict(mesh.shape)
        self._examples = examples
        self._widths = frozenset(widths)

    @property
    def batch_shards(self) -> int:
        """A device's own examples are not split further."""
        return 1

    @property
    def platform(self) -> str:
        """Of the mesh's devices."""
        return self._mesh.devices.flat[0].platform

    @property
    def whole_examples(self) -> bool:
        """Nothing is split over `model` or `sequence`."""
        return self._sizes["model"] == self._sizes["sequence"] == 1

    def several(self, count: int) -> "ManualPlacement":
        """For `count` times the examples."""
        return ManualPlacement(self._mesh, count * self._examples, self._widths)

    def weights(self, params: Mapping[str, Any], axes: Mapping[str, Any]) -> Mapping[str, Any]:
        """All-gathers along `embed`, ring by ring; in their dtype, as their gradients' scatters."""
        return jax.tree.map(self._gather, params, axes)

    def stored(self, params: Mapping[str, Any], axes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Made of shards, they are shards."""
        del axes
        return params

    def _gather(self, weight: jax.Array, axes: LogicalAxes) -> jax.Array:
        if "embed" not in axes or weight.shape[axes.index("embed")] in self._widths:
            return weight
        for ring in reversed(RINGS):
            if self._sizes[ring] > 1:
                weight = lax.all_gather(weight, ring, axis=axes.index("embed"), tiled=True)
        return weight

    def begin(self, x_BxTxD: jax.Array) -> jax.Array:
        """This device's share of the rows."""
        return self._own_rows(self.shard_length(x_BxTxD, ("batch", "length", "embed")))

    def enter(self, x_RxTxD: jax.Array) -> jax.Array:
        """All rows of the examples, [B, T, D], from this device's share of them."""
        if self._sizes["model"] == 1:
            return x_RxTxD
        rows_NxD = x_RxTxD.reshape(-1, x_RxTxD.shape[-1])
        rows_NxD = lax.all_gather(rows_NxD, "model", axis=0, tiled=True)
        return rows_NxD.reshape(self._examples, -1, x_RxTxD.shape[-1])

    def inside(self, x: jax.Array, axes: LogicalAxes) -> jax.Array:
        """Local already."""
        del axes
        return x

    def leave(self, y_BxTxD: jax.Array) -> jax.Array:
        """Partial sums over `model`, added up and split by rows again."""
        if self._sizes["model"] == 1:
            return y_BxTxD
        rows_NxD = y_BxTxD.reshape(-1, y_BxTxD.shape[-1])
        self._check(rows_NxD.shape[0])
        rows_NxD = lax.psum_scatter(rows_NxD, "model", scatter_dimension=0, tiled=True)
        return self._residual(rows_NxD, y_BxTxD.shape[1])

    def shard_length(self, x: jax.Array, axes: LogicalAxes) -> jax.Array:
        """This device's slice along `length`."""
        parts, dimension = self._sizes["sequence"], axes.index("length")
        if parts == 1:
            return x
        own = x.shape[dimension] // parts
        return lax.dynamic_slice_in_dim(x, lax.axis_index("sequence") * own, own, dimension)

    def whole_length(self, x: jax.Array, axes: LogicalAxes) -> jax.Array:
        """All-gathered along `length`."""
        if self._sizes["sequence"] == 1:
            return x
        return lax.all_gather(x, "sequence", axis=axes.index("length"), tiled=True)

    def lookup(self, table_VxD: jax.Array, tokens_BxT: jax.Array) -> jax.Array:
        """This device's rows of the vocabulary, zero for the tokens of others."""
        rows = table_VxD.shape[0]
        local_BxT = tokens_BxT - self.vocabulary_start(rows)
        mine_BxT = (local_BxT >= 0) & (local_BxT < rows)
        found_BxTxD = table_VxD[jnp.clip(local_BxT, 0, rows - 1)]
        return jnp.where(mine_BxT[..., None], found_BxTxD, 0)

    def vocabulary_start(self, rows: int) -> jax.Array:
        """The id of this device's first row."""
        return lax.axis_index("model") * rows

    def vocabulary_sum(self, x: jax.Array) -> jax.Array:
        """psum over `model`."""
        return lax.psum(x, "model") if self._sizes["model"] > 1 else x

    def vocabulary_max(self, x: jax.Array) -> jax.Array:
        """pmax over `model`."""
        return lax.pmax(lax.stop_gradient(x), "model") if self._sizes["model"] > 1 else x

    def everyone(self, x_B: jax.Array) -> jax.Array:
        """All-gathered over the axes of a batch; its gradient is scattered back, summed."""
        axes = self._batch_axes()
        return lax.all_gather(x_B, axes, axis=0, tiled=True) if axes else x_B

    def first_example(self, rows: int) -> jax.Array | int:
        """By this device's place among those of a batch."""
        axes = self._batch_axes()
        return lax.axis_index(axes) * rows if axes else 0

    def ring(self, compare: Compare, own: Tree, others: Tree) -> Tree:
        """Over the axes of a batch; devices along the others do the same."""
        axes = self._batch_axes()
        if not axes:
            return compare(own, others, True)
        devices = math.prod(self._sizes[axis] for axis in axes)
        return around(compare, axes, devices, self.platform == "cpu", own, others)

    def at_experts(
        self,
        compute: Callable[..., jax.Array],
        weights: Mapping[str, Any],
        axes: Mapping[str, Any],
        tokens: tuple[jax.Array, ...],
    ) -> jax.Array:
        """See `expert_exchange`."""
        del axes
        return at_experts(compute, self._sizes["expert"], weights, tokens)

    def _batch_axes(self) -> tuple[str, ...]:
        """Those that split it here."""
        return tuple(axis for axis in BATCH if self._sizes[axis] > 1)

    def draw(self, sample: Callable[[jax.Array], jax.Array], keys_B: jax.Array) -> jax.Array:
        """The rows of this device, cut from whole examples: every layout draws the same numbers."""
        drawn_BxTxD = self.shard_length(jax.vmap(sample)(keys_B), ("batch", "length", "embed"))
        return self._own_rows(drawn_BxTxD)

    def locally(
        self,
        kernel: Callable[..., jax.Array],
        arrays: tuple[jax.Array, ...],
        axes: tuple[LogicalAxes, ...],
        out_axes: LogicalAxes,
    ) -> jax.Array:
        """Local already."""
        del axes, out_axes
        return kernel(*arrays)

    def _own_rows(self, x_BxTxD: jax.Array) -> jax.Array:
        """Cut from rows that the devices along `model` all have."""
        parts = self._sizes["model"]
        if parts == 1:
            return x_BxTxD
        rows_NxD = x_BxTxD.reshape(-1, x_BxTxD.shape[-1])
        self._check(rows_NxD.shape[0])
        own = rows_NxD.shape[0] // parts
        own_NxD = lax.dynamic_slice_in_dim(rows_NxD, lax.axis_index("model") * own, own, 0)
        return self._residual(own_NxD, x_BxTxD.shape[1])

    def _residual(self, rows_NxD: jax.Array, length: int) -> jax.Array:
        """Whole examples where a device's share is some, or else a run of rows."""
        whole = rows_NxD.shape[0] % length == 0
        return rows_NxD.reshape(-1 if whole else 1, length if whole else rows_NxD.shape[0], rows_NxD.shape[1])

    def _check(self, rows: int) -> None:
        if rows % (parts := self._sizes["model"]):
            raise ValueError(
                f"{self._examples} examples x {rows // self._examples} positions per device are not "
                f"divisible by model {parts}: change train.batch_size, Layout.microbatches or Layout.model"
            )
