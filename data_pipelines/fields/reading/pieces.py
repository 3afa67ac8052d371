"""What a file holds: variables, with their levels, times and places in the file."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.fields import hours
from data_pipelines.fields.grid import LevelUnits


class HeldField(NamedTuple):
    """A variable as a file has it, before it is known what it is in a store.

    Attributes:
      source: its name in the file; of GRIB the short name, with "@LEVEL_TYPE" or "@STEP_TYPE" where it is
        neither on pressure levels nor near the surface, or no instant.
      standard_name: of CF; "" where there is none.
      units: as the file writes them; "" where it does not.
      levels: on which it is; () for none.
      level_units: of levels.
      why_not: why it cannot be read, for people; "" where it can.
    """

    source: str
    standard_name: str
    units: str
    levels: tuple[float, ...] = ()
    level_units: LevelUnits = "hPa"
    why_not: str = ""


@dataclasses.dataclass(frozen=True)
class FilePiece:
    """States of one variable in one file.

    Attributes:
      file: where.
      source: its name there.
      name: in the store.
      levels: in the file's order; () on the surface.
      level_units: of levels.
      hours: since 1900-01-01T00 (or since a simulation's start), one a state; () for what does not change.
      places: one a state: (index,) along the time of an array; (offset, bytes, number in it) of a message.
      latitude: of the file's rows.
      longitude: of the file's columns.
      scale: by which values are multiplied for the store's units; `shift` is added then.
      accumulated_hours: over which it is a sum; 0 for none or not known.
      dimensions: of an array: its names of time, level, latitude, longitude, "" for one that is not there.
      chosen: indices along other dimensions.
      block: states that lie together in the file.
    """

    file: str
    source: str
    name: str
    levels: tuple[float, ...]
    level_units: LevelUnits
    hours: tuple[int, ...]
    places: tuple[tuple[int, ...], ...]
    latitude: tuple[float, ...]
    longitude: tuple[float, ...]
    scale: float = 1.0
    shift: float = 0.0
    accumulated_hours: float = 0.0
    dimensions: tuple[str, str, str, str] = ("", "", "", "")
    chosen: Mapping[str, int] = dataclasses.field(default_factory=dict)
    block: int = 1

    def to_json(self) -> dict[str, Any]:
        """As plain numbers and strings."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "FilePiece":
        """The inverse of `to_json`."""
        names = ("levels", "hours", "latitude", "longitude", "dimensions")
        tuples: dict[str, Any] = {name: tuple(kept[name]) for name in names}
        places = tuple(tuple(place) for place in kept["places"])
        return cls(**(dict(kept) | tuples | {"places": places}))


@dataclasses.dataclass
class FileContents:
    """What was found in a file.

    Attributes:
      pieces: what goes into the store.
      left_out: variables that do not, by name, with the reason.
      notices: what a person should know, a line each.
      states_seen: of GRIB, how many messages there are; else 0.
    """

    pieces: list[FilePiece] = dataclasses.field(default_factory=list)
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)
    notices: list[str] = dataclasses.field(default_factory=list)
    states_seen: int = 0

    def to_json(self) -> dict[str, Any]:
        """As plain numbers and strings."""
        return {**dataclasses.asdict(self), "pieces": [piece.to_json() for piece in self.pieces]}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "FileContents":
        """The inverse of `to_json`."""
        pieces = [FilePiece.from_json(piece) for piece in kept["pieces"]]
        return cls(pieces, kept["left_out"], kept["notices"], kept["states_seen"])


def when(hour: int) -> str:
    """Hours since 1900 as a date, for people."""
    return str(hours.at(np.asarray(hour)))


def floats(values: Any) -> tuple[float, ...]:
    """Coordinates as Python's floats."""
    return tuple(np.asarray(values, np.float64).ravel().tolist())
