"""States of a store, block by block: read, put on the grid, checked, written."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields import hours
from data_pipelines.fields.reading import files
from data_pipelines.fields.reading.pieces import Piece
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
    group = group_of(building)
    found: dict[str, Any] = {}
    for name in (*plan.names.upper, *plan.names.surface):
        fields_NxLxHxW = fields_of(plan, name, first, last)
        found[name] = _checked(plan, name, fields_NxLxHxW, first)
        array = group[name]
        array[first:last] = fields_NxLxHxW if name in plan.names.upper else fields_NxLxHxW[:, 0]
    return {"variables": found}


@functools.lru_cache(2)
def load_plan(path: Path) -> BuildPlan:
    """As `build` wrote it."""
    return BuildPlan.from_json(json.loads(path.read_text("utf-8")))


def constants_of(plan: BuildPlan) -> np.ndarray | None:
    """float32 [H, W, K]; None for none. DataError for values that cannot be."""
    found = []
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
    fields = np.full(shape, np.nan, np.float32)
    wanted = {int(hour): at for at, hour in enumerate(plan.hours_N[first:last])}
    for piece in plan.pieces_of[name]:
        runs = _runs([(at, wanted[hour]) for at, hour in enumerate(piece.hours) if hour in wanted], piece)
        rows = [(levels.index(level), at) for at, level in enumerate(piece.levels or (None,)) if level in levels]
        for begin, targets in runs:
            states = _on_grid(files.states(piece, begin, begin + len(targets)), piece)
            for to, of in rows:
                fields[targets, to] = states[:, of]
    return fields


def _runs(pairs: list[tuple[int, int]], piece: Piece) -> list[tuple[int, list[int]]]:
    """Places in a file that follow each other, with the store's places: each run is one read."""
    runs: list[tuple[int, list[int]]] = []
    for at, target in pairs:
        follows = runs and runs[-1][0] + len(runs[-1][1]) == at
        if follows and len(piece.places[at]) == 1 and piece.places[at][0] != piece.places[at - 1][0] + 1:
            follows = False
        if follows:
            runs[-1][1].append(target)
        else:
            runs.append((at, [target]))
    return runs


def _on_grid(states: np.ndarray, piece: Piece) -> np.ndarray:
    """In the store's units, float32, [..., H, W]."""
    if (piece.scale, piece.shift) != (1.0, 0.0):
        states = states.astype(np.float64) * piece.scale + piece.shift
    where = f"{piece.file}: {piece.source}"
    return placed(piece.latitude, piece.longitude).apply(states, where).astype(np.float32, copy=False)


def _checked(plan: BuildPlan, name: str, fields_NxLxHxW: np.ndarray, first: int) -> list[list[float]]:
    variable = known(name)
    rows = []
    for at in range(fields_NxLxHxW.shape[1]):
        fields = fields_NxLxHxW[:, at]
        low_N, high_N = np.fmin.reduce(fields, (1, 2)), np.fmax.reduce(fields, (1, 2))
        bad = ~np.isfinite(low_N) | ~np.isfinite(high_N)
        if variable is not None:
            bad |= (low_N < variable.low) | (high_N > variable.high)
        if bad.any():
            place = int(bad.argmax())
            level = f" at {plan.grid.level_L[at]:g} {plan.grid.level_units}" if fields_NxLxHxW.shape[1] > 1 else ""
            time = f" at {hours.at(plan.hours_N[first + place])}" if plan.names.constants.count(name) == 0 else ""
            file = plan.pieces_of[name][0].file
            if np.isnan(low_N[place]):
                raise DataError(f"{file}: {name}{level}{time} has no value at all: leave that time or level out")
            can = f"from {variable.low:g} to {variable.high:g}" if variable else "finite"
            raise DataError(
                f"{file}: {name}{level}{time} runs from {low_N[place]:g} to {high_N[place]:g} and can only be {can} "
                f"{variable.units if variable else ''}: a difference, other units (--units {name}=UNITS), or an "
                "undeclared missing value"
            )
        missing = int(np.isnan(fields).sum()) if np.isnan(fields.sum()) else 0
        rows.append([float(low_N.min()), float(high_N.max()), missing])
    return rows
