"""Average precision of found boxes as COCO has it, by pycocotools (extra `boxes`)."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gin
import numpy as np

from data_pipelines.images import box_views, boxes
from data_pipelines.images.boxed_images import BoxedImages
from data_pipelines.images.boxes import Boxes
from pangu_jax.errors import UserError
from pangu_jax.workloads import NOTHING, Batch, RunContext, Source, Tree, Updates, Variables, Workload
from pangu_jax.workloads.evaluator import Evaluator, MeasuredValue
from pangu_jax.workloads.vision.detector import PictureDetector

OVERLAP = 0.5  # of two boxes of one class, above which the less likely one is taken for the same thing


class Found(NamedTuple):
    """Things found in one photo.

    Attributes:
      edges_Nx4: fp32, pixels of the photo.
      score_N: from 0 to 1.
      label_N: int32.
    """

    edges_Nx4: np.ndarray
    score_N: np.ndarray
    label_N: np.ndarray


def require_pycocotools() -> None:
    """UserError where it is not installed."""
    try:
        import pycocotools.cocoeval  # noqa: F401
    except ImportError:
        raise UserError(
            "average precision is measured by pycocotools, which is not installed: pip install pangu-jax[boxes]"
        ) from None


def average_precision(
    truth: Sequence[Boxes], found: Sequence[Found], classes: Sequence[str], thresholds: Sequence[float]
) -> dict[tuple[str, float], float]:
    """(class, overlap) -> AP in percent: the mean of precision at 101 recalls, 100 boxes a photo; nan where a
    class has no box.

    Args:
      truth: of each photo what is there.
      found: of each photo what was found.
      classes: names.
      thresholds: least overlap (IoU) of what is right.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    categories = [{"id": number + 1, "name": name} for number, name in enumerate(classes)]
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, (there, own) in enumerate(zip(truth, found, strict=True), start=1):
        for edges, label in zip(there.edges_Nx4, there.label_N, strict=True):
            box = _as_coco(edges)
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": int(label) + 1, "bbox": box}
                | {"area": box[2] * box[3], "iscrowd": 0}
            )
        for edges, score, label in zip(*own, strict=True):
            results.append(
                {"image_id": image, "category_id": int(label) + 1, "bbox": _as_coco(edges)}
                | {"score": float(score)}
            )
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {
            "info": {},
            "images": [{"id": number + 1} for number in range(len(truth))],
            "annotations": annotations,
            "categories": categories,
        }
        known.createIndex()
        if not results:
            none = {name for name in classes}
            counted = np.bincount(np.concatenate([t.label_N for t in truth]), minlength=len(classes))
            return {
                (name, at): 0.0 if counted[number] else float("nan")
                for number, name in enumerate(classes)
                for at in thresholds
                if name in none
            }
        evaluation = COCOeval(known, known.loadRes(results), "bbox")
        evaluation.params.iouThrs = np.array(thresholds)
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision_TxRxCxAxM = evaluation.eval["precision"]
    values = {}
    for number, name in enumerate(classes):
        for at, threshold in enumerate(thresholds):
            own = precision_TxRxCxAxM[at, :, number, 0, -1]
            values[name, threshold] = 100 * float(own.mean()) if (own > -1).all() else float("nan")
    return values


def _as_coco(edges_4: np.ndarray) -> list[float]:
    left, top, right, bottom = map(float, edges_4)
    return [left, top, right - left, bottom - top]


def joined(
    place_N: np.ndarray,
    edges_NxKx4: np.ndarray,
    score_NxK: np.ndarray,
    label_NxK: np.ndarray,
    scale_Nx2: np.ndarray,
    shift_Nx2: np.ndarray,
    least: float = 0.01,
) -> dict[int, Found]:
    """What was found in each photo, of what was found in its views: tiles of one are laid together, and of
    boxes that are of one thing the likeliest is kept.

    Args:
      place_N: the photo of each view.
      edges_NxKx4: in pixels of the view.
      score_NxK: of each box.
      label_NxK: of each box.
      scale_Nx2, shift_Nx2: where the view is in the photo (`box_views.View`).
      least: score, below which a box is dropped.
    """
    found: dict[int, Found] = {}
    for place in np.unique(place_N):
        own = np.flatnonzero(place_N == place)
        edges = np.concatenate(
            [box_views.in_picture(edges_NxKx4[view], scale_Nx2[view], shift_Nx2[view]) for view in own]
        )
        score, label = score_NxK[own].ravel(), label_NxK[own].ravel()
        likely = score >= least
        edges, score, label = edges[likely], score[likely], label[likely]
        left = boxes.suppressed(edges, score, label, OVERLAP)
        found[int(place)] = Found(edges[left].astype(np.float32), score[left], label[left])
    return found


@gin.configurable(module="pangu_jax.workloads.vision")
class AveragePrecision(Evaluator):
    """AP of each class on the photos that are held out: `ap50/CLASS`, `ap30/CLASS`, and their means.

    Args:
      thresholds: least overlaps of what counts as right.
      every: steps between evaluations; 0 as the run validates.
    """

    def __init__(self, thresholds: Sequence[float] = (0.3, 0.5), every: int = 0):
        if not thresholds or not all(0 < at <= 1 for at in thresholds):
            raise UserError(f"AveragePrecision.thresholds = {list(thresholds)}: above 0 and at most 1")
        self.thresholds, self.every = tuple(thresholds), every
        self._workload: Any = None

    def attach(self, workload: Workload) -> None:
        """UserError where the workload finds no boxes, or pycocotools is not there."""
        if not isinstance(workload, PictureDetector):
            raise UserError(f"AveragePrecision is for detectors, and this run trains {workload.name!r}")
        require_pycocotools()
        self._workload = workload

    def sources(self, batch_size: int) -> Sequence[Source]:
        """What the run holds out."""
        return list(self._workload.validation_sources(batch_size).values())

    def measure(self, variables: Variables, batch: Batch, begun: Tree, run: RunContext) -> Updates:
        """A row per view: its boxes, and where it is."""
        del begun
        found = self._workload.detections(variables.params, batch["image"], run)
        rows = {name: batch[name] for name in ("place", "scale", "shift", "weight")}
        return Updates(NOTHING, rows | found._asdict())

    def finish(self, measured: Updates, begun: Tree) -> Mapping[str, MeasuredValue]:
        """Percent."""
        del begun
        rows = measured.rows
        real = rows["weight"] > 0
        names = ("place", "edges_BxKx4", "score_BxK", "label_BxK", "scale", "shift")
        found = joined(*(rows[name][real] for name in names))
        data: BoxedImages = self._workload.data
        truth = [data.boxes.of(place) for place in found]
        values = average_precision(truth, list(found.values()), self._workload.classes, self.thresholds)
        shown: dict[str, MeasuredValue] = {}
        for at in self.thresholds:
            own = {name: value for (name, of), value in values.items() if of == at and not np.isnan(value)}
            kind = f"ap{round(100 * at)}"
            shown |= {f"{kind}/{name}": MeasuredValue(value, "percent") for name, value in own.items()}
            if len(own) > 1:
                shown[f"{kind}/mean"] = MeasuredValue(float(np.mean(list(own.values()))), "percent")
        return shown
