"""Running a gradient as one program a device: parameters and batch go in in parts, gradients come out summed.

Inside, derivatives are taken of the sum over all devices of what each of them returns. Devices that differ
only along `model` return the same loss, so that sum is `model` times the loss; and a parameter's gradient is
complete once the devices that hold a copy of it have added up theirs.
"""

from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from pangu_jax.parallel import rules

ALIKE = "model"


def sharded(
    gradients: Callable[..., tuple[Any, Any]],
    mesh: Mesh,
    manual: Collection[str],
    param_specs: Any,
    *,
    with_gradients: bool = True,
) -> Callable[..., tuple[Any, Any]]:
    """gradients(params, batch) -> (grads, sums), of parts; made to take and give whole arrays.

    Args:
      gradients: the function a device runs; its grads have the shapes of its params.
      mesh: the mesh.
      manual: mesh axes that the function speaks of itself; the compiler manages the others.
      param_specs: a PartitionSpec for each parameter.
      with_gradients: or else the function returns None in place of gradients.
    """
    copies = mesh.shape[ALIKE] if ALIKE in manual else 1
    examples = rules.only(PartitionSpec(rules.BATCH), manual)

    def complete(gradient: jax.Array, spec: PartitionSpec) -> jax.Array:
        over = [axis for axis in manual if axis not in rules.axes_of(spec) and mesh.shape[axis] > 1]
        gradient = lax.psum(gradient.astype(jnp.float32), over) if over else gradient
        return gradient / copies if copies > 1 else gradient

    def device(params: Any, batch: Any) -> tuple[Any, Any]:
        grads, sums = gradients(params, batch)
        grads = jax.tree.map(complete, grads, param_specs) if with_gradients else None
        return grads, _total(sums, mesh, manual)

    specs = jax.tree.map(lambda spec: rules.only(spec, manual), param_specs)
    return jax.shard_map(
        device,
        mesh=mesh,
        in_specs=(specs, examples),
        out_specs=(specs if with_gradients else None, PartitionSpec()),
        axis_names=set(manual),
        check_vma=False,
    )


def _total(sums: Any, mesh: Mesh, manual: Collection[str]) -> Any:
    """Sums over all examples, from each device's."""
    over = [axis for axis in manual if axis != ALIKE and mesh.shape[axis] > 1]
    return jax.tree.map(lambda x: lax.psum(x, over), sums) if over else sums
