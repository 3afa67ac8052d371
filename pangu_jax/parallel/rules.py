"""The one table from logical axes to mesh axes, once for storage and once for compute.

The pair is FSDP (ZeRO-3, arXiv 1910.02054): a weight is stored in shards over `fsdp` and used whole.
"""

from collections.abc import Callable, Collection
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pangu_jax.parallel.mesh import RINGS

MeshAxes = tuple[str, ...] | str | None

# logical axis -> (mesh axes it is stored over, mesh axes it is computed with)
RULES: dict[str, tuple[MeshAxes, MeshAxes]] = {
    "layers": ("stage", "stage"),
    "embed": (RINGS, None),
    "heads": ("model", "model"),
    "kv": (None, None),
    "mlp": ("model", "model"),
    "vocab": ("model", "model"),
    "norm": (None, None),
    "buckets": (None, None),
}

BATCH = ("data", *RINGS)
ACTIVATION_RULES: dict[str, MeshAxes] = {
    "batch": BATCH,
    "length": "sequence",
    "embed": None,
    "heads": "model",
    "kv": None,
    "mlp": "model",
    "vocab": "model",
}

LogicalAxes = tuple[str | None, ...]


def storage_spec(axes: LogicalAxes) -> PartitionSpec:
    """Where a weight lives between steps."""
    return PartitionSpec(*(RULES[axis][0] if axis else None for axis in axes))


def compute_spec(axes: LogicalAxes) -> PartitionSpec:
    """Where a weight is when it is multiplied."""
    return PartitionSpec(*(RULES[axis][1] if axis else None for axis in axes))


def activation_spec(axes: LogicalAxes) -> PartitionSpec:
    """Where an activation is inside a block."""
    return PartitionSpec(*(ACTIVATION_RULES[axis] if axis else None for axis in axes))


def without(spec: PartitionSpec, axes: Collection[str]) -> PartitionSpec:
    """The spec as it is for the mesh axes that are left."""
    return _mapped(spec, lambda axis: axis not in axes)


def only(spec: PartitionSpec, axes: Collection[str]) -> PartitionSpec:
    """The spec as far as these mesh axes go."""
    return _mapped(spec, lambda axis: axis in axes)


def axes_of(spec: PartitionSpec) -> set[str]:
    """The mesh axes that a spec names."""
    return {axis for part in spec for axis in ((part,) if isinstance(part, str) else part or ())}


def _mapped(spec: PartitionSpec, keep: Callable[[str], bool]) -> PartitionSpec:
    parts = [tuple(filter(keep, (part,) if isinstance(part, str) else part or ())) for part in spec]
    return PartitionSpec(*(part or None for part in parts))


def is_axes(leaf: Any) -> bool:
    """Whether a node of a tree of logical axes is a leaf."""
    return isinstance(leaf, tuple) and not hasattr(leaf, "_fields")  # a NamedTuple of such trees is none


def storage_shardings(mesh: Mesh, axes: Any) -> Any:
    """A NamedSharding for each leaf of a tree of logical axes."""
    return jax.tree.map(lambda a: NamedSharding(mesh, storage_spec(a)), axes, is_leaf=is_axes)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Examples are split over `data` and `fsdp`; everything else of a batch is whole."""
    return NamedSharding(mesh, PartitionSpec(BATCH))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole value."""
    return NamedSharding(mesh, PartitionSpec())
