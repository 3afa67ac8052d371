"""Classifiers of CIFAR-10 trained in memory, with their CPU time: for `extraction` and `distillation`.

A step's CPU time is that of the process from one batch to the next, views and waiting included; a step that
compiled counts as the median step of its program, and what it took beyond that is told apart.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
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
from pangu_jax.training.optimizers import Optimizer, adamw
from pangu_jax.training.schedules import cosine_schedule
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.vision.classifier import PictureClassifier
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from tpu_npu_backends import compilation_cache
from tpu_npu_backends import selection as backends

BATCH, ASKED = 64, 4000  # pictures of a step; held-out pictures that are asked about


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
    """

    def __init__(self, pictures: Path):
        compilation_cache.use()
        backend = backends.select("cpu")
        self.run = RunContext(OneDevice(backend.native), dtype=np.dtype("float32"))
        self.mesh = make_mesh(Layout(data=1), [backend.devices[0]])
        self.images: Images = images(
            str(pictures), augment=(RandomCrop(32, 4), Flip()), validation_pictures=ASKED
        )
        self._measurers: dict[int, Measurer] = {}

    def train(
        self,
        workload: PictureClassifier,
        steps: int,
        seed: int,
        rate: float = 2e-3,
        warmup: int | None = None,
    ) -> TrainedArm:
        """One run: AdamW, a cosine down from `rate`."""
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
        clock = _Clock(workload)
        began = time.process_time()
        done = runs(clock.workload, seed)
        jax.block_until_ready(done.variables)
        spent = time.process_time() - began
        seconds = clock.seconds(workload, spent)
        return TrainedArm(workload.complete(done.variables), done.variables, seconds, spent - seconds)

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
    """AdamW by a cosine; a twentieth of the steps lead up to its peak unless said."""
    led = max(1, steps // 20) if warmup is None else warmup
    return adamw(cosine_schedule(steps=steps, learning_rate=rate, warmup=led), weight_decay=0.05)


class _Clock:
    """Reads the process's CPU time where a step asks for its batch."""

    def __init__(self, workload: PictureClassifier):
        self._read: list[float] = []
        self.workload: Any = _Timed(workload, self._read)

    def seconds(self, workload: PictureClassifier, spent: float) -> float:
        """Of all steps, as if none had compiled."""
        each = np.diff(self._read)
        by_phase = defaultdict(list)
        for step, took in enumerate(each):
            by_phase[workload.phase(step)].append(took)
        steps = len(self._read)
        total = 0.0
        for phase, took in by_phase.items():
            middle = float(np.median(took))
            count = sum(workload.phase(step) == phase for step in range(steps))
            fast = [one for one in took if one < 4 * middle]
            total += count * float(np.mean(fast))
        return min(total, spent)


class _Timed:
    """A workload whose batches are timed."""

    def __init__(self, workload: PictureClassifier, read: list[float]):
        self._workload, self._read = workload, read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._workload, name)

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> Any:
        source: Any = self._workload.train_source(batch_size, seed, shift)
        return _TimedSource(source, self._read)


class _TimedSource:
    def __init__(self, source: Any, read: list[float]):
        self._source, self._read = source, read

    def iterator(self, start_step: int) -> Iterator[Any]:
        for batch in self._source.iterator(start_step):
            self._read.append(time.process_time())
            yield batch
