"""Pictures by what people call them: `images/cats/1.jpg`, `cats/1`, `1.jpg` and `1` may all be one."""

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from data_pipelines.images.decoding import SUFFIXES


class PictureNames:
    """Finds pictures by a name: with or without its suffix, with all of its folders, fewer, or more.

    Args:
      names: of all pictures, as a source has them.
    """

    def __init__(self, names: Iterable[str] = ()):
        self._whole: dict[str, list[str]] = {}
        self._ends: dict[str, list[str]] = {}
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        """One picture more."""
        for number, end in enumerate(_ends(name)):
            for called in _with_and_without_suffix(end):
                self._ends.setdefault(called, []).append(name)
                if number == 0:
                    self._whole.setdefault(called, []).append(name)

    def of(self, called: str) -> list[str]:
        """Names of the pictures that are called so; several where it is not plain which one is meant.

        `cats/1.jpg` is `images/cats/1.jpg`, and `1.jpg` where there are no folders, but never `dogs/1.jpg`.
        """
        for number, end in enumerate(_ends(called)):
            found = self._whole.get(end) or (self._ends.get(end) if number == 0 else None)
            if found:
                return [name for name in found if name == called] or found
        return []


def _ends(name: str) -> Iterator[str]:
    """A path with all its folders, and with fewer and fewer."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    for first in range(len(parts)):
        yield "/".join(parts[first:])


def _with_and_without_suffix(name: str) -> Iterator[str]:
    yield name
    if name.lower().endswith(SUFFIXES):
        yield name.rpartition(".")[0]
