"""Features of a locked tower of pictures: computed once for all pictures, and kept on disk.

They are in fp32, whatever a step computes in.
"""

import logging
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from data_pipelines.pairs import stored_features
from data_pipelines.pairs.pairs import ImageTextPairs
from data_pipelines.pairs.stored_features import StoredFeatures
from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads.multimodal.model.image_text import ImageTextConfig
from pangu_jax.workloads.multimodal.towers import LearntTower

BATCH = 64  # pictures that go through the tower together, for each device of a process
log = logging.getLogger(__name__)


def stored(config: ImageTextConfig, tower: LearntTower, pairs: ImageTextPairs) -> StoredFeatures:
    """The features of pairs' pictures by a tower, from disk; computed first where they are not there.

    Each process looks for itself; of those that share a disk one computes them.
    """
    key = {
        "tower": tower.identity,
        "pictures": pairs.prepared.root.name,
        "size": pairs.size,
        "mode": pairs.mode,
        "steps": repr(pairs.validation_augment),
    }

    def make() -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        return _made(config, tower, pairs)

    return stored_features.open_or_make(pairs.cache_root, key, len(pairs.pictures), config.kept_shapes, make)


def _made(
    config: ImageTextConfig, tower: LearntTower, pairs: ImageTextPairs
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    began, count = time.monotonic(), len(pairs.pictures)
    log.info("features of %d pictures by the tower of %s, which is locked: once", count, tower.named)
    mesh = Mesh(np.array(jax.local_devices()), ("pictures",))
    whole, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("pictures"))
    params = tower.restore(
        jax.tree.map(lambda _: whole, jax.eval_shape(config.image.init, jax.random.key(0)))
    )
    forward = config.forward(OneDevice(), "none", np.float32)
    compute: Any = jax.jit(forward.kept, in_shardings=(whole, split), out_shardings=split)
    source = pairs.every_picture(BATCH * len(mesh.devices))
    for batch in source.iterator(0):
        there_B = batch["place"] >= 0
        found = jax.device_get(compute(params, batch["image"][:, 0]))
        yield batch["place"][there_B].astype(np.int64), {name: rows[there_B] for name, rows in found.items()}
    log.info("features of %d pictures took %.0f seconds", count, time.monotonic() - began)
