"""Units of a file to those of a store; geopotential and height told apart by units and by their values."""

import functools
import re
from typing import Any

import numpy as np

from data_pipelines.errors import DataError

GRAVITY = 9.80665  # m s-2, by which ECMWF divides geopotential
WATER = 1000.0  # kg m-3
NONE = ("", "1", "-", "~", "dimensionless", "numeric", "fraction", "proportion", "none", "0-1", "(0-1)")
SPELLINGS = {
    "gpm": "m", "gpdm": "dam", "millibars": "hPa", "millibar": "hPa", "mb": "hPa", "mbar": "hPa",
    "celsius": "degC", "deg_c": "degC", "deg c": "degC", "degrees c": "degC", "degree_celsius": "degC", 
    "degrees_celsius": "degC", "kelvin": "K", "pascals": "Pa",
    "meters/second": "m/s", "metres/second": "m/s",
}  # fmt: skip


def conversion(units: str, to: str, name: str, where: str) -> tuple[float, float]:
    """(scale, shift) from a file's units to the store's.

    Args:
      units: as the file writes them, by the rules of CF (UDUNITS).
      to: the store's, likewise.
      name: the variable, in the store; precipitation in kg m-2 is as many mm, height is geopotential / g.
      where: for a message.

    Raises:
      DataError: they are not of the same kind, or not known.
    """
    if _plain(units) == _plain(to):
        return 1.0, 0.0
    try:
        scale, shift = _factor(_plain(units), _plain(to))
    except ValueError:
        if name in ("z", "z_surface") and _fits(units, "m"):
            scale, shift = _factor(_plain(units), "m")
            return scale * GRAVITY, shift * GRAVITY
        if name == "tp" and _fits(units, "kg m**-2"):
            return _factor(_plain(units), _plain("kg m**-2"))[0] / WATER, 0.0
        raise DataError(
            f"{where}: {name} in {units or 'no units'} cannot be had in {to}: state the right ones by "
            f"--units {name}=UNITS, or leave the variable out by --variables"
        ) from None
    return scale, shift


def dimensionless(units: str) -> bool:
    """Whether a number needs no units."""
    return not _plain(units)


def is_height(units: str) -> bool:
    """Whether a geopotential's units are those of a height."""
    return _fits(units, "m")


def _fits(units: str, to: str) -> bool:
    try:
        _factor(_plain(units), _plain(to))
    except ValueError:
        return False
    return True


def _plain(units: str) -> str:
    """As pint reads them: `m2 s-2`, `m**2 s**-2` and `m^2/s^2` alike."""
    units = re.sub(r"\s+", " ", units.strip())
    if units.lower().replace(" ", "") in NONE or units.lower().startswith("(code table"):
        return ""
    units = SPELLINGS.get(units.lower(), units)
    units = units.replace("^", "**").replace("%", "percent")
    units = re.sub(r"(?<=[A-Za-z])(-?\d+)", r"**\1", units)
    return re.sub(r"(?<=[A-Za-z0-9)]) (?=[A-Za-z(])", "*", units)


@functools.cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry(cache_folder=None)


@functools.cache
def _factor(units: str, to: str) -> tuple[float, float]:
    """ValueError where one cannot be had from the other."""
    import pint

    quantity: Any = _registry().Quantity
    try:
        zero, one = (
            quantity(x, units or "dimensionless").to(to or "dimensionless").magnitude for x in (0.0, 1.0)
        )
    except (
        pint.errors.PintError,
        AttributeError,
        TypeError,
        ValueError,
        SyntaxError,
        AssertionError,
    ) as error:
        raise ValueError(str(error)) from None
    scale, shift = float(one - zero), float(zero)
    return (1.0 if abs(scale - 1) < 1e-12 else scale), shift


def height_of(hpa: float) -> float:
    """Of a pressure in the standard atmosphere (ISO 2533), m."""
    if hpa >= 226.32:
        return 44330.77 * (1 - (hpa / 1013.25) ** 0.190263)
    return 11000 + 6341.62 * float(np.log(226.32 / hpa))


def geopotential_or_height(medians: dict[float, float]) -> str:
    """What values of z are, by their medians and levels in hPa: "geopotential", "height", or "" for neither.

    Low down both kinds are near 0, and "" is the answer.
    """
    telling = {hpa: value for hpa, value in medians.items() if 10 <= hpa <= 850 and np.isfinite(value)}
    votes = set()
    for hpa, value in telling.items():
        ratio = value / height_of(hpa)
        # Heights of 500 hPa are 4700 to 5900 m, the standard atmosphere's 5574.
        votes.add("height" if 0.7 < ratio < 1.3 else "geopotential" if 7 < ratio < 13 else "")
    return votes.pop() if len(votes) == 1 else ""
