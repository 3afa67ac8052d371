"""`evaluate_images`: what a finished run's features are worth, and how well it restores pictures."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import gin
import jax
from jax.sharding import Mesh

from data_pipelines.images import draws as drawing
from data_pipelines.images.images import Images
from pangu_jax.apps.vision.measuring import few_labels, neighbour_sheet, results
from pangu_jax.apps.vision.measuring.few_labels import MODEL, Answered, Arm
from pangu_jax.apps.vision.measuring.fine_tuning import FewLabelFit, FineTuner
from pangu_jax.apps.vision.measuring.results import FewLabelResults
from pangu_jax.apps.vision.measuring.seen import Viewer, raw
from pangu_jax.apps.vision.restoration_quality import measure_restoration
from pangu_jax.errors import UserError
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.recipes import plain_errors
from pangu_jax.runs import opening
from pangu_jax.runs.inference_layout import ANY, Devices
from pangu_jax.runs.opening import OpenedRun
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.exhibits import Image
from pangu_jax.workloads.vision import pooled
from pangu_jax.workloads.vision.bases import FreshTrunk, TrunkInMemory
from pangu_jax.workloads.vision.evaluators import require_trunk
from pangu_jax.workloads.vision.pooled import Pooling

RAW, RANDOM, SCRATCH = "raw pixels 8 x 8", "random weights", "from scratch"


@gin.configurable(module="pangu_jax.apps.vision.measuring")
@dataclass(frozen=True)
class RestoredSet:
    """A set of pictures to restore.

    Args:
      path: a folder, archive or table of pictures, whole and undegraded.
      task: "denoise", "x2", "x3", "x4" or "deblock".
      sigma: of noise, of 255; None where the run knows only one.
    """

    path: str
    task: str
    sigma: float | None = None


class EvaluatedImages(NamedTuple):
    """What was found.

    Attributes:
      step: of the checkpoint.
      pictures: where they are from and how many of either side, in words.
      few_labels: of probe, neighbours and fine-tuning; None where nothing was asked of labels.
      restored: rows of `measure_restoration`.
      sheets: pictures beside their nearest neighbours.
    """

    step: int
    pictures: str
    few_labels: FewLabelResults | None
    restored: list[dict[str, Any]]
    sheets: list[Image]


@plain_errors()
@gin.configurable
def evaluate_images(
    run_dir: str = gin.REQUIRED,
    data: Images | None = None,
    shares: Sequence[float] = (0.01, 0.1, 1.0),
    draws: int = 5,
    neighbours: int = 20,
    stages: int = pooled.STAGES,
    pooling: Pooling = "mean",
    fine_tuned: Sequence[float] = (),
    fit: FewLabelFit | None = None,
    restore: Sequence[RestoredSet] = (),
    shown: int = neighbour_sheet.SHOWN,
    step: int | None = None,
    on_row: Callable[[dict[str, Any]], None] | None = None,
    devices: Devices = ANY,
) -> EvaluatedImages:
    """Measure a run of vision: by few labels, the same for every model, beside what must be beaten.

    Features of all pictures are made once, of the model and of one with random weights of the same shape.

    Args:
      run_dir: the model's run.
      data: labelled pictures: those to train on may be labelled, those held out are asked about. None to
        restore pictures alone, as a run without a trunk does anyhow.
      shares: of each class's labels.
      draws: of each share below all.
      neighbours: that vote.
      stages: of the trunk, the last ones, whose features are taken.
      pooling: of features, "mean" over units or "none" for all of them side by side.
      fine_tuned: shares of labels that all weights are tuned on, and trained on from scratch.
      fit: how; @FewLabelFit() when None.
      restore: sets to restore, [@RestoredSet()].
      shown: pictures that are shown beside their nearest neighbours; 0 for none.
      step: the checkpoint; the best or the newest when None.
      on_row: called with every row.
      devices: where the run is opened.

    Raises:
      UserError, DataError: the run is of another family, its pictures have no labels or are of one class, or
        a task is not its own.
    """
    if draws < 1 or not all(0 < share <= 1 for share in (*shares, *fine_tuned)):
        raise UserError("evaluate_images: draws must be at least 1, shares of labels above 0 and at most 1")
    told = on_row or (lambda row: None)
    run = opening.open_run(run_dir, step, devices, family="vision", float32=True)
    found, sheets, words = None, [], ""
    has_trunk = getattr(run.workload, "model", None) is not None
    if data is not None and (has_trunk or not restore):
        require_trunk(run.workload, "evaluate_images")
        measuring = _Measuring(run, data, stages, pooling)
        answers = few_labels.by_features(measuring.arms, len(data.classes), shares, draws, neighbours, told)
        if fine_tuned:
            answers += measuring.fine_tuned(fine_tuned, draws, fit or FewLabelFit(), told)
        found, words = results.measured(answers), measuring.words
        if shown:
            sheets = [neighbour_sheet.sheet(data, arm, name, shown) for name, arm in measuring.arms.items()]
    restored = []
    for one in restore:
        for row in measure_restoration(run, one.path, one.task, one.sigma):
            restored.append(row)
            told(row)
    return EvaluatedImages(run.manifest["step"], words, found, restored, sheets)


class _Measuring:
    """A run and pictures, as several arms see them."""

    def __init__(self, run: OpenedRun, data: Images, stages: int, pooling: Pooling):
        workload: Any = run.workload
        model, spread = workload.model, run.spread
        if (data.size, data.channels) != (model.size, model.channels):
            raise UserError(
                f"images gives pictures of {data.size} pixels and {data.channels} channels, and the run has "
                f"size {model.size} and channels {model.channels}: leave images.size and images.mode out"
            )
        label_N = data.pictures.label_N
        drawing.require_classes(label_N)
        known, asked = (
            places[label_N[places] >= 0] for places in (data.pictures.places(False), data.measured)
        )
        if not len(known) or not len(asked):
            side = "to train on" if not len(known) else "held out"
            raise UserError(f"{data.settings.path}: no picture that is {side} has a label")
        self.words = (
            f"{data.settings.path}: {len(known)} pictures that may be labelled, {len(asked)} held out, "
            f"{len(data.classes)} classes"
        )
        self._data, self._model = data, model
        self._mesh: Mesh = spread.mesh or make_mesh(Layout(data=1), [spread.backend.devices[0]])
        self._run = RunContext(spread.run.placement, dtype=spread.run.dtype, kernel=spread.run.kernel)
        self._params = workload.complete(workload.evaluated(run.variables))
        viewer = Viewer(model, self._run, self._mesh, stages, pooling)
        views = {
            MODEL: partial(viewer, self._params, data),
            RAW: partial(raw, data),
            RANDOM: partial(viewer, model.init(jax.random.key(0)), data),
        }
        self.arms = {name: Arm.of(view(known), view(asked)) for name, view in views.items()}

    def fine_tuned(
        self,
        shares: Sequence[float],
        draws: int,
        fit: FewLabelFit,
        on_row: Callable[[dict[str, Any]], None],
    ) -> list[Answered]:
        """All weights tuned, and trained from scratch. Draws of all labels differ in their seed alone."""
        known, asked = self.arms[MODEL]
        tune = FineTuner(self._data, self._model, self._run, self._mesh, fit)
        train = FineTuner(self._data, self._model, self._run, self._mesh, fit, decay=1.0)
        own, found = TrunkInMemory(self._model, self._params), []
        for share, draw in itertools.product(shares, range(draws)):
            places = few_labels.labelled(known, share, draw)
            for name, tuner, base in ((MODEL, tune, own), (SCRATCH, train, FreshTrunk(self._model, draw))):
                probability_MxC = tuner(base, places, asked.place_N, seed=draw)
                how = "fine-tuned", share, name, draw, len(places)
                found.append(few_labels.answered(*how, probability_MxC, asked.label_N))
                on_row(found[-1].row)
        return found
