"""What is measured of a trunk while it learns: what its features tell of classes that it is not shown.

    train.evaluators = [@KNearestNeighbours(), @LinearProbe()]

The labels are those of the run's own pictures. Beside each figure stand what raw pixels of 8 x 8 and a trunk
of random weights come to by the same pictures, and the commonest class.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gin
import jax
import numpy as np

from data_pipelines.images import draws
from pangu_jax.errors import UserError
from pangu_jax.workloads import NOTHING, Batch, RunContext, Source, Tree, Updates, Variables, Workload
from pangu_jax.workloads.evaluator import Collect, Evaluator, MeasuredValue
from pangu_jax.workloads.vision import pooled, probing
from pangu_jax.workloads.vision.probing import Standard


class LabelledRows(NamedTuple):
    """Rows of pictures whose labels are known: features, raw pixels, int labels."""

    features_NxF: np.ndarray
    raw_NxP: np.ndarray
    label_N: np.ndarray

    @classmethod
    def of(cls, rows: Mapping[str, np.ndarray]) -> "LabelledRows":
        """Of what `FeatureEvaluator.seen` collected, without what fills up a batch."""
        known = (rows["weight"] > 0) & (rows["label"] >= 0)
        return cls(*(rows[name][known] for name in ("features", "raw", "label")))


class FeatureEvaluator(Evaluator):
    """Accuracy of what is read off features.

    Args:
      labelled: at most so many labelled pictures are learnt from, of every class its share.
      stages: of the trunk, the last ones, whose features are looked at.
      controls: whether raw pixels and random weights are measured, once; a trunk of random weights is made
        for each batch then, beside the one that learns.
      every: steps between evaluations; 0 as the run validates.
    """

    kind: str

    def __init__(
        self, labelled: int = 2000, stages: int = pooled.STAGES, controls: bool = True, every: int = 0
    ):
        if labelled < 2 or stages < 1:
            raise UserError(
                f"{type(self).__name__}.labelled = {labelled} must be at least 2, stages = {stages} at "
                "least 1"
            )
        self.labelled, self.stages, self.controls, self.every = labelled, stages, controls, every
        self._workload: Any = None
        self._beside: dict[str, float] = {}

    @abstractmethod
    def answers(
        self, features_NxF: np.ndarray, label_N: np.ndarray, classes: int, asked_MxF: np.ndarray
    ) -> np.ndarray:
        """Classes of the pictures asked about, int [M], by standardised features of labelled ones."""

    def attach(self, workload: Workload) -> None:
        """The model whose features and pictures are taken. UserError or DataError where it has none."""
        require_trunk(workload, type(self).__name__)
        self._workload = workload
        draws.require_classes(self._pictures.label_N)

    def sources(self, batch_size: int) -> Sequence[Source]:
        """The pictures that the run holds out and evaluates."""
        data = self._workload.data
        return [data.once(data.measured, batch_size)]

    def begin(self, batch_size: int, collect: Collect) -> Tree:
        """Rows of labelled pictures of the training side."""
        pictures, data = self._pictures, self._workload.data
        places = pictures.places(False)
        share = min(1.0, self.labelled / max(1, (pictures.label_N[places] >= 0).sum()))
        sources = [data.once(draws.drawn(pictures.label_N, places, share, 0), batch_size)]
        if self.controls and not self._beside:
            known, asked = (
                LabelledRows.of(collect(self.seen_at_random, some).rows)
                for some in (sources, self.sources(batch_size))
            )
            commonest = np.bincount(known.label_N).argmax()
            self._beside = {
                "chance": 100 * float(np.mean(asked.label_N == commonest)),
                "raw_pixels": self._accuracy(known.raw_NxP, known, asked.raw_NxP, asked),
                "random_weights": self._accuracy(known.features_NxF, known, asked.features_NxF, asked),
            }
        return collect(self.seen, sources).rows

    def seen(self, variables: Variables, batch: Batch, run: RunContext) -> Updates:
        """A row per picture."""
        return self._rows(self._workload.complete(variables), batch, run)

    def seen_at_random(self, variables: Variables, batch: Batch, run: RunContext) -> Updates:
        """The same of a trunk that has learnt nothing."""
        del variables
        return self._rows(self._workload.model.init(jax.random.key(0)), batch, run)

    def measure(self, variables: Variables, batch: Batch, begun: Tree, run: RunContext) -> Updates:
        """Rows of what is held out."""
        del begun
        return self.seen(variables, batch, run)

    def finish(self, measured: Updates, begun: Tree) -> Mapping[str, MeasuredValue]:
        """Percent right, and of the controls."""
        known, asked = LabelledRows.of(begun), LabelledRows.of(measured.rows)
        own = self._accuracy(known.features_NxF, known, asked.features_NxF, asked)
        found = {"accuracy": own} | self._beside
        return {f"{self.kind}/{name}": MeasuredValue(value, "percent") for name, value in found.items()}

    def _rows(self, params: Tree, batch: Batch, run: RunContext) -> Updates:
        pixels_BxSxSxC = batch["image"][:, -1]
        features = self._workload.features(params, pixels_BxSxSxC, run)
        rows = {"features": pooled.pooled(features, self.stages), "raw": pooled.raw_pixels(pixels_BxSxSxC)}
        return Updates(NOTHING, rows | {name: batch[name] for name in ("label", "weight")})

    def _accuracy(
        self, known_NxF: np.ndarray, known: LabelledRows, asked_MxF: np.ndarray, asked: LabelledRows
    ) -> float:
        if not len(asked.label_N):
            raise UserError(f"{type(self).__name__}: no picture that is held out has a label")
        standard = Standard.of(known_NxF)
        classes = len(self._pictures.classes)
        answers_M = self.answers(standard(known_NxF), known.label_N, classes, standard(asked_MxF))
        return 100 * float(np.mean(answers_M == asked.label_N))

    @property
    def _pictures(self) -> Any:
        return self._workload.data.pictures


@gin.configurable(module="pangu_jax.workloads.vision")
class KNearestNeighbours(FeatureEvaluator):
    """Accuracy of a vote of the nearest labelled pictures, louder the nearer: `knn/accuracy`.

    Args:
      neighbours: how many vote.
      temperature: of a vote, exp(cosine / temperature).
      labelled, stages, controls, every: as for `FeatureEvaluator`.
    """

    kind = "knn"

    def __init__(
        self,
        neighbours: int = 20,
        temperature: float = 0.07,
        labelled: int = 2000,
        stages: int = pooled.STAGES,
        controls: bool = True,
        every: int = 0,
    ):
        super().__init__(labelled, stages, controls, every)
        if neighbours < 1 or temperature <= 0:
            raise UserError(
                f"KNearestNeighbours.neighbours = {neighbours} must be at least 1, temperature = "
                f"{temperature} above 0"
            )
        self.neighbours, self.temperature = neighbours, temperature

    def answers(
        self, features_NxF: np.ndarray, label_N: np.ndarray, classes: int, asked_MxF: np.ndarray
    ) -> np.ndarray:
        """See `FeatureEvaluator`."""
        how = self.neighbours, self.temperature
        return probing.neighbour_votes(features_NxF, label_N, classes, asked_MxF, *how).argmax(1)


@gin.configurable(module="pangu_jax.workloads.vision")
class LinearProbe(FeatureEvaluator):
    """Accuracy of least squares, the strength chosen by the labelled pictures alone: `probe/accuracy`."""

    kind = "probe"

    def answers(
        self, features_NxF: np.ndarray, label_N: np.ndarray, classes: int, asked_MxF: np.ndarray
    ) -> np.ndarray:
        """See `FeatureEvaluator`."""
        return probing.fit_probe(features_NxF, label_N, classes).scores(asked_MxF).argmax(1)


def require_trunk(workload: Workload, wanted_by: str) -> None:
    """UserError unless a workload is a model of vision with a trunk."""
    if not hasattr(workload, "complete"):
        raise UserError(f"{wanted_by} is for models of vision, and this run trains {workload.name!r}")
    if getattr(workload, "model", None) is None:
        raise UserError(f"{wanted_by} looks at features of a trunk, and VisionModel.model is None")
