"""A file of any format: what is in it, and its states."""

from pathlib import Path

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields.reading import arrays, grib
from data_pipelines.fields.reading.choices import FieldChoices
from data_pipelines.fields.reading.pieces import FileContents, FilePiece

NETCDF = (b"CDF\x01", b"CDF\x02", b"CDF\x05", b"\x89HDF")
SUFFIXES = (".nc", ".nc4", ".cdf", ".netcdf", ".h5", ".grib", ".grib2", ".grb", ".grb2", ".zarr")
HEADER = 65536  # bytes within which the first GRIB message begins


def kind_of(path: Path) -> str:
    """ "zarr", "netcdf" or "grib", by what is in it; DataError for anything else."""
    if path.is_dir():
        if arrays.is_zarr(path):
            return "zarr"
        raise DataError(f"{path} is a folder and no Zarr store: name the files in it")
    try:
        with path.open("rb") as file:
            head = file.read(HEADER)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    if head.startswith(NETCDF):
        return "netcdf"
    if b"GRIB" in head:
        return "grib"
    raise DataError(f"{path} is neither NetCDF, GRIB nor Zarr")


def look(path: Path, choices: FieldChoices) -> FileContents:
    """What of a file goes into a store; DataError where it is not understood."""
    return grib.look(path, choices) if kind_of(path) == "grib" else arrays.look(path, choices)


def sources(path: Path) -> list[str]:
    """Names of its variables that are fields, or that keep it from being understood."""
    return grib.sources(path) if kind_of(path) == "grib" else arrays.sources(path)


def states(piece: FilePiece, first: int, last: int) -> np.ndarray:
    """States of a piece as [N, L or 1, rows, columns], in the file's units and order."""
    if len(piece.places[0]) > 1:
        return grib.read(piece, first, last)
    return arrays.read(piece, first, last)


def first_state(piece: FilePiece) -> np.ndarray:
    """The first one, [L or 1, rows, columns]."""
    return states(piece, 0, 1)[0]
