"""Pictures that come inside Python packages: enough to begin with, where there is no network and no data.

`package:digits` are scikit-learn's handwritten digits, grey and 8 x 8; `package:photos` are photos of
scikit-learn and scikit-image, cut into tiles whose label is their photo; `package:all` are both. Files are
read where the packages keep them, which are not imported. Licences: BSD for the digits, CC-BY for
scikit-learn's photos, mostly CC0 for scikit-image's (its `data/README.txt`).
"""

import importlib.metadata
import importlib.util
import io
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.images.decoding import decode
from data_pipelines.images.picture import PictureFile

PREFIX = "package:"
TILE = 48  # pixels of a tile's side
MOST = 150  # tiles of a photo, so that a large one does not drown the others
DIGITS = "digits"
NAMES = (DIGITS, "photos", "all")
SKLEARN, SKIMAGE = ("scikit-learn", "sklearn"), ("scikit-image", "skimage")
# (package, path in it); one of a stereo pair, and no drawings, pages and masks.
PHOTOS = [(SKLEARN, f"datasets/images/{name}.jpg") for name in ("china", "flower")] + [
    (SKIMAGE, f"data/{name}")
    for name in (
        "astronaut.png",
        "brick.png",
        "camera.png",
        "cell.png",
        "chelsea.png",
        "coffee.png",
        "coins.png",
        "grass.png",
        "gravel.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "moon.png",
        "motorcycle_left.png",
        "retina.jpg",
        "rocket.jpg",
    )
]


def version(name: str) -> str:
    """What decides which pictures these are; DataError where a package is missing."""
    _require_known(name)
    packages = [SKLEARN] if name == DIGITS else [SKLEARN, SKIMAGE]
    return " ".join(f"{package[0]} {_folder(package) and _version(package)}" for package in packages)


def pictures(name: str) -> Iterator[PictureFile]:
    """The pictures of `package:NAME`, PNG.

    Raises:
      DataError: there is no such name, or a package is not installed.
    """
    _require_known(name)
    if name in (DIGITS, "all"):
        yield from _digits()
    if name in ("photos", "all"):
        for package, path in PHOTOS:
            yield from _tiles(_folder(package) / path)


def _digits() -> Iterator[PictureFile]:
    import gzip

    with gzip.open(_folder(SKLEARN) / "datasets/data/digits.csv.gz", "rt") as file:
        rows_Nx65 = np.loadtxt(file, delimiter=",", dtype=np.int64)
    for number, row in enumerate(rows_Nx65):
        pixels_8x8 = np.minimum(row[:64].reshape(8, 8) * 16, 255).astype(np.uint8)
        yield PictureFile(f"digits/{row[64]}/{number:04}.png", _png(pixels_8x8), f"digit {row[64]}")


def _tiles(path: Path) -> Iterator[PictureFile]:
    pixels_HxWxC = decode(path.read_bytes(), "RGB")
    rows, columns = (side // TILE for side in pixels_HxWxC.shape[:2])
    places = list(np.ndindex(rows, columns))
    for row, column in places[:: math.ceil(len(places) / MOST)]:
        tile = pixels_HxWxC[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
        yield PictureFile(f"photos/{path.stem}/{row}_{column}.png", _png(tile), path.stem)


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _folder(package: tuple[str, str]) -> Path:
    found = importlib.util.find_spec(package[1])
    if found is None or found.origin is None:
        raise DataError(
            f"images.path: its pictures are those of {package[0]}, which is not installed: "
            "pip install 'pangu-jax[pictures]'"
        )
    return Path(found.origin).parent


def _version(package: tuple[str, str]) -> str:
    return importlib.metadata.version(package[0])


def _require_known(name: str) -> None:
    if name not in NAMES:
        raise DataError(
            f"images.path: there is no {PREFIX}{name}: {', '.join(PREFIX + known for known in NAMES)}"
        )
