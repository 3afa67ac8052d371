"""Placement by sharding constraints: the compiler sees where tensors must be and adds the collectives."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pangu_jax.parallel import rules
from pangu_jax.parallel.example_ring import Compare, Tree, around
from pangu_jax.parallel.expert_exchange import at_experts
from pangu_jax.parallel.rules import LogicalAxes


@dataclass(frozen=True)
class ConstraintPlacement:
    """Implements `pangu_jax.models.placement.Placement` for a mesh whose axes the compiler manages.

    Inside a pipeline, where `stage` is manual, the same points speak of the axes that are left.
    """

    mesh: Mesh

    @property
    def batch_shards(self) -> int:
        """Devices along the axes of a batch."""
        return math.prod(self.mesh.shape[axis] for axis in rules.BATCH)

    @property
    def platform(self) -> str:
        """Of the mesh's devices."""
        return self.mesh.devices.flat[0].platform

    @property
    def whole_examples(self) -> bool:
        """Nothing is split over `model` or `sequence`."""
        return self.mesh.shape["model"] == self.mesh.shape["sequence"] == 1

    def several(self, count: int) -> "ConstraintPlacement":
        """The same: arrays are global here."""
        del count
        return self

    def weights(self, params: Mapping[str, Any], axes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Weights from their FSDP shards to whole along `embed`, still split along `model`."""
        return jax.tree.map(lambda w, a: self._constrain(w, rules.compute_spec(a)), params, axes)

    def begin(self, x_BxTxD: jax.Array) -> jax.Array:
        """As `enter`: the compiler cuts it where it wants."""
        return self.enter(x_BxTxD)

    def stored(self, params: Mapping[str, Any], axes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Split over FSDP's shards along `embed`, and along `model`."""
        return jax.tree.map(lambda w, a: self._constrain(w, rules.storage_spec(a)), params, axes)

    def enter(self, x_BxTxD: jax.Array) -> jax.Array:
        """The residual stream, whole along its width."""
        return self.inside(x_BxTxD, ("batch", "length", "embed"))

    def inside(self, x: jax.Array, axes: LogicalAxes) -> jax.Array:
        """An activation split over the mesh axes of its logical axes."""
        return self._constrain(x, rules.activation_spec(axes))

    def leave(self, y_BxTxD: jax.Array) -> jax.Array:
        """Partial sums over `model`, added up."""
        return self.inside(y_BxTxD, ("batch", "length", "embed"))

    def shard_length(self, x: jax.Array, axes: LogicalAxes) -> jax.Array:
        """Split along `sequence`."""
        return self.inside(x, axes)

    def whole_length(self, x: jax.Array, axes: LogicalAxes) -> jax.Array:
        """Whole along `sequence`."""
        return self.inside(x, tuple(None if axis == "length" else axis for axis in axes))

    def lookup(self, table_VxD: jax.Array, tokens_BxT: jax.Array) -> jax.Array:
        """Rows of a table; the compiler splits the gather."""
        return table_VxD[tokens_BxT]

    def vocabulary_start(self, rows: int) -> int:
        """Arrays are global here: the first row is row 0."""
        del rows
        return 0

    def vocabulary_sum(self, x: jax.Array) -> jax.Array:
        """Arrays are global here: a sum over a dimension is whole already."""
        return x

    def vocabulary_max(self, x: jax.Array) -> jax.Array:
        """As `vocabulary_sum`."""
        return x

    def everyone(self, x_B: jax.Array) -> jax.Array:
        """Whole on every device."""
        return self._constrain(x_B, PartitionSpec())

    def first_example(self, rows: int) -> int:
        """Arrays are global here: the first example is example 0."""
        del rows
        return 0

    def ring(self, compare: Compare, own: Tree, others: Tree) -> Tree:
        """Under a shard_map: a compiler would gather the others."""
        axes = tuple(axis for axis in rules.BATCH if self.mesh.shape[axis] > 1)
        if not axes:
            return compare(own, others, True)
        rows = lambda tree: jax.tree.map(lambda x: PartitionSpec(axes) if x.ndim else PartitionSpec(), tree)  # noqa: E731
        return jax.shard_map(
            partial(around, compare, axes, self.batch_shards, self.platform == "cpu"),
            mesh=self._here(),
            in_specs=(rows(own), rows(others)),
            out_specs=PartitionSpec(axes),
            axis_names=self._of_kind(AxisType.Auto),
            check_vma=False,
        )(own, others)

    def at_experts(
        self,
        compute: Callable[..., jax.Array],
        weights: Mapping[str, Any],
        axes: Mapping[str, Any],
        tokens: tuple[jax.Array, ...],
    ) -> jax.Array:
        """Under a shard_map, and added up over `model` there: a compiler would sort the tokens of all devices
        together."""
        sizes = self.mesh.shape
        if math.prod(sizes.values()) == 1:
            return compute(weights, 0, *tokens)

        def here(weights: Mapping[str, Any], *tokens: jax.Array) -> jax.Array:
            y_BxTxD = at_experts(compute, sizes["expert"], weights, tokens)
            return jax.lax.psum(y_BxTxD, "model") if sizes["model"] > 1 else y_BxTxD

        rows = rules.activation_spec(("batch", "length", None))
        where = jax.tree.map(rules.compute_spec, dict(axes), is_leaf=rules.is_axes)
        return jax.shard_map(
            here,
            mesh=self._here(),
            in_specs=(where, *(rows for _ in tokens)),
            out_specs=rows,
            axis_names=self._of_kind(AxisType.Auto),
            check_vma=False,
        )(dict(weights), *tokens)

    def draw(self, sample: Callable[[jax.Array], jax.Array], keys_B: jax.Array) -> jax.Array:
        """sample(key) of each example, split like the residual stream."""
        return self.inside(jax.vmap(sample)(keys_B), ("batch", "length", "embed"))

    def locally(
        self,
        kernel: Callable[..., jax.Array],
        arrays: tuple[jax.Array, ...],
        axes: tuple[LogicalAxes, ...],
        out_axes: LogicalAxes,
    ) -> jax.Array:
        """The kernel under a shard_map over all axes that the compiler manages here."""
        return jax.shard_map(
            kernel,
            mesh=self._here(),
            in_specs=tuple(map(rules.activation_spec, axes)),
            out_specs=rules.activation_spec(out_axes),
            axis_names=self._of_kind(AxisType.Auto),
            check_vma=False,
        )(*arrays)

    def _constrain(self, x: jax.Array, spec: PartitionSpec) -> jax.Array:
        left = rules.without(spec, self._of_kind(AxisType.Manual))
        return jax.lax.with_sharding_constraint(x, NamedSharding(self._here(), left))

    def _of_kind(self, kind: AxisType) -> set[str]:
        """Mesh axes that the compiler manages here, or that the code does."""
        mesh = self._here()
        return {name for name, found in zip(mesh.axis_names, mesh.axis_types, strict=True) if found == kind}

    def _here(self) -> Any:
        """The mesh as the code being traced sees it: with manual axes inside a pipeline."""
        abstract = jax.sharding.get_abstract_mesh()
        return self.mesh if abstract.empty else abstract
