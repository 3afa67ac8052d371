"""Held-out loss: sums over finite sources, so that batch size and layout change nothing."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from pangu_jax.training import feed
from pangu_jax.training.step import means
from pangu_jax.workloads import Batch, Source, Sums


def validate(
    eval_step: Callable[[Any, Batch], Sums],
    params: Any,
    sources: Mapping[str, Source],
    mesh: Mesh,
    batch_size: int,
    on_batch: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """`validation_loss` over all sources together and `validation_NAME` for each metric of the workload that
    something was averaged for.

    Args:
      eval_step: the jitted sums of a batch.
      params: parameters on the mesh.
      sources: task -> finite source; empty gives an empty result.
      mesh: where batches go.
      batch_size: examples a batch, over all devices.
      on_batch: called after each batch, as a sign of life.
    """
    total: Sums | None = None
    for source in sources.values():
        batches = feed.batches(source, mesh, batch_size, 0)
        for _ in range(len(source)):
            sums = jax.device_get(eval_step(params, next(batches)))
            total = sums if total is None else jax.tree.map(lambda a, b: a + b, total, sums)
            on_batch()
    if total is None:
        return {}
    metrics = {"loss": (total.loss, total.weight), **total.metrics}
    return {f"validation_{name}": value for name, value in means(metrics).items()}
