"""States as lists of fields, each with its variable and level: what is scored and shown one by one."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.fields.grid import Grid
from data_pipelines.fields.variables import FieldNames, known

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
SPREADING = ("u", "v", "u10", "v10", "w")  # around 0: their maps have a colour scale with two ends
WINDS = (("u", "v", "wind_vector"), ("u10", "v10", "10m_wind_vector"))


class Channel(NamedTuple):
    """A field of a state.

    Attributes:
      variable: its short name.
      level: in the grid's units; None on the surface.
    """

    variable: str
    level: float | None

    @property
    def long_name(self) -> str:
        """As ERA5 and WeatherBench 2 have it; the short one where they have none."""
        return long_name(self.variable)

    def said(self, level_units: str) -> str:
        """For people: "t 850 hPa", "t sigma 0.786", "t2m"."""
        if self.level is None:
            return self.variable
        return (
            f"{self.variable} {self.level:g} hPa"
            if level_units == "hPa"
            else f"{self.variable} sigma {self.level:.3g}"
        )


def long_name(variable: str) -> str:
    """As ERA5 and WeatherBench 2 have it; the short one where they have none."""
    found = known(variable)
    return found.long if found else variable


def units(variable: str) -> str:
    """Of a variable, or of the length of a wind's difference, as files have them; "" if not known."""
    found = known("u" if variable.endswith("wind_vector") else variable)
    return found.units if found else ""


def units_said(variable: str) -> str:
    """For people: "m s⁻¹" for "m s**-1"."""
    return re.sub(r"\*\*(-?\d+)", lambda power: power[1].translate(RAISED), units(variable))


def channels(grid: Grid, names: FieldNames) -> list[Channel]:
    """Upper variables one after the other, each by level, then the surface's."""
    upper = [Channel(name, float(level)) for name in names.upper for level in grid.level_L]
    return upper + [Channel(name, None) for name in names.surface]


def as_channels(upper_BxLxHxWxU: np.ndarray, surface_BxHxWxS: np.ndarray) -> np.ndarray:
    """States as [B, C, H, W], in the order of `channels`, in their own dtype."""
    upper = np.moveaxis(upper_BxLxHxWxU, -1, 1)
    upper = upper.reshape(upper.shape[0], -1, *upper.shape[3:])
    return np.concatenate([upper, np.moveaxis(surface_BxHxWxS, -1, 1)], 1)


class WindPair(NamedTuple):
    """Two fields that are a wind together."""

    name: str
    level: float | None
    u: int
    v: int


def winds(of: Sequence[Channel]) -> list[WindPair]:
    """The winds among some fields, by their places."""
    places = {channel: place for place, channel in enumerate(of)}
    pairs = []
    for u, v, name in WINDS:
        for channel in of:
            other = Channel(v, channel.level)
            if channel.variable == u and other in places:
                pairs.append(WindPair(name, channel.level, places[channel], places[other]))
    return pairs


def told(of: Sequence[Channel], grid: Any) -> list[int]:
    """Places of fields that are looked at first: the surface's, and variables at customary levels.

    Those are WeatherBench's z 500, t 850 and u, v, q at 850 and 700 hPa; of sigma levels what is nearest to
    them.
    """
    wanted = {"z": 500.0, "t": 850.0, "u": 850.0, "v": 850.0, "q": 700.0}
    share = 1.0 if grid.level_units == "hPa" else 1000.0
    chosen: list[int] = []
    for variable in dict.fromkeys(channel.variable for channel in of):
        places = [place for place, channel in enumerate(of) if channel.variable == variable]

        def far(place: int, variable: str = variable) -> float:
            level = of[place].level
            return 0.0 if level is None else abs(level * share - wanted.get(variable, 500.0))

        chosen.append(min(places, key=far))
    return chosen
