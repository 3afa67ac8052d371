"""The axes of an array in a file: which dimension is what, and what stands at it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.fields.reading import times
from data_pipelines.fields.reading.choices import FieldChoices
from data_pipelines.fields.reading.pieces import HeldField, floats
from data_pipelines.fields.reading.roles import Role, levels_of, role


class Axes(NamedTuple):
    """Of a variable.

    Attributes:
      held: the variable as the file has it.
      dimensions: names of time, level, latitude, longitude; "" for one that is not there.
      chosen: indices along other dimensions.
      time_scalar: a coordinate without dimensions that is its time; "" for none.
    """

    held: HeldField
    dimensions: tuple[str, str, str, str]
    chosen: Mapping[str, int]
    time_scalar: str

    def hours(
        self, dataset: Any, choices: FieldChoices, where: str
    ) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
        """Hours since 1900 and places along the time; none where there is no time."""
        name = self.dimensions[0] or self.time_scalar
        if not name:
            return (), ((0,),)
        attributes: Mapping[str, Any] = {}
        if name in dataset.variables:
            coordinate = dataset.variables[name]
            attributes, values = coordinate.attrs, np.atleast_1d(coordinate.values)
        else:
            values = np.arange(dataset.sizes[name])
        units = str(attributes.get("units", ""))
        if " since " not in units:
            # Some archives write the units of a nameless time beside it.
            units = choices.time_units or str(dataset.attrs.get("time_units", "")) or units
        calendar = str(attributes.get("calendar", ""))
        hours = times.hours_of(values, units, calendar, f"{where} ({name})", choices.own_calendar)
        return hours, tuple((at,) for at in range(len(hours)))


def skipped(dataset: Any, name: str) -> str:
    """Why a variable is no field, "coordinate" for one that describes others, or "" where it is one."""
    variable = dataset.variables[name]
    if name in dataset.dims or _describes(dataset, name):
        return "coordinate"
    if variable.dtype.kind not in "iuf":
        return f"no numbers but {variable.dtype}"
    kinds = {kind for kind, _ in _roles(dataset, variable).values()}
    if {"latitude", "longitude"} <= kinds or "rotated" in kinds or _two_dimensional(dataset, variable):
        return ""
    return "no field over latitudes and longitudes"


def axes_of(dataset: Any, name: str, choices: FieldChoices, file: str) -> Axes:
    """Of a variable that is a field; what keeps it from being read is told by `held.why_not`."""
    variable = dataset.variables[name]
    found = _roles(dataset, variable)
    of = {kind: dimension for dimension, (kind, _) in found.items()}
    where, why_not, chosen = f"the variable {name}", "", {}
    kinds = [kind for kind, _ in found.values()]
    if "rotated" in kinds:
        why_not = f"{where} is on rotated or projected coordinates: interpolate it to a regular grid first"
    elif _two_dimensional(dataset, variable) and "latitude" not in of:
        why_not = (
            f"{where} has two-dimensional latitudes and longitudes: interpolate it to a regular grid first"
        )
    for kind in ("time", "level", "latitude", "longitude"):
        if kinds.count(kind) > 1:
            why_not = f"{where} has two dimensions of {kind}"
    for dimension, (kind, coordinate) in found.items():
        if kind in ("member", "lead", "other"):
            chosen[dimension], reason = _chosen(
                kind, dimension, dataset.sizes[dimension], coordinate, choices
            )
            why_not = why_not or (reason and f"{where} {reason}")
    scalar = "" if of.get("time") else _time_scalar(dataset)
    why_not = why_not or _ahead(dataset, of.get("time", scalar), where)
    levels, units, reason = _levels(dataset, variable, of.get("level", ""), where)
    held = HeldField(
        name,
        str(variable.attrs.get("standard_name", "")),
        str(variable.attrs.get("units", "")),
        levels,
        units,
        why_not or reason,
    )
    dimensions = (of.get("time", ""), of.get("level", ""), of.get("latitude", ""), of.get("longitude", ""))
    return Axes(held, dimensions, chosen, scalar)


def _roles(dataset: Any, variable: Any) -> dict[str, tuple[Role, Any]]:
    """What each dimension is, with its coordinate's values or None."""
    found: dict[str, tuple[Role, Any]] = {}
    for dimension in variable.dims:
        coordinate = dataset.variables.get(dimension)
        attributes = {} if coordinate is None else coordinate.attrs
        found[str(dimension)] = role(str(dimension), attributes), coordinate
    return found


def _describes(dataset: Any, name: str) -> bool:
    """Whether a variable is named by others as their bounds, grid mapping or coordinate."""
    named = set()
    for variable in dataset.variables.values():
        for attribute in ("bounds", "grid_mapping", "coordinates", "climatology"):
            named |= set(str(variable.attrs.get(attribute, "")).split())
    named |= set(str(dataset.attrs.get("coordinates", "")).split())
    return name in named or name.lower().endswith(("_bnds", "_bounds")) or name.startswith("bounds_")


def _two_dimensional(dataset: Any, variable: Any) -> bool:
    """Whether latitudes are given for each point of the variable's last two dimensions."""
    return any(
        other.ndim == 2
        and set(other.dims) <= set(variable.dims)
        and role(str(name), other.attrs) in ("latitude", "longitude")
        for name, other in dataset.variables.items()
    )


def _chosen(kind: Role, dimension: str, size: int, coordinate: Any, choices: FieldChoices) -> tuple[int, str]:
    """Index along a dimension, and why there is none."""
    if kind == "member" and size > 1:
        if choices.member is None:
            return 0, f"has {size} members ({dimension}): choose one by --member"
        numbers = np.arange(size) if coordinate is None else np.asarray(coordinate.values)
        at = np.flatnonzero(numbers == choices.member)
        return (int(at[0]), "") if len(at) else (0, f"has no member {choices.member}")
    if size > 1:
        return 0, f"has {size} places along {dimension}, which is neither time, level, latitude nor longitude"
    if kind == "lead" and coordinate is not None and np.asarray(coordinate.values).any():
        return 0, f"is a forecast ({dimension} is not 0): give states by the time at which they are valid"
    return 0, ""


def _levels(dataset: Any, variable: Any, dimension: str, where: str) -> tuple[tuple[float, ...], Any, str]:
    if dimension:
        coordinate = dataset.variables.get(dimension)
        if coordinate is None:
            return (), "hPa", f"{where} has levels ({dimension}) and the file does not say which"
        values, units, reason = levels_of(coordinate.values, coordinate.attrs, where)
        return floats(values), units, reason
    for name in str(variable.attrs.get("coordinates", "")).split():
        scalar = dataset.variables.get(name)
        if scalar is not None and scalar.ndim == 0 and role(name, scalar.attrs) == "level":
            values, units, reason = levels_of(scalar.values[None], scalar.attrs, where)
            return floats(values), units, reason
    for name in ("level", "lev"):
        if name in variable.attrs:
            values, units, reason = levels_of(np.atleast_1d(variable.attrs[name]), {}, where)
            return (floats(values), units, "") if not reason else ((), "hPa", "")
    return (), "hPa", ""


def _time_scalar(dataset: Any) -> str:
    for name, variable in dataset.variables.items():
        one = variable.size == 1 and variable.ndim <= 1 and role(str(name), variable.attrs) == "time"
        if one and variable.attrs.get("standard_name", "time") == "time":
            return str(name)
    return ""


def _ahead(dataset: Any, time: str, where: str) -> str:
    """Why a time is not when states are valid: cfgrib's `time` is when a forecast begins."""
    for name, variable in dataset.variables.items():
        lead = variable.ndim == 0 and role(str(name), variable.attrs) == "lead"
        if lead and time != "valid_time" and variable.values.any():
            return f"{where} is a forecast ({name} is not 0): give states by the time they are valid at"
    return ""
