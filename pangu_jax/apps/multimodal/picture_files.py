"""Picture files as a run's tower takes them."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipelines.images import decoding
from data_pipelines.images.decoding import PictureError
from data_pipelines.images.picture import LARGEST
from pangu_jax.apps.multimodal.embedding import Embedder


class PictureView(NamedTuple):
    """A file, and what the tower takes of it.

    Attributes:
      path: of the file.
      view_SxSxC: uint8; None where it is of no use.
      refused: why it is not.
    """

    path: Path
    view_SxSxC: np.ndarray | None
    refused: str = ""


def views(embedder: Embedder, paths: Iterable[Path]) -> Iterator[PictureView]:
    """Each file's view, in their order."""
    for path in paths:
        try:
            yield PictureView(path, view(embedder, path))
        except PictureError as error:
            yield PictureView(path, None, str(error))


def view(embedder: Embedder, path: Path) -> np.ndarray:
    """uint8 [S, S, C] of one file; PictureError where it is of no use."""
    try:
        if path.stat().st_size > LARGEST:
            raise PictureError("too large a file", f"{path.stat().st_size} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise PictureError("cannot be read", error.strerror or "") from None
    mode = "RGB" if embedder.workload.data.channels == 3 else "L"
    return embedder.view(decoding.decode(data, mode, embedder.workload.data.size))
