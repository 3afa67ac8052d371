"""The one table from logical axes to mesh axes, once for storage and once for compute.

The pair is FSDP (ZeRO-3, arXiv 1910.02054): a weight is stored in shards over `fsdp` and used whole.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pangu_jax.errors import UserError, suggestion
from pangu_jax.parallel.mesh import RINGS

MeshAxes = tuple[str, ...] | str | None

# logical axis -> (mesh axes it is stored over, mesh axes it is computed with). Whole in both are: what is
# short (norms, kv, buckets, channels of a picture or variables of a field, levels); what comes in numbers
# that nothing divides (classes: 10, 1000, 21841; a head over them is small and stored in shards along
# `embed`, and one as long as a vocabulary is `vocab`); the values of a patch, whose projection is narrow;
# and a weight per place (a bias per window, a table of latitudes and longitudes), which is cut where it
# meets an activation.
RULES: dict[str, tuple[MeshAxes, MeshAxes]] = {
    "layers": ("stage", "stage"),
    "blocks": (None, None),  # layers outside of a pipeline's towers: stacked, and on every stage
    "embed": (RINGS, None),
    "heads": ("model", "model"),
    "kv_heads": ("model", "model"),  # of keys and values, where fewer than of queries
    "pool": (None, None),  # the heads of one query over a picture: too little work to be split
    "kv": (None, None),
    "mlp": ("model", "model"),
    "vocab": ("model", "model"),
    "norm": (None, None),
    "buckets": (None, None),
    "channel": (None, None),
    "class": (None, None),
    "patch": (None, None),
    "window": (None, None),
    "level": (None, None),
    "latitude": (None, None),
    "longitude": (None, None),
    "expert": ("expert", "expert"),
}

# A picture or a field is long in its places, as a text is in its positions: what counts them is split over
# `sequence`. Of a field it is longitudes alone: windows share their weights along a circle of latitude, and
# the circle has no end, so that devices do the same work with the same weights. Of windows it is whole ones:
# attention inside them crosses no device. Positions inside a window have no axis (None). Examples are split
# over `expert` too: to all weights but those of experts it is one more axis of data.
BATCH = ("data", *RINGS, "expert")
ACTIVATION_RULES: dict[str, MeshAxes] = {
    "batch": BATCH,
    "length": "sequence",
    "embed": None,
    "heads": "model",
    "kv_heads": "model",
    "kv": None,
    "mlp": "model",
    "vocab": "model",
    "channel": None,
    "class": None,
    "patch": None,
    "window": "sequence",
    "level": None,
    "latitude": None,
    "longitude": "sequence",
    "expert": "expert",  # of what is a device's that has experts: tokens are split over the axis as examples
}

LogicalAxes = tuple[str | None, ...]


def storage_spec(axes: LogicalAxes, parameter: str = "") -> PartitionSpec:
    """Where a weight lives between steps; UserError, naming the parameter, for an axis without a rule."""
    return PartitionSpec(*(_rule(RULES, axis, parameter)[0] if axis else None for axis in axes))


def compute_spec(axes: LogicalAxes) -> PartitionSpec:
    """Where a weight is when it is multiplied; UserError for an axis without a rule."""
    return PartitionSpec(*(_rule(RULES, axis)[1] if axis else None for axis in axes))


def activation_spec(axes: LogicalAxes) -> PartitionSpec:
    """Where an activation is inside a block; UserError for an axis without a rule."""
    return PartitionSpec(*(_rule(ACTIVATION_RULES, axis) if axis else None for axis in axes))


def batch_spec(axes: LogicalAxes = ("batch",)) -> PartitionSpec:
    """Where an array of a batch is when a step begins: like an activation; what follows `axes` is whole.

    By default only examples are split. A field with axes ("batch", "level", "latitude", "longitude") is split
    in space too. UserError for an axis without a rule.
    """
    return activation_spec(axes)


def batch_specs(axes: Mapping[str, LogicalAxes], names: Iterable[str]) -> dict[str, PartitionSpec]:
    """`batch_spec` of each array of a batch by its axes; those without are split over examples alone."""
    return {name: batch_spec(axes.get(name, ("batch",))) for name in names}


def _rule(table: Mapping[str, Any], axis: str, parameter: str = "") -> Any:
    if axis not in table:
        where = f" of parameter {parameter}" if parameter else ""
        raise UserError(
            f"no logical axis '{axis}'{where}{suggestion(axis, table)}; take None for a dimension that is "
            "never split, or add the axis to pangu_jax/parallel/rules.py"
        )
    return table[axis]


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
    """A NamedSharding for each leaf of a tree of logical axes; UserError for an axis without a rule."""

    def sharding(path: tuple[Any, ...], leaf: LogicalAxes) -> NamedSharding:
        parameter = jax.tree_util.keystr(path, simple=True, separator="/")
        return NamedSharding(mesh, storage_spec(leaf, parameter))

    return jax.tree_util.tree_map_with_path(sharding, axes, is_leaf=is_axes)


def batch_sharding(mesh: Mesh, axes: LogicalAxes = ("batch",)) -> NamedSharding:
    """An array of a batch on a mesh, see `batch_spec`: by default examples over `data` and `fsdp`."""
    return NamedSharding(mesh, batch_spec(axes))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole value."""
    return NamedSharding(mesh, PartitionSpec())
