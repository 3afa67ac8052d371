"""Pieces of all files put together: one grid, the variables, the times, and where each state is."""

import dataclasses
import functools
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields import hours
from data_pipelines.fields.grid import CLOSE, Grid, LevelUnits
from data_pipelines.fields.reading.choices import FieldChoices, require_all_found
from data_pipelines.fields.reading.horizontal import FilePlacement, placement
from data_pipelines.fields.reading.pieces import FileContents, FilePiece
from data_pipelines.fields.variables import VARIABLES, FieldNames, known

BLOCK_BYTES = 64 * 2**20  # of a variable that are read at once


@dataclasses.dataclass(frozen=True)
class BuildPlan:
    """What is written, and from where.

    Attributes:
      grid: of all variables.
      names: of variables.
      hours_N: since 1900, ascending.
      pieces: of all files.
      block: states that are read at once.
      simulated: whether times are of a calendar that is not ours.
      notices: for people, a line each.
      keep_missing: whether states without any value are kept.
      stamps: of the files: others where these have changed.
    """

    grid: Grid
    names: FieldNames
    hours_N: np.ndarray
    pieces: tuple[FilePiece, ...]
    block: int
    simulated: bool
    notices: tuple[str, ...]
    keep_missing: bool = False
    stamps: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain numbers and strings."""
        return {
            "grid": self.grid.to_json(),
            "names": dataclasses.asdict(self.names),
            "hours": self.hours_N.tolist(),
            "pieces": [piece.to_json() for piece in self.pieces],
            "block": self.block,
            "simulated": self.simulated,
            "notices": list(self.notices),
            "keep_missing": self.keep_missing,
            "stamps": list(self.stamps),
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "BuildPlan":
        """The inverse of `to_json`."""
        return cls(
            Grid.from_json(kept["grid"]),
            FieldNames(**{k: tuple(v) for k, v in kept["names"].items()}),
            np.asarray(kept["hours"], np.int64),
            tuple(FilePiece.from_json(piece) for piece in kept["pieces"]),
            kept["block"],
            kept["simulated"],
            tuple(kept["notices"]),
            kept["keep_missing"],
            tuple(kept["stamps"]),
        )

    @property
    def id(self) -> str:
        """Hash of all of it."""
        return hashlib.sha256(json.dumps(self.to_json()).encode()).hexdigest()[:16]

    @functools.cached_property
    def pieces_of(self) -> dict[str, list[FilePiece]]:
        """By variable."""
        found: dict[str, list[FilePiece]] = defaultdict(list)
        for piece in self.pieces:
            found[piece.name].append(piece)
        return found


@functools.lru_cache(64)
def placed(latitude: tuple[float, ...], longitude: tuple[float, ...]) -> FilePlacement:
    """`placement`, of which a build has one or few."""
    return placement(latitude, longitude, "the grid")


def plan(contents: Sequence[FileContents], choices: FieldChoices, stamps: Sequence[str] = ()) -> BuildPlan:
    """Of all files.

    Args:
      contents: of each file.
      choices: of a person.
      stamps: what changes where a file does.

    Raises:
      DataError: nothing was found, grids differ, a variable lacks levels or times of the others, one stands
        twice, or a sum is over other hours than those between states.
    """
    pieces = tuple(piece for one in contents for piece in one.pieces)
    require_all_found([piece.name for piece in pieces], choices)
    if not any(piece.hours for piece in pieces):
        raise DataError("no file has a variable that changes in time: there is nothing to build a store of")
    first = next(piece for piece in pieces if piece.hours)
    grid = _common_grid(pieces, first)
    names = _names(pieces, choices)
    levels, level_units = _levels(pieces, names, choices)
    grid = dataclasses.replace(grid, level_L=np.asarray(levels), level_units=level_units)
    pieces = tuple(piece for piece in pieces if not piece.levels or _on(piece, levels))
    hours_N = _times(pieces, grid, names, choices)
    notices = list(dict.fromkeys(notice for one in contents for notice in one.notices))
    notices += _sums(pieces, hours_N, choices) + _steps(hours_N)
    size = 4 * max(1, grid.shape[0]) * grid.shape[1] * grid.shape[2]
    together = max(piece.block for piece in pieces)
    block = max(1, BLOCK_BYTES // size)
    # Whole chunks of the files: each is decompressed once.
    block = max(together, block // together * together) if together > 1 else block
    return BuildPlan(
        grid,
        names,
        hours_N,
        pieces,
        min(block, len(hours_N)),
        choices.own_calendar,
        tuple(notices),
        choices.keep_missing,
        tuple(stamps),
    )


def _common_grid(pieces: Sequence[FilePiece], first: FilePiece) -> Grid:
    grid = placement(first.latitude, first.longitude, first.file).grid((), "hPa")
    seen = set()
    for piece in pieces:
        key = hash((piece.latitude, piece.longitude))
        if key in seen:
            continue
        seen.add(key)
        differs = grid.differs(placement(piece.latitude, piece.longitude, piece.file).grid((), "hPa"))
        if differs:
            raise DataError(
                f"{piece.file}: {piece.source} has {differs} (as {first.source} in {first.file}): regrid one "
                "of them, or leave it out by --variables"
            )
    return grid


def _names(pieces: Sequence[FilePiece], choices: FieldChoices) -> FieldNames:
    order = [wanted.name for wanted in choices.wanted] or list(VARIABLES)
    found: dict[str, FilePiece] = {}
    for piece in sorted(pieces, key=lambda piece: order.index(piece.name)):
        found.setdefault(piece.name, piece)
    kinds: dict[str, list[str]] = {"upper": [], "surface": [], "constant": []}
    for name, piece in found.items():
        variable = known(name)
        kind = "constant" if not piece.hours else "upper" if piece.levels else "surface"
        kinds[variable.where if variable else kind].append(name)
    return FieldNames(tuple(kinds["upper"]), tuple(kinds["surface"]), tuple(kinds["constant"]))


def _levels(
    pieces: Sequence[FilePiece], names: FieldNames, choices: FieldChoices
) -> tuple[tuple[float, ...], LevelUnits]:
    of: dict[str, set[float]] = {name: set() for name in names.upper}
    units: set[LevelUnits] = set()
    for piece in pieces:
        if piece.levels:
            of[piece.name] |= set(piece.levels)
            units.add(piece.level_units)
    if len(units) > 1:
        raise DataError("some variables are on levels of pressure and others on sigma levels")
    every = sorted(set().union(*of.values()), reverse=True) if of else []
    wanted = list(choices.levels) or every
    for name, there in of.items():
        lacking = [level for level in wanted if not any(abs(level - one) < CLOSE * 1e-3 for one in there)]
        if lacking:
            common = set(every).intersection(*of.values())
            raise DataError(
                f"{name} lacks the levels {_listed(lacking)}: "
                f"keep those that all variables have by --levels {_listed(sorted(common, reverse=True), ' ')}"
                if common
                else f"{name} lacks the levels {_listed(lacking)}, and no level has all variables"
            )
    exact = tuple(min(every, key=lambda one: abs(one - level)) for level in wanted)
    return exact, units.pop() if units else "hPa"


def _listed(levels: Sequence[float], between: str = ", ") -> str:
    return between.join(f"{level:g}" for level in levels)


def _on(piece: FilePiece, levels: Sequence[float]) -> bool:
    return any(level in levels for level in piece.levels)


def _times(pieces: Sequence[FilePiece], grid: Grid, names: FieldNames, choices: FieldChoices) -> np.ndarray:
    """Hours at which all variables are there on all levels."""
    of: dict[tuple[str, float | None], list[FilePiece]] = defaultdict(list)
    for piece in pieces:
        if piece.hours:
            for level in piece.levels or (None,):
                if level is None or level in grid.level_L:
                    of[piece.name, level].append(piece)
    every: dict[tuple[str, float | None], np.ndarray] = {}
    for key, ones in of.items():
        hours_M = np.concatenate([np.asarray(piece.hours, np.int64) for piece in ones])
        unique, counts = np.unique(hours_M, return_counts=True)
        if (counts > 1).any():
            hour = unique[counts > 1][0]
            files = [piece.file for piece in ones if hour in piece.hours]
            level = "" if key[1] is None else f" at {key[1]:g}"
            raise DataError(
                f"{key[0]}{level} at {hours.at(hour)} stands in {files[0]} and in {files[-1]}: leave out "
                f"one, or tell them apart by --variables NAME@HPA={Path(files[0]).name}:SOURCE"
            )
        every[key] = unique
    union, common = every[next(iter(every))], every[next(iter(every))]
    for unique in every.values():
        union, common = np.union1d(union, unique), np.intersect1d(common, unique)
    if len(common) == len(union):
        return union
    if choices.common_times and len(common):
        return common
    key, least = min(every.items(), key=lambda one: len(one[1]))
    lacking = np.setdiff1d(union, least)
    level = "" if key[1] is None else f" at {key[1]:g}"
    how = "keep the times of all by --common_times" if len(common) else "no time has all variables"
    raise DataError(
        f"{key[0]}{level} is lacking at {len(lacking)} of {len(union)} times, the first "
        f"{hours.at(lacking[0])}: {how}"
    )


def _sums(pieces: Sequence[FilePiece], hours_N: np.ndarray, choices: FieldChoices) -> list[str]:
    """Sums since some time before: right where that is the time before."""
    said = []
    steps = set(np.diff(hours_N).tolist())
    for name in dict.fromkeys(piece.name for piece in pieces):
        variable = known(name)
        if variable is None or not variable.accumulated:
            continue
        over = {piece.accumulated_hours for piece in pieces if piece.name == name}
        period = choices.accumulated_hours or (over.pop() if len(over) == 1 else 0.0)
        if not period:
            raise DataError(
                f"{name} is a sum over hours that the files do not say alike: state them by "
                "--accumulated_hours (1 for ERA5), or leave it out by --variables"
            )
        if steps and steps != {period} and not choices.accumulated_hours:
            raise DataError(
                f"{name} is a sum over {period:g} h and states are {_ranges(steps)} h apart: it lacks what "
                f"fell between; keep it so by --accumulated_hours {period:g}, or leave it out by --variables"
            )
        said.append(
            f"{name} is the sum over the {period:g} h before each time"
            + ("" if steps in (set(), {period}) else f", not over the {_ranges(steps)} h between states")
        )
    return said


def _ranges(steps: set[int]) -> str:
    return str(min(steps)) if len(steps) == 1 else f"{min(steps)} to {max(steps)}"


def _steps(hours_N: np.ndarray) -> list[str]:
    counts = Counter(np.diff(hours_N).tolist())
    if len(counts) < 2:
        return []
    common = ", ".join(f"{count} of {step} h" for step, count in counts.most_common(4))
    more = ", ..." if len(counts) > 4 else ""
    return [f"steps are irregular: {common}{more}; a window is drawn only where its states are all there"]
