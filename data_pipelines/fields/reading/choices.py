"""What a person chose of the files, and what a variable of a file becomes in a store."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data_pipelines.errors import DataError
from data_pipelines.fields.reading.pieces import HeldField
from data_pipelines.fields.variables import VARIABLES, Variable, known

# Names in files that are neither short names nor ERA5's; those of upper air and of the surface apart.
ALIASES = {
    "uwnd": "u", "vwnd": "v", "hgt": "z", "gh": "z", "geopotential_height": "z", "shum": "q", "air": "t",
    "ta": "t", 
    "ua": "u", "va": "v", "zg": "z", "hus": "q", "prmsl": "msl", "psl": "msl", "slp": "msl", "pslmsl": "msl",
    "mslp": "msl", "tas": "t2m", "uas": "u10", "vas": "v10", "orog": "z_surface",
}  # fmt: skip


AS_KNOWN = "?"  # the name of a variable that is to have the one it is known by


class Wanted(NamedTuple):
    """One of --variables: NAME, NAME=SOURCE, NAME@LEVEL=SOURCE or NAME@LEVEL=FILE:SOURCE.

    Attributes:
      name: in the store.
      level: hPa, of a variable whose file has none; None where the file tells.
      file: the file's name without its folder; "" for every file.
      source: the variable's name in the file; "" for what is known as `name`.
    """

    name: str
    level: float | None
    file: str
    source: str


@dataclasses.dataclass(frozen=True)
class FieldChoices:
    """What goes into a store.

    Attributes:
      variables: of --variables; () for all that are known.
      levels: hPa or sigma; () for those that are there.
      units: by name in the store or in the file, where a file says none or wrong ones.
      time_units: of times without units, as "hours since 1996-01-05".
      time: of files with no time at all.
      member: of an ensemble; None for none.
      own_calendar: take times of a calendar that is not ours as a simulation's own hours.
      common_times: keep the times at which all variables are there.
      accumulated_hours: over which accumulated variables are sums; 0 for none said.
      keep_missing: keep states without any value, as NaN.
    """

    variables: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()
    units: tuple[tuple[str, str], ...] = ()
    time_units: str = ""
    time: str = ""
    member: int | None = None
    own_calendar: bool = False
    common_times: bool = False
    accumulated_hours: float = 0.0
    keep_missing: bool = False

    @property
    def wanted(self) -> list[Wanted]:
        """The variables; DataError for one that is not written as it must be."""
        return [_wanted(text) for text in self.variables]

    def only(self, source: str, file: str) -> "FieldChoices":
        """One variable of a file, as it was chosen or by what it is known as."""
        mine = [
            text
            for text, one in zip(self.variables, self.wanted, strict=True)
            if source in (one.source, one.name)
        ]
        return dataclasses.replace(self, variables=tuple(mine) or (f"{AS_KNOWN}={file}:{source}",))

    def units_of(self, name: str, held: HeldField) -> str:
        """As stated by --units, else the file's."""
        stated = dict(self.units)
        return stated.get(name) or stated.get(held.source) or held.units


def _wanted(text: str) -> Wanted:
    name, _, source = text.partition("=")
    name, _, level = name.partition("@")
    file, _, source = source.rpartition(":")
    try:
        return Wanted(name, float(level) if level else None, file, source)
    except ValueError:
        raise DataError(
            f"--variables {text}: write NAME, NAME=SOURCE, or NAME@HPA=FILE:SOURCE for a variable whose file "
            "does not tell its level"
        ) from None


def meaning(held: HeldField) -> str:
    """The store's name of a file's variable, by its name or its standard name; "" for one not known."""
    lower = held.source.lower()
    variable = known(held.source) or known(lower) or VARIABLES.get(ALIASES.get(lower, ""))
    if variable is None:
        variable = _by_standard_name(held)
    return variable.short if variable else ""


def _by_standard_name(held: HeldField) -> Variable | None:
    """On levels what is upper air; without, what is only of the surface: 10 m wind is not called so by CF."""
    if not held.standard_name:
        return None
    if held.standard_name == "geopotential_height" and held.levels:
        return VARIABLES["z"]
    fitting = [one for one in VARIABLES.values() if one.standard_name == held.standard_name]
    if held.levels:
        fitting = [one for one in fitting if one.where == "upper"]
    return fitting[0] if len(fitting) == 1 else None


def becomes(held: HeldField, file: str, choices: FieldChoices) -> list[tuple[str, float | None]]:
    """What a file's variable is in the store: (name, level where the file has none); [] to leave it out.

    Raises:
      DataError: nothing was chosen and it is not known; or it is known, and there is no level for it.
    """
    name = meaning(held)
    if not choices.variables:
        if held.why_not:
            raise DataError(f"{file}: {held.why_not}")
        if not name:
            raise DataError(
                f"{file}: the variable {held.source} is not known: choose those to keep by --variables, "
                "NAME=SOURCE to give one a name"
            )
        found: list[tuple[str, float | None]] = [(name, None)]
    else:
        found = [
            (name or held.source if wanted.name == AS_KNOWN else wanted.name, wanted.level)
            for wanted in choices.wanted
            if wanted.file in ("", Path(file).name)
            and (wanted.source == held.source if wanted.source else wanted.name in (name, held.source))
        ]
        if found and held.why_not:
            raise DataError(f"{file}: {held.why_not}")
    for name, level in found:
        _require_level(held, name, level, file)
    return found


def _require_level(held: HeldField, name: str, level: float | None, file: str) -> None:
    variable = known(name)
    if variable is None:
        return
    if variable.where == "upper" and not held.levels and level is None:
        raise DataError(
            f"{file}: {held.source} has no level: say which by --variables {name}@HPA={Path(file).name}:"
            f"{held.source}, or name the surface's variable that it is, as u10={held.source}"
        )
    if variable.where != "upper" and (level is not None or len(held.levels) > 1):
        raise DataError(
            f"{file}: {name} is of the surface and {held.source} is on {len(held.levels) or 1} levels"
        )


def require_all_found(found: Sequence[str], choices: FieldChoices) -> None:
    """DataError for a variable that was chosen and is in no file."""
    for wanted in choices.wanted:
        if wanted.name not in found:
            raise DataError(
                f"--variables: no file has {wanted.source or wanted.name}"
                f"{f' for {wanted.name}' if wanted.source else ''}"
            )
