"""Running a gradient as one program per device: parts of parameters and batch go in, summed gradients out.

Inside, derivatives are taken of the sum over all devices of what each of them returns. Devices that differ
only along `model` return the same loss, so that sum is `model` times the loss; and a parameter's gradient is
complete once the devices that hold a copy of it have added up theirs.
"""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from pangu_jax.parallel import rules
from pangu_jax.parallel.collecting import with_rows, without_rows

ALIKE = "model"


class Specs(NamedTuple):
    """Where arrays are.

    Attributes:
      params: a PartitionSpec for each parameter.
      rest: likewise for what else a function reads, and does not differentiate.
      batch: likewise for the batch; a prefix of its tree is enough.
    """

    params: Any
    rest: Any
    batch: Any


def sharded(
    function: Callable[..., tuple[Any, Any]],
    mesh: Mesh,
    manual: Collection[str],
    specs: Specs,
    *,
    gradients: Any,
) -> Callable[..., tuple[Any, Any]]:
    """function(params, rest, batch) -> (grads, sums), of parts; made to take and give whole arrays.

    Args:
      function: what a device runs; its grads have the shapes of its params.
      mesh: the mesh.
      manual: mesh axes that the function speaks of itself; the compiler manages the others.
      specs: of its arguments.
      gradients: a PartitionSpec for each of its gradients; None where it returns None in their place.
    """
    copies = mesh.shape[ALIKE] if ALIKE in manual else 1
    examples = rules.only(PartitionSpec(rules.BATCH), manual)

    def complete(gradient: jax.Array, spec: PartitionSpec) -> jax.Array:
        over = [axis for axis in manual if axis not in rules.axes_of(spec) and mesh.shape[axis] > 1]
        gradient = lax.psum(gradient.astype(jnp.float32), over) if over else gradient
        return gradient / copies if copies > 1 else gradient

    def device(params: Any, rest: Any, batch: Any) -> tuple[Any, Any, Any]:
        grads, sums = function(params, rest, batch)
        grads = jax.tree.map(complete, grads, gradients)
        sums, rows = without_rows(sums)
        return grads, _total(sums, mesh, manual), rows

    def seen(specs: Any) -> Any:
        return jax.tree.map(lambda spec: rules.only(spec, manual), specs)

    whole = jax.shard_map(
        device,
        mesh=mesh,
        in_specs=tuple(map(seen, specs)),
        out_specs=(seen(gradients), PartitionSpec(), examples),
        axis_names=set(manual),
        check_vma=False,
    )

    def run(params: Any, rest: Any, batch: Any) -> tuple[Any, Any]:
        grads, sums, rows = whole(params, rest, batch)
        return grads, with_rows(sums, rows)

    return run


def _total(sums: Any, mesh: Mesh, manual: Collection[str]) -> Any:
    """Sums over all examples, from each device's."""
    over = [axis for axis in manual if axis != ALIKE and mesh.shape[axis] > 1]
    return jax.tree.map(lambda x: lax.psum(x, over), sums) if over else sums
