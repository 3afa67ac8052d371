"""NetCDF-4 and Zarr 2 as files that a forecast is written into, array by array."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Attributes = Mapping[str, Any]


class OpenForecast(Protocol):
    """What both formats can do."""

    def create(
        self,
        name: str,
        dimensions: Sequence[str],
        shape: Sequence[int],
        chunk: Sequence[int],
        dtype: str,
        about: Attributes,
    ) -> Any:
        """An array to be assigned to by slices."""
        ...

    def close(self) -> None:
        """Nothing is written any more."""
        ...


class NetCDFForecast:
    """NetCDF-4."""

    def __init__(self, path: Path, about: Attributes):
        import netCDF4

        self._data: Any = netCDF4.Dataset(path, "w", format="NETCDF4")
        self._data.setncatts(about)

    def create(
        self,
        name: str,
        dimensions: Sequence[str],
        shape: Sequence[int],
        chunk: Sequence[int],
        dtype: str,
        about: Attributes,
    ) -> Any:
        """See `OpenForecast`."""
        for dimension, size in zip(dimensions, shape, strict=True):
            if dimension not in self._data.dimensions:
                self._data.createDimension(dimension, size)
        packed: dict[str, Any] = {}
        if dtype == "float32":
            packed = {
                "zlib": True,
                "complevel": 1,
                "shuffle": True,
                "chunksizes": chunk,
                "fill_value": np.float32(np.nan),
            }
        array = self._data.createVariable(name, dtype, dimensions, **packed)
        array.setncatts(about)
        return array

    def close(self) -> None:
        """See `OpenForecast`."""
        self._data.close()


class ZarrForecast:
    """Zarr 2."""

    def __init__(self, path: Path, about: Attributes):
        import zarr

        self._group: Any = zarr.open_group(str(path), mode="w", zarr_format=2)
        self._group.attrs.update(about)

    def create(
        self,
        name: str,
        dimensions: Sequence[str],
        shape: Sequence[int],
        chunk: Sequence[int],
        dtype: str,
        about: Attributes,
    ) -> Any:
        """See `OpenForecast`."""
        # Not compressed: NetCDF-C 4.9.0 (CDO 2.1.1) has no codecs unless plugins are found, and gives what is
        # packed as if it were numbers, without a word.
        array = self._group.create_array(
            name, shape=tuple(shape), chunks=tuple(chunk), dtype=dtype, config={"write_empty_chunks": True},
            compressors=None,
            fill_value=np.float32(np.nan) if dtype == "float32" else None,
        )  # fmt: skip
        array.attrs.update({"_ARRAY_DIMENSIONS": list(dimensions), **about})
        return array

    def close(self) -> None:
        """See `OpenForecast`."""
        import zarr

        zarr.consolidate_metadata(self._group.store, zarr_format=2)
