"""`inspect`: what a detector finds in a folder of photos, drawn, listed, and in an order worth looking at."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gin
import numpy as np

from data_pipelines.images import box_files, boxes, copies, decoding
from data_pipelines.images.box_index import flight
from data_pipelines.images.boxes import Boxes
from data_pipelines.images.decoding import PictureError
from data_pipelines.images.picture import PictureFile
from data_pipelines.images.sources import PictureSource
from pangu_jax.apps.vision.inspection import flight_pages, screening
from pangu_jax.apps.vision.inspection.finder import PhotoFinder, surest, uncertainty
from pangu_jax.apps.vision.inspection.flight_pages import InspectedPhoto
from pangu_jax.errors import UserError
from pangu_jax.recipes import plain_errors
from pangu_jax.runs import opening
from pangu_jax.runs.inference_layout import ANY, Devices
from pangu_jax.workloads.vision.average_precision import average_precision, require_pycocotools, told

ALONE = "all photos"  # the flight of photos that have none
KS = (10, 20, 50, 100, 200, 500, 1000)
SHARES = (0.5, 0.8, 0.95)  # of what is wanted


class Inspection(NamedTuple):
    """What was found.

    Attributes:
      photos: in the order of the source, without those that were refused.
      refused: name -> why.
      screening: precision at k and looks needed, where boxes are known and a class is wanted; else None.
      precision: class and overlap -> AP, where boxes are known.
      said: what a person must be told.
      page: the first page of the report.
    """

    photos: list[InspectedPhoto]
    refused: dict[str, str]
    screening: dict[str, Any] | None
    precision: dict[str, float]
    said: list[str]
    page: Path


@plain_errors()
@gin.configurable
def inspect(
    run_dir: str = gin.REQUIRED,
    photos: str = gin.REQUIRED,
    out: str = gin.REQUIRED,
    annotations: str | None = None,
    wanted: str | None = None,
    zooms: Sequence[float] = (1.0,),
    overlap: float = 0.2,
    drawn_from: float = 0.3,
    distance: float = 0.5,
    max_pixels: int = decoding.MAX_PIXELS,
    step: int | None = None,
    on_photo: Callable[[int, str], None] | None = None,
    devices: Devices = ANY,
) -> Inspection:
    """Inspect photos: boxes drawn on each, a list, an order for a person, and a page per flight.

    Args:
      run_dir: the detector's run.
      photos: a folder, archive or table; a flight is a group of a table, or a folder.
      out: folder for detections.json, photos with boxes drawn, flights/ and index.html.
      annotations: boxes that are known, as for `boxed_images`: what was found and the order are measured.
      wanted: the class that a person looks for: photos that are likely to show it come first, near copies
        last. When None those come first that the detector is least sure of, to be labelled next.
      zooms: each photo is looked at at each: 1 is the whole photo as large as fits the view, 2 twice as
        large and in tiles. Small things in large photos need more than 1.
      overlap: of tiles.
      drawn_from: score from which a box is drawn.
      distance: weight of how unlike those before it a photo is, beside how likely or unsure it is.
      max_pixels: larger photos are refused unread, and listed.
      step: the checkpoint; the best or the newest when None.
      on_photo: called with the number and the name of each photo that is done.
      devices: where the run is opened.

    Raises:
      UserError, DataError: the run finds nothing in photos, no photo can be read, or `out` cannot
        be written.
    """
    if not zooms or min(zooms) <= 0 or not 0 <= overlap < 1 or not 0 <= drawn_from <= 1:
        raise UserError(
            f"inspect: zooms {list(zooms)} must be above 0, overlap {overlap} from 0 to below 1, drawn_from "
            f"{drawn_from} from 0 to 1"
        )
    known = box_files.read(annotations) if annotations else None
    if known:
        require_pycocotools()
    run = opening.open_run(run_dir, step, devices, family="vision")
    find = PhotoFinder(run, zooms, overlap)
    if wanted is not None and wanted not in find.classes:
        raise UserError(f"inspect.wanted = {wanted!r}: the run finds {', '.join(find.classes)}")
    pages = flight_pages.FlightPages(Path(out), list(find.classes), drawn_from)
    done, refused, embeddings = _looked_at(
        photos, find, pages, max_pixels, on_photo or (lambda n, name: None)
    )
    if not done:
        why = Counter(refused.values()).most_common(1)[0][0] if refused else "there is none"
        raise UserError(f"{photos} has no photo that can be inspected: {why}")
    said = _said(photos, done, refused)
    number = find.classes.index(wanted) if wanted else 0
    screened = screening.screened(
        np.stack(embeddings),
        np.array([surest(photo.found, number) if wanted else photo.uncertainty for photo in done]),
        np.array([photo.hash for photo in done], np.uint64),
        distance=distance,
    )
    for rank, place in enumerate(screened.order_N.tolist(), start=1):
        of = int(screened.copy_of_N[place])
        done[place] = done[place]._replace(rank=rank, copy_of=done[of].name if of >= 0 else None)
    measured, precision = None, {}
    if known:
        truth = _truth(known, done, find.classes, said)
        if wanted:
            measured = _measured(screened.order_N, truth, done, find.classes, number)
        values = average_precision(truth, [photo.found for photo in done], find.classes, (0.3, 0.5))
        precision = told(values)
    page = pages.finish(done, refused, measured, precision, said, run_dir)
    return Inspection(done, refused, measured, precision, said, page)


def _looked_at(
    photos: str,
    find: PhotoFinder,
    pages: flight_pages.FlightPages,
    max_pixels: int,
    on_photo: Callable[[int, str], None],
) -> tuple[list[InspectedPhoto], dict[str, str], list]:
    """Photos one after the other: none but the one at hand is in memory."""
    done: list[InspectedPhoto] = []
    refused: dict[str, str] = {}
    embeddings: list[np.ndarray] = []
    for number, photo in enumerate(PictureSource(photos).pictures()):
        try:
            pixels = decoding.decode(photo.data, "RGB" if find.channels == 3 else "L", max_pixels=max_pixels)
        except PictureError as error:
            refused[photo.name] = str(error)
            continue
        findings = find(pixels)
        embeddings.append(findings.embedding_F)
        shown = pages.draw(number, photo.name, pixels, findings.found)
        height, width = pixels.shape[:2]
        done.append(
            InspectedPhoto(
                photo.name, _flight(photo), width, height, findings.found, uncertainty(findings.found),
                copies.difference_hash(pixels), shown,
            )
        )  # fmt: skip
        on_photo(len(done), photo.name)
    return done, refused, embeddings


def _flight(photo: PictureFile) -> str:
    return photo.group or flight(photo.name) or ALONE


def _said(photos: str, done: list[InspectedPhoto], refused: dict[str, str]) -> list[str]:
    said = []
    if all(photo.flight == ALONE for photo in done):
        said.append(f"{photos} has no flights (folders, or a column group): all photos are on one page")
    if refused:
        counts = Counter(why.partition(":")[0] for why in refused.values())
        said.append("photos refused: " + ", ".join(f"{count} {why}" for why, count in counts.items()))
    return said


def _truth(known, done: list[InspectedPhoto], classes: Sequence[str], said: list[str]) -> list[Boxes]:
    """Known boxes of each photo; what could not be used of them is told."""
    counts: Counter[str] = Counter()
    numbers = {name: number for number, name in enumerate(classes)}
    truth = []
    matched = box_files.matched(known, [photo.name for photo in done])
    for photo, raw in zip(done, matched, strict=True):
        own = boxes.usable(raw, photo.width, photo.height, numbers, counts) if raw else Boxes.none()
        truth.append(own)
    said.append(
        f"boxes known: {sum(counts.values())}: " + ", ".join(f"{n} {what}" for what, n in counts.items())
    )
    return truth


def _measured(
    order_N: np.ndarray, truth: list[Boxes], done: list[InspectedPhoto], classes: Sequence[str], wanted: int
) -> dict[str, Any]:
    """Screening's own order, and that of the class's scores alone, beside random order."""
    has_N = np.array([bool((own.label_N == wanted).any()) for own in truth])
    by_score = np.argsort([-surest(photo.found, wanted) for photo in done], kind="stable")
    rows = []
    for name, order in (("screening", order_N), ("score", by_score)):
        rows += [{"order": name, **row} for row in screening.precision_at(order, has_N, KS)]
        for share in SHARES:
            own, random = screening.looks_needed(order, has_N, share)
            rows.append({"order": name, "share": share, "looks": own, "random_looks": round(random, 1)})
    return {"wanted": classes[wanted], "photos": len(done), "with_it": int(has_N.sum()), "rows": rows}
