"""Fine-tuning on few labels, many times in memory: draws and arms of one shape share their programs."""

from dataclasses import dataclass
from typing import Any

import gin
import jax
import numpy as np
from jax.sharding import Mesh

from data_pipelines.images.images import Images
from pangu_jax.errors import UserError
from pangu_jax.evaluation.evaluators import Collector
from pangu_jax.training.in_memory import InMemoryRuns
from pangu_jax.training.layer_rates import layerwise_rates
from pangu_jax.training.optimizers import Optimizer, adamw
from pangu_jax.training.schedules import cosine_schedule
from pangu_jax.workloads import Batch, RunContext, Source, TrainStream, Updates, Variables
from pangu_jax.workloads.vision import PictureClassifier
from pangu_jax.workloads.vision.bases import PretrainedTrunk
from pangu_jax.workloads.vision.learning import AllWeights
from pangu_jax.workloads.vision.model.trunk import TrunkConfig
from pangu_jax.workloads.vision.pooled import Pooling


@gin.configurable("FewLabelFit", module="pangu_jax.apps.vision.measuring")
@dataclass(frozen=True)
class FewLabelFit:
    """How long all weights learn, and how fast; the same for every share of labels.

    Args:
      steps: updates.
      batch_size: pictures of one, over all devices.
      learning_rate: the peak; a tenth of the steps lead up to it, a cosine down from it.
      decay: of the rate from a layer to that below it; from scratch all learn at the full rate.
      weight_decay: decoupled.
      pooling: of what the head sees, "mean" over units or "none".
    """

    steps: int = 200
    batch_size: int = 64
    learning_rate: float = 1e-3
    decay: float = 0.75
    weight_decay: float = 0.05
    pooling: Pooling = "mean"

    def __post_init__(self):
        if min(self.steps, self.batch_size) < 1 or self.learning_rate <= 0:
            raise UserError("FewLabelFit: steps, batch_size and learning_rate must be above 0")

    def optimizer(self, decay: float) -> Optimizer:
        """AdamW with a decay of rates of its own."""
        schedule = cosine_schedule(
            steps=self.steps, learning_rate=self.learning_rate, warmup=max(1, self.steps // 10)
        )
        return layerwise_rates(adamw(schedule=schedule, weight_decay=self.weight_decay), decay)


class _Some:
    """Some pictures of a set, as `PictureClassifier` takes them."""

    views, plain = 1, False

    def __init__(self, images: Images, places: np.ndarray):
        self._images, self._places = images, places
        self.size, self.channels, self.classes = images.size, images.channels, images.classes

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        stream: Any = self._images.learnt_from(self._places, batch_size, seed, shift)
        return stream

    def validation_sources(self, batch_size: int) -> dict[str, Source]:
        del batch_size
        return {}

    def order(self) -> dict[str, str]:
        return {}

    def notices(self) -> list[str]:
        return []


class FineTuner:
    """Trains a classifier on some labelled pictures and asks it about others.

    Args:
      images: the set; labelled pictures are seen by its `augment`, others in plain view.
      config: the trunk's shape.
      run: dtype and kernel.
      mesh: where it runs.
      fit: for how long.
      decay: of rates by layer; that of `fit` when None.
    """

    def __init__(
        self,
        images: Images,
        config: TrunkConfig,
        run: RunContext,
        mesh: Mesh,
        fit: FewLabelFit = FewLabelFit(),
        decay: float | None = None,
    ):
        self._images, self._config, self._run, self._mesh, self._fit = images, config, run, mesh, fit
        self._decay = fit.decay if decay is None else decay
        self._runs: InMemoryRuns | None = None
        self._collect: Collector | None = None

    def __call__(
        self, base: PretrainedTrunk, labelled: np.ndarray, asked: np.ndarray, seed: int
    ) -> np.ndarray:
        """Probabilities of classes, [M, C], of pictures asked about.

        Args:
          base: where it starts: `TrunkInMemory`, or `FreshTrunk` for from scratch.
          labelled: places of the pictures that are learnt, int [N].
          asked: places of those it is asked about, int [M].
          seed: of order, views and what is fresh.
        """
        some = _Some(self._images, labelled)
        # Whatever a recipe binds for a classifier of its own.
        workload = PictureClassifier(base, some, AllWeights(), 1, 0.0, self._fit.pooling)
        if self._runs is None:
            self._runs = InMemoryRuns(
                workload,
                self._fit.optimizer(self._decay),
                self._run,
                self._mesh,
                steps=self._fit.steps,
                batch_size=self._fit.batch_size,
                evaluate_every=self._fit.steps,
                selection=None,
            )
            self._collect = Collector(workload, self._run, self._mesh, self._fit.batch_size)
            self._asker = workload
        done = self._runs(workload, seed)
        assert self._collect is not None
        source = self._images.once(asked, self._fit.batch_size)
        return self._collect(self._answers, done.variables, [source]).rows["answers"][: len(asked)]

    def _answers(self, variables: Variables, batch: Batch, run: RunContext) -> Updates:
        logits_BxC = self._asker.logits(variables, batch["image"][:, -1], run)
        return Updates(rows={"answers": jax.nn.softmax(logits_BxC)})
