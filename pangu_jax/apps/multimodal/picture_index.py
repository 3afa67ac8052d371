"""An index of a folder's pictures, kept on disk: made once, brought up to date when the folder changes.

    INDEX/manifest.json     of which run and step, how wide, and each picture's name, size and time
    INDEX/CONTENTS/         vectors.npy and index.faiss, named by the manifest

New contents are written beside the old ones and named by a new manifest at the end, so that whoever reads
sees the one or the other. Who is interrupted keeps what was embedded.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.cache import default_root
from data_pipelines.images.decoding import SUFFIXES
from data_pipelines.images.picture import LARGEST
from pangu_jax.apps.multimodal import vector_index
from pangu_jax.apps.multimodal.vector_index import VectorIndex
from pangu_jax.errors import UserError
from pangu_jax.runs.run_directory import write_atomically

FORMAT = 1
MANIFEST = "manifest.json"
# Vectors [pictures, E] of files, fp32; a row of nan for each that is no picture which can be used.
Embed = Callable[[Sequence[Path]], np.ndarray]


class IndexMaker(NamedTuple):
    """Whose vectors they are."""

    run: str  # what tells a run from others
    step: int  # of the checkpoint
    width: int  # of an embedding

    def __str__(self) -> str:
        return f"run {self.run}, step {self.step}, width {self.width}"


class PictureMatch(NamedTuple):
    """A picture that was found."""

    name: str  # its path below the folder
    cosine: float


class PictureIndex:
    """Pictures by their names, and the index of their vectors.

    Attributes:
      names: of what is in the index, in order; vectors have the same numbers.
      unusable: names of files that are no picture which can be used.
      embedded: how many files were looked at to bring it up to date; 0 when nothing had changed.
      removed: how many names went.
    """

    def __init__(
        self, names: list[str], unusable: list[str], vectors: VectorIndex, embedded: int, removed: int
    ):
        self.names, self.unusable, self.vectors = names, unusable, vectors
        self.embedded, self.removed = embedded, removed

    def search(self, query_QxE: np.ndarray, count: int) -> list[list[PictureMatch]]:
        """Of each query the nearest pictures, the best first.

        Args:
          query_QxE: fp32, of texts or of pictures, by the run whose index it is.
          count: at most so many.
        """
        found = self.vectors.search(query_QxE, count)
        return [
            [PictureMatch(self.names[i], float(c)) for i, c in zip(numbers, cosines, strict=True) if i >= 0]
            for numbers, cosines in zip(found.number_QxK.tolist(), found.cosine_QxK, strict=True)
        ]


def default_place(pictures: Path, maker: IndexMaker) -> Path:
    """Where the index of a folder by a run's step is kept unless the caller says: below the user's cache."""
    key = json.dumps([str(pictures.resolve()), *maker])
    return default_root() / "pictures" / hashlib.sha256(key.encode()).hexdigest()[:16]


def open_index(
    place: Path,
    pictures: Path,
    maker: IndexMaker,
    embed: Embed,
    kind: vector_index.Kind = "exact",
    batch: int = 64,
) -> PictureIndex:
    """The index of the pictures below a folder; made or brought up to date first.

    A file whose size and time of change are those of the manifest is not looked at again.

    Args:
      place: folder of the index; made where it is not there.
      pictures: the folder; what is hidden or leads out of it is passed over.
      maker: of the vectors.
      embed: see `Embed`; given at most `batch` files at once.
      kind: exact or approximate; changing it embeds nothing.
      batch: files that are embedded at once.

    Raises:
      UserError: there is no picture, the index is of another run, step or width, is damaged or cannot be
        written, or `embed` gives another width.
    """
    vector_index.require_faiss()  # before an hour of embedding
    there = dict(_listed(pictures))
    if not there:
        raise UserError(f"{pictures}: there is no picture in it (of {', '.join(SUFFIXES[:6])}, ...)")
    manifest, old = _read(place, maker)
    known: dict[str, list[int]] = manifest.get("pictures", {})  # name -> size, time, row; row -1 is unusable
    kept = {
        name: known[name]
        for name, stamp in there.items()
        if name in known and tuple(known[name][:2]) == stamp
    }
    removed = sum(name not in there for name in known)
    if old is not None and len(kept) == len(there) == len(known) and old.kind == kind:
        return _opened(known, old, 0, 0)
    rows = {name: old.vectors_NxE[row] for name, (_, _, row) in kept.items() if old is not None and row >= 0}
    looked_at = dict.fromkeys(kept)
    new = [name for name in there if name not in kept]
    try:
        for start in range(0, len(new), batch):
            names = new[start : start + batch]
            vectors_BxE = np.asarray(embed([pictures / name for name in names]), np.float32)
            if vectors_BxE.shape != (len(names), maker.width):
                raise UserError(
                    f"the embeddings are {vectors_BxE.shape} for {len(names)} pictures, and the index is of "
                    f"width {maker.width}"
                )
            usable = np.isfinite(vectors_BxE).all(axis=1) & (vectors_BxE != 0).any(axis=1)
            rows |= {name: row for name, row, good in zip(names, vectors_BxE, usable, strict=True) if good}
            looked_at |= dict.fromkeys(names)
    finally:  # an interrupt too: what was embedded is not embedded again
        names = [name for name in there if name in rows]
        vectors = VectorIndex.build(
            np.stack([rows[n] for n in names]) if names else np.zeros((0, maker.width)), kind
        )
        number = {name: row for row, name in enumerate(names)}
        current = {name: [*there[name], number.get(name, -1)] for name in there if name in looked_at}
        if names:
            _write(place, maker, current, vectors)
    if not names:
        raise UserError(f"{pictures}: none of its {len(there)} files is a picture that can be used")
    return _opened(current, vectors, len(new), removed)


def _opened(known: dict[str, list[int]], vectors: VectorIndex, embedded: int, removed: int) -> PictureIndex:
    by_row = sorted((row, name) for name, (_, _, row) in known.items())
    names, unusable = ([name for row, name in by_row if (row >= 0) == usable] for usable in (True, False))
    return PictureIndex(names, unusable, vectors, embedded, removed)


def _listed(pictures: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Names and (bytes, nanoseconds of the last change) of the pictures below a folder, by name."""
    if not pictures.is_dir():
        raise UserError(f"{pictures}: there is no such folder of pictures")
    inside = pictures.resolve()
    for path in sorted(pictures.rglob("*")):
        name = path.relative_to(pictures)
        if path.suffix.lower() not in SUFFIXES or any(part.startswith(".") for part in name.parts):
            continue
        if path.is_file() and path.resolve().is_relative_to(inside) and path.stat().st_size <= LARGEST:
            about = path.stat()
            yield name.as_posix(), (about.st_size, about.st_mtime_ns)


def _read(place: Path, maker: IndexMaker) -> tuple[dict[str, Any], VectorIndex | None]:
    """Manifest and index; {} and None where there is none."""
    path = place / MANIFEST
    if not path.is_file():
        if place.is_dir() and any(place.iterdir()):
            raise UserError(f"{place} holds other things than an index of pictures: name another folder")
        return {}, None
    damaged = UserError(f"the index in {place} is damaged: remove that folder, and it is made anew")
    try:
        manifest = json.loads(path.read_text("utf-8"))
        if manifest["format"] != FORMAT:
            raise UserError(
                f"the index in {place} is of format {manifest['format']!r}, and this version reads {FORMAT}: "
                "remove that folder, and it is made anew"
            )
        its = IndexMaker(*(manifest[name] for name in IndexMaker._fields))
        contents = str(manifest["contents"])
        rows = sorted(row for _, _, row in manifest["pictures"].values() if row >= 0)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise damaged from None
    if its != maker:
        raise UserError(
            f"the index in {place} was made by {its}, and this is {maker}: name another folder, or remove "
            "that one"
        )
    try:
        if Path(contents).name != contents:
            raise ValueError(contents)
        vectors = VectorIndex.load(place / contents, manifest["kind"], float(manifest["error"]))
        if rows != list(range(len(vectors.vectors_NxE))) or vectors.vectors_NxE.shape[1] != maker.width:
            raise ValueError("rows")
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError):
        raise damaged from None
    return manifest, vectors


def _write(place: Path, maker: IndexMaker, pictures: dict[str, list[int]], vectors: VectorIndex) -> None:
    contents = f"contents-{secrets.token_hex(6)}"
    why = "the disk is full or cannot be written"
    try:
        (place / contents).mkdir(parents=True)
        vectors.save(place / contents)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(place / contents, ignore_errors=True)
        if isinstance(error, OSError) and error.errno:
            why = os.strerror(error.errno)
        raise UserError(f"cannot keep the index in {place}: {why}; name another folder") from None
    manifest = {"format": FORMAT, **maker._asdict(), "kind": vectors.kind, "error": vectors.error}
    manifest |= {"contents": contents, "pictures": pictures}
    write_atomically(place / MANIFEST, json.dumps(manifest) + "\n")
    for other in place.glob("contents-*"):
        if other.name != contents:
            shutil.rmtree(other, ignore_errors=True)
