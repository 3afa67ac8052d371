"""Classifiers of CIFAR-10 trained in memory, with their CPU time: for `extraction` and `distillation`.

CPU time is that of the process from the first batch to the last step, views and read-ahead included; a step
that compiled counts as the mean of the others, and what it took beyond that is told apart.
"""

import copy
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from data_pipelines.images.augment import Flip, RandomCrop
from data_pipelines.images.images import Images, images
from pangu_jax.apps.vision.extraction.measuring import Measurer
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training.in_memory import InMemoryRuns
from pangu_jax.training.optimizers import Optimizer, muon
from pangu_jax.training.schedules import cosine_schedule
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.vision.classifier import PictureClassifier
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from tpu_npu_backends import compilation_cache
from tpu_npu_backends import selection as backends

BATCH = 64  # pictures of a step


class TrainedArm(NamedTuple):
    """What a training leaves.

    Attributes:
      params: {"trunk", "main", "head"}.
      variables: all of it.
      seconds: of CPU time, without compiling.
      compiling: of CPU time.
    """

    params: Any
    variables: Any
    seconds: float
    compiling: float


def config(width: int, depths: tuple[int, int, int]) -> HierarchicalConfig:
    """A HiViT for 32 pixels with heads of 16."""
    return HierarchicalConfig(
        size=32, unit=8, d_model=width, depths=depths, heads=width // 16, stem_ratio=2.0, unroll=4
    )


class Arms:
    """Trains and asks, on one CPU.

    Args:
      pictures: CIFAR-10.
      asked: held-out pictures that are asked about.
    """

    def __init__(self, pictures: Path, asked: int):
        compilation_cache.use()
        backend = backends.select("cpu")
        self.run = RunContext(OneDevice(backend.native), dtype=np.dtype("float32"))
        self.mesh = make_mesh(Layout(data=1), [backend.devices[0]])
        self.images: Images = images(
            str(pictures), augment=(RandomCrop(32, 4), Flip()), validation_pictures=asked
        )
        self._measurers: dict[int, Measurer] = {}

    def train(
        self,
        workload: PictureClassifier,
        steps: int,
        seed: int,
        rate: float,
        warmup: int | None = None,
    ) -> TrainedArm:
        """One run: Muon, a cosine down from `rate`."""
        runs = InMemoryRuns(
            workload,
            optimizer(steps, rate, warmup),
            self.run,
            self.mesh,
            steps=steps,
            batch_size=BATCH,
            evaluate_every=steps,
            selection=None,
        )
        clock: list[tuple[float, int]] = []
        programs = runs.jitted._cache_size
        done = runs(_timed(workload, lambda: clock.append((time.process_time(), programs()))), seed)
        jax.block_until_ready(done.variables)
        clock.append((time.process_time(), programs()))
        seconds, compiling = split(clock)
        return TrainedArm(workload.complete(done.variables), done.variables, seconds, compiling)

    def accuracy(self, workload: PictureClassifier, shape: HierarchicalConfig, params: Any) -> float:
        """Percent right of the held-out pictures."""
        first, second = self.measurer(workload).accuracy(shape, params)
        return round((first + second) / 2, 3)

    def measurer(self, workload: PictureClassifier) -> Measurer:
        """Of this number of stages."""
        if workload.stages not in self._measurers:
            self._measurers[workload.stages] = Measurer(workload, self.images, self.run, 250)
        return self._measurers[workload.stages]


def optimizer(steps: int, rate: float, warmup: int | None = None) -> Optimizer:
    """Muon by a cosine; a twentieth of the steps lead up to its peak unless said."""
    led = max(1, steps // 20) if warmup is None else warmup
    return muon(cosine_schedule(steps=steps, learning_rate=rate, warmup=led), weight_decay=0.05)


def split(clock: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """CPU seconds of all steps as if none had compiled, and what compiling took.

    Args:
      clock: CPU time and programs compiled so far, where each step asked for its batch and at the end.
    """
    took = [after - before for (before, _), (after, _) in itertools.pairwise(clock)]
    compiled = [after > before for (_, before), (_, after) in itertools.pairwise(clock)]
    others = [seconds for seconds, slow in zip(took, compiled, strict=True) if not slow]
    total = sum(others) * len(took) / max(1, len(others))
    return total, sum(took) - total


def _timed(workload: PictureClassifier, on_batch: Callable[[], None]) -> Any:
    """The workload, telling when a step asks for its batch."""
    timed = copy.copy(workload)

    def train_source(batch_size: int, seed: int, shift: int = 0) -> Any:
        return _TimedSource(workload.train_source(batch_size, seed, shift), on_batch)

    timed.train_source = train_source
    return timed


class _TimedSource:
    def __init__(self, source: Any, on_batch: Callable[[], None]):
        self._source, self._on_batch = source, on_batch

    def iterator(self, start_step: int) -> Iterator[Any]:
        for batch in self._source.iterator(start_step):
            self._on_batch()
            yield batch
