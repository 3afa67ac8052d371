"""States of a store, block by block: read, put on the grid, checked, written."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields.layout import to_write
from data_pipelines.fields.reading import arrays, files
from data_pipelines.fields.reading.pieces import FilePiece, when
from data_pipelines.fields.reading.plan import BuildPlan, placed
from data_pipelines.fields.store import group_of
from data_pipelines.fields.variables import known


def write_block(plan_file: Path, building: Path, first: int, last: int, *, out: Path) -> dict[str, Any]:
    """Write states `first` to before `last` of every variable; a task of a stage.

    Returns:
      of each variable on each level: least, greatest, and how many cells are missing.

    Raises:
      DataError: values that cannot be, or a field without any.
    """
    del out
    plan = load_plan(plan_file)
    with arrays.kept_open():
        return {"variables": _write(plan, group_of(building), first, last)}


def _write(plan: BuildPlan, group: Any, first: int, last: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in (*plan.names.upper, *plan.names.surface):
        fields_NxLxHxW = fields_of(plan, name, first, last)
        found[name] = _checked(plan, name, fields_NxLxHxW, first)
        to_write(group, name)[first:last] = (
            fields_NxLxHxW if name in plan.names.upper else fields_NxLxHxW[:, 0]
        )
    return found


@functools.lru_cache(2)
def load_plan(path: Path) -> BuildPlan:
    """As `build` wrote it."""
    return BuildPlan.from_json(json.loads(path.read_text("utf-8")))


def constants_of(plan: BuildPlan) -> np.ndarray | None:
    """float32 [H, W, K]; None for none. DataError for values that cannot be."""
    found = []
    with arrays.kept_open():
        for name in plan.names.constants:
            piece = plan.pieces_of[name][0]
            field_HxW = _on_grid(files.first_state(piece), piece)[0]
            _checked(plan, name, field_HxW[None, None], 0)
            found.append(field_HxW)
    return np.stack(found, -1) if found else None


def fields_of(plan: BuildPlan, name: str, first: int, last: int) -> np.ndarray:
    """float32 [N, L or 1, H, W] of a variable, in the store's units and on its grid."""
    upper = name in plan.names.upper
    levels = plan.grid.level_L.tolist() if upper else [None]
    shape = (last - first, len(levels), *plan.grid.shape[1:])
    fields: np.ndarray | None = None
    wanted = {int(hour): at for at, hour in enumerate(plan.hours_N[first:last])}
    for piece in plan.pieces_of[name]:
        runs = _runs([(at, wanted[hour]) for at, hour in enumerate(piece.hours) if hour in wanted], piece)
        rows = [
            (levels.index(level), at) for at, level in enumerate(piece.levels or (None,)) if level in levels
        ]
        for begin, targets in runs:
            states = _on_grid(files.states(piece, begin, begin + len(targets)), piece)
            if (
                states.shape == shape
                and targets == list(range(last - first))
                and all(a == b for a, b in rows)
            ):
                return states
            if fields is None:
                # The plan has found a piece for every level and time.
                fields = np.empty(shape, np.float32)
            for to, of in rows:
                fields[targets[0] : targets[-1] + 1, to] = states[:, of]
    assert fields is not None
    return fields


def _runs(pairs: list[tuple[int, int]], piece: FilePiece) -> list[tuple[int, list[int]]]:
    """Places in a file that follow each other, with the store's places: each run is one read."""
    runs: list[tuple[int, list[int]]] = []
    for at, target in pairs:
        follows = runs and runs[-1][0] + len(runs[-1][1]) == at and runs[-1][1][-1] + 1 == target
        if follows and len(piece.places[at]) == 1 and piece.places[at][0] != piece.places[at - 1][0] + 1:
            follows = False
        if follows:
            runs[-1][1].append(target)
        else:
            runs.append((at, [target]))
    return runs


def _on_grid(states: np.ndarray, piece: FilePiece) -> np.ndarray:
    """In the store's units, float32, [..., H, W]."""
    if (piece.scale, piece.shift) != (1.0, 0.0):
        states = states.astype(np.float64) * piece.scale + piece.shift
    where = f"{piece.file}: {piece.source}"
    return placed(piece.latitude, piece.longitude).apply(states, where).astype(np.float32, copy=False)


def _checked(plan: BuildPlan, name: str, fields_NxLxHxW: np.ndarray, first: int) -> list[list[float]]:
    """Least, greatest, missing cells and missing states of each level."""
    variable = known(name)
    rows = []
    for at in range(fields_NxLxHxW.shape[1]):
        fields = fields_NxLxHxW[:, at]
        low_N, high_N = fields.min((1, 2)), fields.max((1, 2))
        missing = 0
        if np.isnan(low_N).any():
            low_N, high_N = np.fmin.reduce(fields, (1, 2)), np.fmax.reduce(fields, (1, 2))
            missing = int(np.isnan(fields).sum())
        bad_N = np.isinf(low_N) | np.isinf(high_N)
        if variable is not None:
            bad_N |= (low_N < variable.low) | (high_N > variable.high)
        none_N = np.isnan(low_N)
        refused_N = bad_N if plan.keep_missing else bad_N | none_N
        if refused_N.any():
            place = int(refused_N.argmax())
            where = _where(plan, name, at if fields_NxLxHxW.shape[1] > 1 else None, first + place)
            raise DataError(f"{where} {_what(name, low_N[place], high_N[place])}")
        low, high = float(np.fmin.reduce(low_N)), float(np.fmax.reduce(high_N))
        rows.append([low, high, missing, int(none_N.sum())])
    return rows


def _where(plan: BuildPlan, name: str, level: int | None, place: int) -> str:
    constant = name in plan.names.constants
    hour = int(plan.hours_N[0 if constant else place])
    files = [piece.file for piece in plan.pieces_of[name] if constant or hour in piece.hours]
    on = "" if level is None else f" at {plan.grid.level_L[level]:g} {plan.grid.level_units}"
    return f"{files[0]}: {name}{on}{'' if constant else f' at {when(hour)}'}"


def _what(name: str, low: float, high: float) -> str:
    if np.isnan(low):
        return "has no value at all: leave it out, or keep such states as missing by --keep_missing"
    variable = known(name)
    can = f"from {variable.low:g} to {variable.high:g} {variable.units}" if variable else "finite"
    return (
        f"runs from {low:g} to {high:g} and can only be {can}: is it a difference, in other units (--units "
        f"{name}=UNITS), or a missing value that the file does not name?"
    )
