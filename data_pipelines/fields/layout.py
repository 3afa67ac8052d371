"""How a store of fields lies in its folder: arrays, chunks, coordinates with their CF attributes."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields import hours
from data_pipelines.fields.grid import Grid
from data_pipelines.fields.variables import FieldNames, known

_LATITUDE = {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"}
_LONGITUDE = {"standard_name": "longitude", "units": "degrees_east", "axis": "X"}
_LEVEL: dict[str, dict[str, str]] = {
    "hPa": {"standard_name": "air_pressure", "units": "hPa", "axis": "Z", "positive": "down"},
    "1": {"standard_name": "atmosphere_sigma_coordinate", "units": "1", "axis": "Z", "positive": "down"},
}
_TIME = {
    "standard_name": "time",
    "units": "hours since 1900-01-01 00:00:00",
    "calendar": "proleptic_gregorian",
    "axis": "T",
}

# A state that is all missing is written, too: a chunk that is not there is one that was lost.
_WRITTEN = {"write_empty_chunks": True}


def attributes(name: str) -> dict[str, str]:
    """CF attributes of a variable."""
    variable = known(name)
    if variable is None:
        return {"long_name": name}
    named = {"standard_name": variable.standard_name} if variable.standard_name else {}
    return {**named, "long_name": variable.long, "units": variable.units}


def coordinates(grid: Grid) -> dict[str, tuple[np.ndarray, dict[str, str]]]:
    """Values and attributes of level, latitude and longitude."""
    return {
        "level": (grid.level_L, _LEVEL[grid.level_units]),
        "latitude": (grid.latitude_H, _LATITUDE),
        "longitude": (grid.longitude_W, _LONGITUDE),
    }


def create(
    path: Path,
    grid: Grid,
    names: FieldNames,
    times_N: np.ndarray,
    constants_HxWxK: np.ndarray | None,
    own: str,
    simulated: bool,
    source: str,
) -> None:
    """An empty store with its coordinates and constants, whole or not at all.

    Raises:
      DataError: there are variables on levels and no levels, or constants have another shape.
    """
    import zarr

    if names.upper and not len(grid.level_L):
        raise DataError(f"{', '.join(names.upper)} lie on levels, and the grid has none")
    half = path.with_name(path.name + ".new")
    shutil.rmtree(half, ignore_errors=True)
    group = zarr.open_group(half, mode="w", zarr_format=3)
    group.attrs.update({"Conventions": "CF-1.11", **({"source": source} if source else {})})
    group.attrs["pangu_fields"] = {
        "format": 1,
        "id": own,
        "grid": grid.to_json(),
        "names": dataclasses.asdict(names),
        "simulated": simulated,
    }
    _put(
        group,
        "time",
        hours.since(times_N),
        ("time",),
        _TIME | ({"comment": "a simulation's own time"} if simulated else {}),
    )
    for name, (values, about) in coordinates(grid).items():
        _put(group, name, values, (name,), about)
    levels, latitudes, longitudes = grid.shape
    for name in names.upper:
        _create(
            group,
            name,
            (len(times_N), levels, latitudes, longitudes),
            ("time", "level", "latitude", "longitude"),
        )
    for name in names.surface:
        _create(group, name, (len(times_N), latitudes, longitudes), ("time", "latitude", "longitude"))
    for at, name in enumerate(names.constants):
        if constants_HxWxK is None or constants_HxWxK.shape != (latitudes, longitudes, len(names.constants)):
            raise DataError(f"constants must be [{latitudes}, {longitudes}, {len(names.constants)}]")
        values = np.asarray(constants_HxWxK[..., at], np.float32)
        _put(group, name, values, ("latitude", "longitude"), attributes(name))
    half.rename(path)


def begun(path: Path) -> tuple[str, str]:
    """Which set a store that was begun is of, and where that is from; "" for none."""
    import zarr

    try:
        kept = dict(zarr.open_group(path, mode="r", use_consolidated=False).attrs)
        about: Any = kept["pangu_fields"]
        return str(about["id"]), str(kept.get("source", ""))
    except (OSError, ValueError, KeyError, TypeError):
        return "", ""


def to_write(group: Any, name: str) -> Any:
    """A variable's array of a store that was opened again: that all of its chunks are written was forgotten.

    The setting is the array's own. `zarr.config.set` counts when the array is opened, not when it is written,
    and threads that use it at once can leave it set for all that follows.
    """
    return group[name].with_config(_WRITTEN)


def _create(group: Any, name: str, shape: tuple[int, ...], dimensions: tuple[str, ...]) -> None:
    from zarr.codecs import BloscCodec, Crc32cCodec

    group.create_array(
        name,
        shape=shape,
        chunks=(1, *shape[1:]),  # one time: what a step reads
        dtype="float32",
        compressors=[BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=4), Crc32cCodec()],
        fill_value=float("nan"),
        dimension_names=dimensions,
        attributes=attributes(name),
        config=_WRITTEN,
    )


def _put(
    group: Any, name: str, values: np.ndarray, dimensions: tuple[str, ...], about: dict[str, str]
) -> None:
    fill = {"fill_value": float("nan")} if values.dtype.kind == "f" else {}
    array = group.create_array(
        name, shape=values.shape, chunks=values.shape, dtype=values.dtype, dimension_names=dimensions,
        attributes=about, config=_WRITTEN, **fill,
    )  # fmt: skip
    array[...] = values
