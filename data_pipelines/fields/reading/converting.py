"""From a file's units to the store's: geopotential and height told apart by units and by values."""

import dataclasses
from collections.abc import Callable

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields.reading.choices import FieldChoices
from data_pipelines.fields.reading.pieces import FilePiece, HeldField
from data_pipelines.fields.reading.units import conversion, dimensionless, geopotential_or_height, is_height
from data_pipelines.fields.variables import known


def converted(
    piece: FilePiece,
    held: HeldField,
    choices: FieldChoices,
    where: str,
    notices: list[str],
    first: Callable[[], np.ndarray],
) -> FilePiece:
    """With scale and shift to the store's units.

    Args:
      piece: without them.
      held: the variable as its file has it.
      choices: of a person.
      where: for a message.
      notices: to which is added what was converted.
      first: gives the first state [L or 1, rows, columns] in the file's units.

    Raises:
      DataError: units that do not fit the variable, or z whose units and values do not agree.
    """
    variable = known(piece.name)
    units = choices.units_of(piece.name, held)
    if variable is None:
        notices.append(f"{piece.name} is kept in {units or 'units that the file does not say'}")
        return piece
    if piece.name == "z":
        units = _units_of_z(piece, held, units, where, notices, first)
    if not units and not dimensionless(variable.units):
        raise DataError(
            f"{where} says no units: state them by --units {held.source}=UNITS ({variable.short} is kept in "
            f"{variable.units})"
        )
    scale, shift = conversion(units, variable.units, piece.name, where)
    if (scale, shift) != (1.0, 0.0):
        notices.append(f"{where}: {units} to {variable.units}")
    return dataclasses.replace(piece, scale=scale, shift=shift)


def _units_of_z(
    piece: FilePiece,
    held: HeldField,
    units: str,
    where: str,
    notices: list[str],
    first: Callable[[], np.ndarray],
) -> str:
    """Geopotential or height, by units and values both; DataError where they do not agree."""
    if piece.level_units != "hPa":
        return units
    state = first()
    medians = {hpa: float(np.nanmedian(x)) for hpa, x in zip(piece.levels, state, strict=True)
               if np.isfinite(x).any()}  # fmt: skip
    seems = geopotential_or_height(medians)
    height = "height" in held.standard_name or held.source.lower() in ("gh", "hgt", "zg")
    if not units:
        if not seems or (height and seems != "height"):
            raise DataError(
                f"{where}: geopotential or height? State its units by --units {held.source}=UNITS"
            )
        notices.append(f"{where} says no units; by its values it is {seems}")
        return "m" if seems == "height" else "m**2 s**-2"
    says = "height" if is_height(units) else "geopotential"
    if seems and seems != says:
        level, value = next(iter(medians.items()))
        raise DataError(
            f"{where} in {units} is said to be {says}, and its values, {value:g} at {level:g} hPa, are those "
            f"of {seems}: state the right units by --units {held.source}=UNITS"
        )
    return units
