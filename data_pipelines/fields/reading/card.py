"""The card of a store: what is in it, from which files, what was converted, left out and noticed."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.fields.reading.pieces import FileContents, when
from data_pipelines.fields.reading.plan import BuildPlan
from data_pipelines.fields.store import FieldStore
from data_pipelines.fields.variables import known

LIBRARIES = ("cfgrib", "cftime", "eccodes", "netCDF4", "numpy", "pint", "xarray", "zarr")


def card(
    store: FieldStore,
    plan: BuildPlan,
    contents: Mapping[Path, FileContents],
    ranges: Sequence[Mapping[str, Any]],
) -> str:
    """Markdown; nothing in it depends on when or where the store was made."""
    lines = [f"# {store.path.name}: fields of {len(store)} times", ""]
    lines += describe(store)
    columns = ["variable", "level", "unit", "least", "mean", "deviation", "greatest", "missing"]
    lines += ["", "## Variables", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += _rows(store, ranges)
    lines += ["", "## Files", "", *(f"- {path.name}: {_counted(one)}" for path, one in contents.items())]
    left_out = sorted({f"- {name}: {why}" for one in contents.values() for name, why in one.left_out.items()})
    if left_out:
        lines += ["", "## Left out", "", *left_out]
    if plan.notices:
        lines += ["", "## To know", "", *(f"- {notice}" for notice in plan.notices)]
    return "\n".join([*lines, "", f"Made with {_versions()}.", ""])


def describe(store: FieldStore) -> list[str]:
    """Grid, times and names of a store, a line each."""
    grid, (levels, rows, columns) = store.grid, store.grid.shape
    around = "around the globe" if grid.periodic else "a region"
    unit = "hPa" if grid.level_units == "hPa" else "of the surface pressure"
    lines = [
        f"- {rows} latitudes {grid.latitude_H[0]:g} to {grid.latitude_H[-1]:g}, {columns} longitudes "
        f"{grid.longitude_W[0]:g} to {grid.longitude_W[-1]:g} ({around})",
        f"- {len(store)} times, {store.times_N[0]} to {store.times_N[-1]}"
        + (f", as a rule {store.step_hours} h apart" if len(store) > 1 else "")
        + (" (a simulation's own calendar)" if store.simulated else ""),
    ]
    if levels:
        lines.append(f"- {levels} levels: {', '.join(f'{level:g}' for level in grid.level_L)} {unit}")
    names = store.names
    for kind, of in (
        ("on levels", names.upper),
        ("on the surface", names.surface),
        ("constants", names.constants),
    ):
        if of:
            lines.append(f"- {kind}: {', '.join(of)}")
    return lines


def _rows(store: FieldStore, ranges: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = []
    statistics = store.statistics
    for at, name in enumerate((*store.names.upper, *store.names.surface)):
        variable = known(name)
        on_levels = name in store.names.upper
        for place, level in enumerate(store.grid.level_L if on_levels else (None,)):
            one = np.asarray([block[name][place] for block in ranges])
            if on_levels:
                mean, deviation = statistics.upper_mean_LxU[place, at], statistics.upper_std_LxU[place, at]
            else:
                surface = at - len(store.names.upper)
                mean, deviation = statistics.surface_mean_S[surface], statistics.surface_std_S[surface]
            cells = len(store) * store.grid.shape[1] * store.grid.shape[2]
            share, none = one[:, 2].sum() / cells, int(one[:, 3].sum())
            numbers = (np.nanmin(one[:, 0]), mean, deviation, np.nanmax(one[:, 1]))
            row = [name, "" if level is None else f"{level:g}", variable.units if variable else ""]
            row += [f"{number:.5g}" for number in numbers]
            row.append(f"{share:.2%}" + (f", {none} states" if none else ""))
            rows.append(f"| {' | '.join(row)} |")
    return rows


def _counted(contents: FileContents) -> str:
    times = [hour for piece in contents.pieces for hour in piece.hours]
    names = ", ".join(dict.fromkeys(piece.name for piece in contents.pieces)) or "nothing"
    span = f", {when(min(times))} to {when(max(times))}" if times else ""
    messages = f", {contents.states_seen} messages" if contents.states_seen else ""
    return names + span + messages


def _versions() -> str:
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
