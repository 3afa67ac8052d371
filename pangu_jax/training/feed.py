"""From a source's host arrays to the mesh: each process reads its own rows and nobody else's."""

from collections.abc import Iterator

import jax
from jax.sharding import Mesh

from pangu_jax.parallel import rules
from pangu_jax.workloads import Batch, Source


def local_rows(mesh: Mesh, batch_size: int) -> slice:
    """The rows of the global batch that devices of this process need, and those between them.

    On CPU they are one run. Where a mesh follows a torus, a process's devices may need two runs apart.
    """
    indices = rules.batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
    bounds = [index[0].indices(batch_size) for index in indices.values()]
    return slice(min(start for start, _, _ in bounds), max(stop for _, stop, _ in bounds))


def place(batch: Batch, mesh: Mesh, batch_size: int) -> Batch:
    """`local_rows` of a batch as global arrays [batch_size, ...], split over `data` and `fsdp`."""
    sharding = rules.batch_sharding(mesh)
    first = local_rows(mesh, batch_size).start

    def put(x):
        def rows_of_a_device(index):
            start, stop, _ = index[0].indices(batch_size)
            return x[start - first : stop - first]

        return jax.make_array_from_callback((batch_size, *x.shape[1:]), sharding, rows_of_a_device)

    return jax.tree.map(put, dict(batch))


def batches(source: Source, mesh: Mesh, batch_size: int, start_step: int) -> Iterator[Batch]:
    """Placed batches of the steps from `start_step` on."""
    for batch in source.iterator(start_step, local_rows(mesh, batch_size)):
        yield place(batch, mesh, batch_size)
