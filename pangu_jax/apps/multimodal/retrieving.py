"""Pictures of a folder that a text or a picture finds, by a run's two towers."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipelines.images.decoding import PictureError
from pangu_jax.apps.multimodal import picture_files, picture_index
from pangu_jax.apps.multimodal.embedding import Embedder
from pangu_jax.apps.multimodal.picture_index import IndexMaker, PictureIndex, PictureMatch
from pangu_jax.apps.multimodal.vector_index import Kind
from pangu_jax.errors import UserError
from pangu_jax.runs.opening import OpenedRun


class FoundPictures(NamedTuple):
    """What a query found.

    Attributes:
      query: the text, or the picture's file.
      is_picture: which of both.
      matches: the best first.
    """

    query: str
    is_picture: bool
    matches: list[PictureMatch]


class PictureFinder:
    """A folder's pictures, by a run.

    Args:
      run: of the family `multimodal`.
      pictures: the folder.
      place: where its index is kept; below the user's cache when None.
      kind: of the index.
      say: called with how many files have been looked at, while the index is made.

    Raises:
      UserError: there is no picture, or the index there is another's.
    """

    def __init__(
        self,
        run: OpenedRun,
        pictures: Path,
        place: Path | None = None,
        kind: Kind = "exact",
        say: Callable[[int], None] = lambda done: None,
    ):
        self._embedder = Embedder.of_run(run)
        maker = IndexMaker(_name(run), run.manifest["step"], self._embedder.width)
        self._say, self._done = say, 0
        self.place = place or picture_index.default_place(pictures, maker)
        self.index: PictureIndex = picture_index.open_index(self.place, pictures, maker, self._embed, kind)

    def __call__(self, texts: Sequence[str], images: Sequence[Path], top: int) -> list[FoundPictures]:
        """What each query finds, texts first.

        Args:
          texts: queries in words.
          images: files; what looks like them is found.
          top: pictures of each query, at most.

        Raises:
          UserError: an empty text, or a file that is no picture which can be used.
        """
        queries = [self._embedder.texts(texts)] if texts else []
        if images:
            queries.append(self._embedder.pictures(np.stack([self._view(path) for path in images])))
        found = self.index.search(np.concatenate(queries), top)
        names = [*((text, False) for text in texts), *((str(path), True) for path in images)]
        return [FoundPictures(*name, matches) for name, matches in zip(names, found, strict=True)]

    def _embed(self, paths: Sequence[Path]) -> np.ndarray:
        found = np.full((len(paths), self._embedder.width), np.nan, np.float32)
        seen = list(picture_files.views(self._embedder, paths))
        usable = [row for row, one in enumerate(seen) if one.view_SxSxC is not None]
        if usable:
            views = [one.view_SxSxC for one in seen if one.view_SxSxC is not None]
            found[usable] = self._embedder.pictures(np.stack(views))
        self._done += len(paths)
        self._say(self._done)
        return found

    def _view(self, path: Path) -> np.ndarray:
        try:
            return picture_files.view(self._embedder, path)
        except PictureError as error:
            raise UserError(f"--query_image {path}: {error}") from None


def _name(run: OpenedRun) -> str:
    """The same for a run wherever it lies: of its recipe and of what its checkpoint depends on."""
    told = json.dumps([run.manifest.get("recipe"), run.manifest.get("fingerprint")], sort_keys=True)
    return f"{run.directory.path.resolve().name} {hashlib.sha256(told.encode()).hexdigest()[:12]}"
