"""Placement by sharding constraints: the compiler sees where tensors must be and adds the collectives."""

from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pangu_jax.parallel import rules


class ConstraintPlacement:
    """Implements `pangu_jax.models.placement.Placement` for a mesh whose axes the compiler manages."""

    def __init__(self, mesh: Mesh):
        self._mesh = mesh

    def weights(self, params: Mapping[str, Any], axes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Weights from their FSDP shards to whole along `embed`, still split along `model`."""
        return jax.tree.map(lambda w, a: self._constrain(w, rules.compute_spec(a)), params, axes)

    def enter(self, x_BxTxD: jax.Array) -> jax.Array:
        """The residual stream, whole along its width."""
        return self.inside(x_BxTxD, ("batch", "length", "embed"))

    def inside(self, x: jax.Array, axes: tuple[str | None, ...]) -> jax.Array:
        """An activation split over the mesh axes of its logical axes."""
        return self._constrain(x, rules.activation_spec(axes))

    def leave(self, y_BxTxD: jax.Array) -> jax.Array:
        """Partial sums over `model`, added up."""
        return self.inside(y_BxTxD, ("batch", "length", "embed"))

    def _constrain(self, x: jax.Array, spec: PartitionSpec) -> jax.Array:
        return jax.lax.with_sharding_constraint(x, NamedSharding(self._mesh, spec))
