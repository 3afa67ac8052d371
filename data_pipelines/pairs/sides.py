"""Which pictures are learnt from and which are held out: by splits of the source, a file, or a share.

Exact copies are one picture, with the captions of all: where one of them is held out, none is learnt from.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.images import splitting
from data_pipelines.pairs.names import PictureNames
from data_pipelines.pairs.preparing import PairIndex

TEST = ("test", "testing")


class Sides(NamedTuple):
    """The sides of pictures.

    Attributes:
      train_N: bool.
      held_out_N: bool; what is in neither is not used.
      said: what a person must be told, a line each.
    """

    train_N: np.ndarray
    held_out_N: np.ndarray
    said: Sequence[str] = ()

    @property
    def identity(self) -> str:
        """A hash of them."""
        packed = np.packbits(self.train_N).tobytes() + np.packbits(self.held_out_N).tobytes()
        return hashlib.sha256(packed).hexdigest()[:16]


def split(index: PairIndex, folder: str, validation: str | None, fraction: float) -> Sides:
    """The sides of an index's pictures.

    Args:
      index: of the pairs.
      folder: that a file of names may lie in.
      validation: the split, or the file with names of pictures, that is held out; None where the source says,
        or else a share.
      fraction: the share.

    Raises:
      DataError: there is no such split or file, or nothing is left to learn from.
    """
    kinds = {splitting.told(side) for side in index.sides}
    if validation is not None and validation not in index.sides:
        found = _of_file(index, folder, validation)
    elif validation is not None or kinds >= {"train", "validation"}:
        found = _of_sides(index, validation)
    else:
        found = _of_share(index, fraction)
    pictures_L = index.links_Lx2[:, 1]
    if not found.train_N[pictures_L].any():
        raise DataError(f"pairs: all pictures of {folder} that have a caption are held out: nothing is left")
    if not found.held_out_N[pictures_L].any():
        return found._replace(said=[*found.said, "nothing is held out: nothing will be measured"])
    return found


def _of_sides(index: PairIndex, validation: str | None) -> Sides:
    """By splits: the one that is named, else those for validation, else those for tests."""
    told = {side: splitting.told(side) for side in index.sides}
    learnt = {side for side, kind in told.items() if kind == "train"}
    if validation is not None:
        held_out = {validation}
        # Splits of other names: all but the one.
        learnt = (learnt or {side for side, kind in told.items() if kind is None}) - held_out
    else:
        others = {side for side, kind in told.items() if kind == "validation"}
        held_out = {side for side in others if side.split("-")[0] not in TEST} or others
    train_M, held_out_M = (np.isin(index.side_M, [index.sides.index(one) for one in of])
                           for of in (learnt, held_out))  # fmt: skip
    said = [
        f"split {side} is left unread: pairs.validation = '{side}' measures on it"
        for side in index.sides
        if side not in learnt | held_out
    ]
    return _of_names(index, train_M, held_out_M, said)


def _of_file(index: PairIndex, folder: str, validation: str) -> Sides:
    """By a file with names of pictures."""
    file = next((one for one in (Path(folder) / validation, Path(validation)) if one.is_file()), None)
    if file is None:
        splits = f", and no split but {', '.join(index.sides)}" if index.sides else ""
        raise DataError(f"pairs.validation: there is no file {validation} in {folder}{splits}")
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "no UTF-8"
        raise DataError(f"pairs.validation: {file}: {why}") from None
    known = list(index.name)
    names = PictureNames(known)
    wanted = [line.strip() for line in lines if line.strip()]
    found = {name for line in wanted for name in names.of(line)}
    lost = [line for line in wanted if not names.of(line)]
    if not found:
        raise DataError(
            f"pairs.validation: {file} names no picture that is there: it has such as "
            f"{(wanted or [''])[0]!r}, and pictures are called such as {known[0]!r}"
        )
    said = []
    if lost:
        said.append(
            f"{len(lost)} of {len(wanted)} names in {file.name} are of no picture, such as {lost[0]!r}"
        )
    held_out_M = np.array([name in found for name in known])
    return _of_names(index, ~held_out_M, held_out_M, said)


def _of_names(index: PairIndex, train_M: np.ndarray, held_out_M: np.ndarray, said: list[str]) -> Sides:
    """By the sides of names, of which several may be of one picture."""
    train_N, held_out_N = np.zeros((2, len(index.digest_N)), bool)
    train_N[index.place_M[train_M]] = True
    held_out_N[index.place_M[held_out_M]] = True
    if both := int((train_N & held_out_N).sum()):
        place = np.flatnonzero(train_N & held_out_N)[0]
        one, other = (
            index.name[int(np.flatnonzero(of & (index.place_M == place))[0])] for of in (train_M, held_out_M)
        )
        said = [*said, f"{both} pictures are on both sides, such as {one} and {other}: they are held out"]
    train_N &= ~held_out_N
    text_N = np.zeros((2, len(index.text)), bool)
    for row, of in zip(text_N, (train_N, held_out_N), strict=True):
        row[index.links_Lx2[of[index.links_Lx2[:, 1]], 0]] = True
    if shared := int(text_N.all(0).sum()):
        said = [*said, f"{shared} captions are of pictures of both sides: what is measured is too good"]
    return Sides(train_N, held_out_N, said)


def _of_share(index: PairIndex, fraction: float) -> Sides:
    """By a hash: pictures that share a caption stay together."""
    from scipy import sparse

    count, texts = len(index.digest_N), len(index.text)
    text_L, picture_L = index.links_Lx2.T
    graph = sparse.coo_array(
        (np.ones(len(text_L), bool), (picture_L, count + text_L)), shape=(count + texts, count + texts)
    )
    _, part = sparse.csgraph.connected_components(graph, directed=False)
    first: dict[int, str] = {}
    for place in np.argsort(index.digest_N).tolist():
        first.setdefault(int(part[place]), str(index.digest_N[place]))
    places = np.unique(picture_L)  # those without a caption are no part of the share
    keys = [first[int(part[place])] for place in places]
    train_N, held_out_N = np.zeros((2, count), bool)
    held_out = splitting.held_out(keys, [None] * len(keys), fraction)
    train_N[places[~held_out]] = True
    held_out_N[places[held_out]] = True
    return Sides(train_N, held_out_N)
