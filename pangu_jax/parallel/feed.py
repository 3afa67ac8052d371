"""From a source's host arrays to the mesh: each process reads its own rows and nobody else's."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from pangu_jax.parallel import rules

Batch = Mapping[str, Any]
BatchAxes = Mapping[str, rules.LogicalAxes]
NO_AXES: BatchAxes = {}


class ArraySource(Protocol):
    """Host arrays by step, such as `pangu_jax.workloads.Source`."""

    def iterator(self, start_step: int, rows: slice | None = None) -> Iterator[Batch]: ...


def local_rows(mesh: Mesh, batch_size: int) -> slice:
    """The rows of the global batch that devices of this process need, and those between them.

    On CPU they are one run. Where a mesh follows a torus, a process's devices may need two runs apart.
    """
    found = rules.batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
    bounds = [index[0].indices(batch_size) for index in found.values() if index is not None]
    return slice(min(start for start, _, _ in bounds), max(stop for _, stop, _ in bounds))


def place(batch: Batch, mesh: Mesh, batch_size: int, axes: BatchAxes = NO_AXES) -> Batch:
    """`local_rows` of a batch as global arrays [batch_size, ...].

    Args:
      batch: this process's rows of it.
      mesh: where they go.
      batch_size: examples of the batch, over all devices.
      axes: logical axes by array (`Workload.batch_axes`); an array without is split over examples alone.
    """
    first = local_rows(mesh, batch_size).start
    specs = rules.batch_specs(axes, batch)

    def put(name: str, x: np.ndarray) -> jax.Array:
        def part_of_a_device(index: Any) -> np.ndarray:
            start, stop, _ = index[0].indices(batch_size)
            return x[(slice(start - first, stop - first), *index[1:])]

        sharding = NamedSharding(mesh, specs[name])
        return jax.make_array_from_callback((batch_size, *x.shape[1:]), sharding, part_of_a_device)

    return {name: put(name, x) for name, x in batch.items()}


def batches(
    source: ArraySource, mesh: Mesh, batch_size: int, start_step: int, axes: BatchAxes = NO_AXES
) -> Iterator[Batch]:
    """Placed batches of the steps from `start_step` on."""
    for batch in source.iterator(start_step, local_rows(mesh, batch_size)):
        yield place(batch, mesh, batch_size, axes)
