"""From a source's host arrays to the mesh: each process reads its own rows and nobody else's."""

from collections.abc import Iterator

import jax
from jax.sharding import Mesh

from pangu_jax.parallel import rules
from pangu_jax.workloads import Batch, Source


def local_rows(mesh: Mesh, batch_size: int) -> slice:
    """The rows of the global batch whose devices belong to this process; one contiguous run."""
    indices = rules.batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
    bounds = [index[0].indices(batch_size) for index in indices.values()]
    return slice(min(start for start, _, _ in bounds), max(stop for _, stop, _ in bounds))


def place(batch: Batch, mesh: Mesh, batch_size: int) -> Batch:
    """This process's rows as global arrays [batch_size, ...], split over `data` and `fsdp`."""
    sharding = rules.batch_sharding(mesh)

    def put(x):
        return jax.make_array_from_process_local_data(sharding, x, (batch_size, *x.shape[1:]))

    return jax.tree.map(put, dict(batch))


def batches(source: Source, mesh: Mesh, batch_size: int, start_step: int) -> Iterator[Batch]:
    """Placed batches of the steps from `start_step` on."""
    for batch in source.iterator(start_step, local_rows(mesh, batch_size)):
        yield place(batch, mesh, batch_size)
