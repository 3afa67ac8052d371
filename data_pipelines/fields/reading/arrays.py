"""NetCDF and Zarr, through xarray, which decodes nothing: what is not understood is refused here."""

import contextlib
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields.reading import masking, times
from data_pipelines.fields.reading.array_axes import Axes, axes_of, skipped
from data_pipelines.fields.reading.choices import FieldChoices, becomes
from data_pipelines.fields.reading.converting import converted
from data_pipelines.fields.reading.pieces import FileContents, FilePiece, floats
from data_pipelines.fields.variables import known


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr group, of format 2 or 3."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zmetadata"))


def look(path: Path, choices: FieldChoices) -> FileContents:
    """What of a file goes into a store.

    Raises:
      DataError: it cannot be opened, or holds what is neither understood nor left out by choice.
    """
    contents = FileContents()
    with _opened(str(path)) as dataset:
        for name, variable in dataset.variables.items():
            reason = skipped(dataset, str(name))
            if reason == "coordinate":
                continue
            if reason:
                contents.left_out[str(name)] = reason
                continue
            axes = axes_of(dataset, str(name), choices, path.name)
            held = axes.held
            meant = becomes(held, str(path), choices)
            if not meant:
                contents.left_out[str(name)] = "not chosen"
            for store_name, level in meant:
                piece = _piece(dataset, path, variable, axes, store_name, level, choices, contents)
                contents.pieces.append(piece)
                _require_chunks(path, str(name))
    return contents


def sources(path: Path) -> list[str]:
    """Names of all variables that do not only describe others."""
    with _opened(str(path)) as dataset:
        return [str(name) for name in dataset.variables if skipped(dataset, str(name)) != "coordinate"]


def read(piece: FilePiece, first: int, last: int) -> np.ndarray:
    """States `first` to before `last` of a piece as [N, L or 1, rows, columns], in the file's units."""
    dataset = _kept_open(piece.file)
    variable = dataset.variables[piece.source]
    time, level, latitude, longitude = piece.dimensions
    index: dict[str, Any] = dict(piece.chosen)
    if time:
        index[time] = slice(piece.places[first][0], piece.places[last - 1][0] + 1)
    try:
        raw = variable.isel(index)
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{piece.file}: {piece.source} cannot be read ({error})") from None
    order = [name for name in (time, level, latitude, longitude) if name]
    zero_fill = (Path(piece.file) / ".zgroup").exists()
    values = masking.values_of(
        raw.transpose(*order).values, variable.attrs, f"{piece.file}: {piece.source}", zero_fill
    )
    if not time:
        values = values[None]
    return values if level else values[:, None]


def _piece(
    dataset: Any,
    path: Path,
    variable: Any,
    axes: Axes,
    name: str,
    level: float | None,
    choices: FieldChoices,
    contents: FileContents,
) -> FilePiece:
    held, where = axes.held, f"{path.name}: {axes.held.source}"
    known_variable = known(name)
    hours, places = axes.hours(dataset, choices, where)
    if known_variable is not None and known_variable.where == "constant":
        hours, places = (), ((0,),)
    elif not hours:
        if not choices.time:
            raise DataError(f"{where} has no time: say it by --time YYYY-MM-DDTHH")
        hours = (times.datetime_hours(choices.time),)
    order = np.argsort(hours, kind="stable")
    if hours and (np.diff(np.asarray(hours)) <= 0).any():
        places = tuple(places[at] for at in order)
        hours = tuple(hours[at] for at in order)
    latitude = floats(dataset.variables[axes.dimensions[2]].values)
    longitude = floats(dataset.variables[axes.dimensions[3]].values)
    chunks = variable.encoding.get("preferred_chunks") or {}
    block = int(chunks.get(axes.dimensions[0], 1))
    of_surface = known_variable is not None and known_variable.where != "upper"
    levels = () if of_surface else held.levels if level is None else (level,)
    piece = FilePiece(
        str(path), held.source, name, levels, held.level_units, hours, places, latitude, longitude,
        dimensions=axes.dimensions, chosen=axes.chosen, block=block,
    )  # fmt: skip
    return converted(piece, held, choices, where, contents.notices, lambda: read(piece, 0, 1)[0])


@contextlib.contextmanager
def _opened(path: str) -> Generator[Any]:
    dataset = _open(path)
    try:
        yield dataset
    finally:
        dataset.close()


@contextlib.contextmanager
def kept_open() -> Generator[None]:
    """Within it a file that is read is opened once; they are closed at its end, for HDF5 locks them."""
    try:
        yield
    finally:
        for dataset in _OPEN.values():
            dataset.close()
        _OPEN.clear()


_OPEN: dict[str, Any] = {}


def _kept_open(path: str) -> Any:
    if path not in _OPEN:
        _OPEN[path] = _open(path)
    return _OPEN[path]


def _open(path: str) -> Any:
    import xarray

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of files beside a store's arrays, and of metadata that are not asked for
        try:
            if Path(path).is_dir():
                # What is consolidated may be older than what is there.
                return xarray.open_zarr(path, chunks=None, consolidated=False, decode_cf=False)
            return xarray.open_dataset(path, engine="netcdf4", decode_cf=False, cache=False)
        except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
            raise DataError(f"{path} cannot be opened: {str(error).splitlines()[0]}") from None


def _require_chunks(path: Path, name: str) -> None:
    """A chunk of a Zarr store that is missing reads as its fill value, without a word."""
    if not path.is_dir():
        return
    import zarr

    array: Any = zarr.open_group(path, mode="r", use_consolidated=False)[name]
    if array.shards is None and array.nchunks_initialized < array.nchunks:
        lacking = array.nchunks - array.nchunks_initialized
        raise DataError(
            f"{path}: {lacking} of {array.nchunks} chunks of {name} are missing, and would be read as its "
            "fill value: get them, or leave it out by --variables"
        )
