"""What `pangu inspect` leaves in a folder: photos with boxes drawn, a list of things, a page per flight."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from data_pipelines.images.joining import FoundBoxes
from data_pipelines.templates import rendered
from pangu_jax.errors import UserError
from pangu_jax.runs.run_directory import write_atomically
from pangu_jax.workloads.vision.showing_boxes import COLOURS, drawn

LISTED = "detections.json"
SHOWN = 960  # pixels of a drawn photo's longer side, at most


class InspectedPhoto(NamedTuple):
    """A photo that was looked at.

    Attributes:
      name: as the source has it.
      flight: its group.
      width, height: pixels.
      found: things, likeliest first.
      uncertainty: of the detector, 0 to 1.
      hash: `copies.difference_hash`.
      drawn: the file with boxes drawn, relative to the folder.
      rank: 1 for the one to be looked at first.
      copy_of: the photo that it is a near copy of.
    """

    name: str
    flight: str
    width: int
    height: int
    found: FoundBoxes
    uncertainty: float
    hash: int
    drawn: str
    rank: int = 0
    copy_of: str | None = None


class FlightPages:
    """The folder, filled photo by photo.

    Args:
      folder: made when missing.
      classes: names.
      drawn_from: score from which a box is drawn and counted.

    Raises:
      UserError: it cannot be written, or holds an inspection.
    """

    def __init__(self, folder: Path, classes: Sequence[str], drawn_from: float):
        self._folder, self._classes, self._from = folder, list(classes), drawn_from
        if (folder / LISTED).exists():
            raise UserError(f"--out {folder} holds an inspection already: give another folder, or remove it")
        try:
            for name in ("drawn", "flights"):
                (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {folder}: {error.strerror}; give a folder that can be written") from None

    def draw(self, number: int, name: str, pixels_HxWxC: np.ndarray, found: FoundBoxes) -> str:
        """Writes a photo with its boxes; gives the file's name, relative to the folder."""
        sure = found.score_N >= self._from
        scale = min(1.0, SHOWN / max(pixels_HxWxC.shape[:2]))
        grey = pixels_HxWxC.shape[-1] == 1
        image = Image.fromarray(pixels_HxWxC[..., 0] if grey else pixels_HxWxC).convert("RGB")
        wide, high = (max(1, round(side * scale)) for side in image.size)
        pixels = np.asarray(image.resize((wide, high), Image.Resampling.BILINEAR) if scale < 1 else image)
        shown = drawn(pixels, found.edges_Nx4[sure] * scale, found.label_N[sure])
        path = f"drawn/{number:06d}_{_safe(name)}.jpg"
        try:
            Image.fromarray(shown).save(self._folder / path, "JPEG", quality=85)
        except OSError as error:
            raise UserError(f"cannot write {self._folder / path}: {error.strerror or error}") from None
        return path

    def finish(
        self,
        photos: Sequence[InspectedPhoto],
        refused: dict[str, str],
        screening: dict[str, Any] | None,
        precision: dict[str, float],
        said: Sequence[str],
        run_dir: str,
    ) -> Path:
        """Writes detections.json, the pages, and index.html, which it gives."""
        listed = {
            "run_dir": run_dir,
            "classes": self._classes,
            "drawn_from": self._from,
            "photos": [self._row(photo) for photo in photos],
            "refused": refused,
            "screening": screening,
            "average_precision": precision,
            "said": list(said),
        }
        text = json.dumps(listed, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
        write_atomically(self._folder / LISTED, text)
        flights = {name: f"flights/{number:04d}_{_safe(name)}.html" for number, name in
                   enumerate(dict.fromkeys(photo.flight for photo in photos))}  # fmt: skip
        colours = [f"rgb{COLOURS[number % len(COLOURS)]}" for number in range(len(self._classes))]
        given = {
            "classes": list(zip(self._classes, colours, strict=True)),
            "drawn_from": self._from,
            "run_dir": run_dir,
        }
        rows = []
        for name, path in flights.items():
            own = sorted((photo for photo in photos if photo.flight == name), key=lambda photo: photo.rank)
            counts = Counter(
                number for photo in own for number in photo.found.label_N[self._sure(photo)].tolist()
            )
            rows.append((name, path, len(own), [counts[number] for number in range(len(self._classes))]))
            shown = [
                (photo, [self._classes[n] + f" {s:.2f}" for n, s in self._things(photo)]) for photo in own
            ]
            write_atomically(self._folder / path, _rendered("flight", flight=name, photos=shown, **given))
        first = sorted(photos, key=lambda photo: photo.rank)[:24]
        index = self._folder / "index.html"
        write_atomically(
            index,
            _rendered(
                "index", flights=rows, first=first, photos=len(photos), refused=refused, said=said,
                screening=screening, precision=precision, **given,
            ),
        )  # fmt: skip
        return index

    def _sure(self, photo: InspectedPhoto) -> np.ndarray:
        return photo.found.score_N >= self._from

    def _things(self, photo: InspectedPhoto) -> list[tuple[int, float]]:
        sure = self._sure(photo)
        return list(zip(photo.found.label_N[sure].tolist(), photo.found.score_N[sure].tolist(), strict=True))

    def _row(self, photo: InspectedPhoto) -> dict[str, Any]:
        things = [
            {
                "class": self._classes[int(label)],
                "score": round(float(score), 4),
                "box": [round(float(edge), 1) for edge in edges],
            }
            for edges, score, label in zip(*photo.found, strict=True)
        ]
        kept = ("name", "flight", "width", "height", "rank", "copy_of", "drawn")
        return {name: getattr(photo, name) for name in kept} | {
            "uncertainty": round(photo.uncertainty, 4),
            "things": things,
        }


def _safe(name: str) -> str:
    """A file's name that means nothing to a file system or a browser."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._")[-60:] or "photo"


def _rendered(kind: str, **given: Any) -> str:
    return rendered("pangu_jax.apps.vision.inspection", f"{kind}.html.jinja", **given)
