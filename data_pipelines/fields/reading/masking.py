"""Numbers as a file packs them to values: scale and offset in float64, what is missing to NaN."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data_pipelines.errors import DataError

UNWRITTEN = 9.969209968386869e36  # NetCDF's fill of floats where none is named


def values_of(
    raw: np.ndarray, attributes: Mapping[str, Any], where: str, zero_fill: bool = False
) -> np.ndarray:
    """float32 or float64, NaN where missing.

    Args:
      raw: as the file has it.
      attributes: _FillValue, missing_value, scale_factor (of either sign), add_offset, _Unsigned of CF.
      where: for a message.
      zero_fill: whether a _FillValue of 0 is only Zarr 2's default, and zeros are values.

    Raises:
      DataError: it holds no numbers.
    """
    if raw.dtype.kind not in "iuf":
        raise DataError(f"{where} holds no numbers but {raw.dtype}")
    if raw.dtype.kind == "i" and str(attributes.get("_Unsigned", "")).lower() == "true":
        raw = raw.view(f"u{raw.dtype.itemsize}")
    missing = _missing(raw, attributes, zero_fill)
    scale, offset = attributes.get("scale_factor"), attributes.get("add_offset")
    if scale is None and offset is None:
        values = raw if raw.dtype.kind == "f" else raw.astype(np.float64)
    else:
        # float64, as xarray does: an int16 times a scale in float32 would lose the last digits.
        values = raw.astype(np.float64) * float(_one(scale, 1.0)) + float(_one(offset, 0.0))
    if missing is None or not missing.any():
        return values
    values = np.array(values, values.dtype if values.dtype.itemsize >= 4 else np.float32)
    values[missing] = np.nan
    return values


def fills(attributes: Mapping[str, Any], zero_fill: bool) -> list[float]:
    """What stands for a missing value: both names of CF, though one of them is deprecated."""
    named = [
        (name, float(value))
        for name in ("_FillValue", "missing_value")
        for value in np.ravel(np.asarray(attributes.get(name, [])))
    ]
    default = ("_FillValue", 0.0) if zero_fill else None
    return [value for name, value in named if np.isfinite(value) and (name, value) != default]


def _missing(raw: np.ndarray, attributes: Mapping[str, Any], zero_fill: bool) -> np.ndarray | None:
    missing = None
    for fill in fills(attributes, zero_fill) + ([UNWRITTEN] if raw.dtype.kind == "f" else []):
        # 1e20 in float64 is not 1e20 in float32: either may have been meant.
        for value in {float(np.float32(fill)), fill} if raw.dtype == np.float64 else {fill}:
            here = raw == raw.dtype.type(value) if _holds(raw.dtype, value) else None
            if here is not None and here.any():
                missing = here if missing is None else missing | here
    return missing


def _holds(dtype: np.dtype, value: float) -> bool:
    if dtype.kind == "f":
        return abs(value) <= np.finfo(dtype).max
    return value == int(value) and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max


def _one(value: Any, default: float) -> Any:
    return default if value is None else np.ravel(np.asarray(value))[0]
