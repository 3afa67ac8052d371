"""Indexes kept on disk: one directory for each fingerprint of the passages and of what indexed them.

The passages themselves are fingerprinted, not their files: reading is cheap beside indexing, and a file's
bytes would not show what an SQLite database still has in its journal.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from data_pipelines.cache import default_root
from pangu_jax.errors import UserError

# What numpy, json and faiss say of a torn file.
UNREADABLE = (OSError, EOFError, ValueError, KeyError, RuntimeError)
FORMAT = "2"  # part of every fingerprint: raise it when an index is built otherwise


class Index(Protocol):
    """What can be searched and kept."""

    def search(self, question: str, count: int) -> list[tuple[int, float]]:
        """(passage's number, score), best first."""
        ...

    def save(self, directory: Path) -> None:
        """Writes it into a directory that exists."""
        ...


Kind = TypeVar("Kind", bound=Index)


def fingerprint(parts: Iterable[str]) -> str:
    """sha256, hex, of a sequence of strings: their number and borders count."""
    digest = hashlib.sha256(FORMAT.encode())
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()


def default_cache() -> Path:
    """Where indexes are kept unless the caller says: below the user's cache directory."""
    return default_root() / "knowledge"


def kept(
    cache: Path, name: str, load: Callable[[Path], Kind], build: Callable[[], Kind]
) -> tuple[Kind, bool]:
    """The index of that name and whether it was there; a damaged one is built again.

    It appears under its name only when it is whole, by a rename.

    Raises:
      UserError: the cache cannot be written.
    """
    place = cache / name
    if place.is_dir():
        try:
            return load(place), True
        except UNREADABLE:
            shutil.rmtree(place, ignore_errors=True)
    index = build()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".building-") as building:
            whole = Path(building) / name
            whole.mkdir()
            index.save(whole)
            if not place.exists():  # another process may have been faster
                whole.rename(place)
    except OSError as error:
        raise UserError(f"cannot keep the index in {cache}: {error.strerror}; name another place") from error
    return index, False
