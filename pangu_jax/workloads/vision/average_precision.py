"""Average precision of found boxes as COCO has it, by pycocotools (extra `boxes`)."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gin
import numpy as np

from data_pipelines.images import joining
from data_pipelines.images.boxes import Boxes
from data_pipelines.images.joining import FoundBoxes, FoundInViews
from pangu_jax.errors import UserError
from pangu_jax.workloads import NOTHING, Batch, RunContext, Source, Tree, Updates, Variables, Workload
from pangu_jax.workloads.evaluator import Evaluator, MeasuredValue
from pangu_jax.workloads.vision.detector import PictureDetector

if TYPE_CHECKING:  # half of what importing this package would cost
    from data_pipelines.images.boxed_images import BoxedImages


def require_pycocotools() -> None:
    """UserError where it is not installed."""
    try:
        import pycocotools.cocoeval  # noqa: F401
    except ImportError:
        raise UserError(
            "average precision needs pycocotools, which is not installed: pip install pangu-jax[boxes]"
        ) from None


def average_precision(
    truth: Sequence[Boxes], found: Sequence[FoundBoxes], classes: Sequence[str], thresholds: Sequence[float]
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
            there = set(np.concatenate([own.label_N for own in truth]).tolist())
            return {
                (name, at): 0.0 if number in there else float("nan")
                for number, name in enumerate(classes)
                for at in thresholds
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


def told(values: Mapping[tuple[str, float], float]) -> dict[str, float]:
    """AP by its name, `ap50/CLASS`; without classes that nothing is of."""
    return {f"ap{round(100 * at)}/{name}": of for (name, at), of in values.items() if not np.isnan(of)}


def _as_coco(edges_4: np.ndarray) -> list[float]:
    left, top, right, bottom = map(float, edges_4)
    return [left, top, right - left, bottom - top]


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
        levels = self._workload.levels(variables.params, batch["image"], run)
        found = self._workload.found_in(variables.params, levels)
        rows = {name: batch[name] for name in ("place", "scale", "shift", "weight")}
        return Updates(NOTHING, rows | found._asdict())

    def finish(self, measured: Updates, begun: Tree) -> Mapping[str, MeasuredValue]:
        """Percent."""
        del begun
        rows = measured.rows
        real = rows["weight"] > 0
        names = ("place", "scale", "shift", "edges_BxKx4", "score_BxK", "label_BxK")
        data: BoxedImages = self._workload.data
        photos = {place: data.pictures.sides(place) for place in np.unique(rows["place"][real]).tolist()}
        in_views = FoundInViews(*(rows[name][real] for name in names))
        found = joining.joined(in_views, (data.height, data.width), photos)
        truth = [data.boxes.of(place) for place in found]
        values = average_precision(truth, list(found.values()), self._workload.classes, self.thresholds)
        shown: dict[str, MeasuredValue] = {}
        for at in self.thresholds:
            own = told({key: value for key, value in values.items() if key[1] == at})
            shown |= {name: MeasuredValue(value, "percent") for name, value in own.items()}
            if len(own) > 1:
                mean = float(np.mean(list(own.values())))
                shown[f"ap{round(100 * at)}/mean"] = MeasuredValue(mean, "percent")
        return shown
