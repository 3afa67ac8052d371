"""What the dimensions of an array are, by CF: standard names, units and axes first, then usual names."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields.grid import LevelUnits
from data_pipelines.fields.reading.units import conversion

Role = Literal["time", "level", "latitude", "longitude", "member", "lead", "rotated", "other"]
NAMES: dict[Role, tuple[str, ...]] = {
    "latitude": ("lat", "latitude", "nav_lat"),
    "longitude": ("lon", "longitude", "nav_lon"),
    "time": ("time", "valid_time", "timestep", "time_index", "month", "date", "t"),
    "level": (
        "level",
        "lev",
        "plev",
        "pressure",
        "isobaricinhpa",
        "pressure_level",
        "air_pressure",
        "hybrid",
    ),
    "member": ("number", "member", "realization", "ensemble", "sample"),
    "lead": ("step", "prediction_timedelta", "lead_time", "forecast_period", "lead"),
}
STANDARD: dict[str, Role] = {
    "latitude": "latitude", "longitude": "longitude", "time": "time", "air_pressure": "level",
    "atmosphere_sigma_coordinate": "level", "atmosphere_hybrid_sigma_pressure_coordinate": "level",
    "realization": "member", "forecast_period": "lead", "grid_latitude": "rotated",
    "grid_longitude": "rotated", "projection_x_coordinate": "rotated", "projection_y_coordinate": "rotated", 
    "height": "other", "depth": "other",
}  # fmt: skip
PRESSURE = ("pa", "hpa", "mb", "mbar", "millibar", "millibars", "bar", "kpa", "dbar")


def role(name: str, attributes: Mapping[str, Any]) -> Role:
    """Of a dimension, by its coordinate."""
    standard = str(attributes.get("standard_name", "")).lower()
    if standard in STANDARD:
        return STANDARD[standard]
    units = str(attributes.get("units", "")).lower()
    if units in ("degrees_north", "degree_north", "degrees_n", "degreen"):
        return "latitude"
    if units in ("degrees_east", "degree_east", "degrees_e", "degreee"):
        return "longitude"
    if " since " in units:
        return "time"
    if units in PRESSURE or "hybrid" in units or "sigma" in units:
        return "level"
    for kind, names in NAMES.items():
        if name.lower() in names:
            return kind
    return "time" if str(attributes.get("axis", "")).upper() == "T" else "other"


def levels_of(
    values: np.ndarray, attributes: Mapping[str, Any], where: str
) -> tuple[np.ndarray, LevelUnits, str]:
    """Levels in hPa, or sigma; and why they cannot be used, for people, or "".

    Where a file says no units, the largest level tells hPa from Pa.
    """
    units, standard = str(attributes.get("units", "")), str(attributes.get("standard_name", "")).lower()
    values = np.asarray(values, np.float64)
    if standard == "atmosphere_sigma_coordinate":
        return values, "1", ""
    if "hybrid" in units.lower() or "hybrid" in standard or "hybrid" in str(attributes.get("long_name", "")):
        return values, "hPa", f"{where} is on hybrid levels: interpolate it to levels of pressure first"
    if units.lower() in ("", "1", "level", "levels"):
        highest = float(values.max(initial=0))
        if 300 <= highest <= 1100 and values.min() > 0:
            return values, "hPa", ""
        if 10000 <= highest <= 110000:
            return values / 100, "hPa", ""
        return values, "hPa", f"{where} is on levels {values.min():g} to {highest:g} without units"
    try:
        scale, _ = conversion(units, "hPa", "levels", where)
    except DataError:
        return values, "hPa", f"{where} is on levels in {units}, which are no pressures"
    # 0.01 * 85000 is 850.0000000000001 in some libraries.
    return np.round(values * scale, 9), "hPa", ""
