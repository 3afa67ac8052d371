"""GRIB 1 and 2 by ecCodes, message by message: none is dropped, and no index is left beside the file."""

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields.hours import EPOCH
from data_pipelines.fields.reading.choices import FieldChoices, becomes
from data_pipelines.fields.reading.converting import converted
from data_pipelines.fields.reading.grib_messages import MessagePlace, handle, key, places, values
from data_pipelines.fields.reading.pieces import FileContents, FilePiece, HeldField, floats
from data_pipelines.fields.variables import known

GRIDS = ("regular_ll", "regular_gg")
PRESSURE = {"isobaricInhPa": 1.0, "isobaricInPa": 0.01}
NEAR_SURFACE = ("surface", "meanSea", "heightAboveGround")
# ECMWF's numbers of parameters: a short name may be two parameters in other units.
PARAMETERS = {
    129: "z", 130: "t", 131: "u", 132: "v", 133: "q", 135: "w", 151: "msl", 260074: "msl", 134: "sp",
    165: "u10", 166: "v10", 167: "t2m", 34: "sst", 151159: "sst", 228: "tp", 228228: "tp", 
    172: "lsm", 43: "slt",
    156: "gh", 228002: "orog",
}  # fmt: skip


class MessageHeader(NamedTuple):
    """What a message says of its field.

    Attributes:
      source: its name, see `HeldField`.
      units: of its values.
      level: hPa; None near the surface.
      hour: since 1900, at which it is valid.
      member: of an ensemble, 0 for none.
      grid: of its points, by a sum of its description.
      accumulated_hours: over which it is a sum.
      why_not: why its points are no grid, or "".
    """

    source: str
    units: str
    level: float | None
    hour: int
    member: int
    grid: str
    accumulated_hours: float
    why_not: str


def look(path: Path, choices: FieldChoices) -> FileContents:
    """What of a file goes into a store.

    Raises:
      DataError: a message is damaged, or what is chosen cannot be read or stands twice.
    """
    contents = FileContents()
    grids: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {}
    found: dict[str, list[tuple[MessageHeader, MessagePlace]]] = defaultdict(list)
    for place in places(path):
        with handle(path, place) as message:
            header = _header(message)
            if header.grid not in grids and not header.why_not:
                grids[header.grid] = _points(message, path)
        found[header.source].append((header, place))
        contents.states_seen += 1
    for source, messages in found.items():
        _take(path, source, messages, grids, choices, contents)
    return contents


def sources(path: Path) -> list[str]:
    """Names of all variables."""
    found = {}
    for place in places(path):
        with handle(path, place) as message:
            found[_header(message).source] = None
    return list(found)


def read(piece: FilePiece, first: int, last: int) -> np.ndarray:
    """States `first` to before `last` of a piece as [N, 1, rows, columns], in the file's units."""
    rows, columns = len(piece.latitude), len(piece.longitude)
    found = []
    for place in piece.places[first:last]:
        with handle(Path(piece.file), MessagePlace(*place)) as message:
            points = values(message)
            if key(message, "jPointsAreConsecutive", int):
                points = points.reshape(columns, rows).T
            found.append(points.reshape(rows, columns))
    return np.stack(found)[:, None]


def _upper(short: str) -> bool:
    variable = known(short)
    return variable is not None and variable.where == "upper"


def _header(message: Any) -> MessageHeader:
    short, number = key(message, "shortName"), key(message, "paramId", int)
    kind, step_type = key(message, "typeOfLevel"), key(message, "stepType")
    short = PARAMETERS.get(number, short)
    level: float | None = None
    suffix = ""
    if kind in PRESSURE:
        level = round(key(message, "level", float) * PRESSURE[kind], 9)
    elif short == "z" and kind == "surface":
        short = "z_surface"
    elif kind not in NEAR_SURFACE or _upper(short):
        suffix = f"@{kind or 'unknown'}"
    if kind == "heightAboveGround" and (known(short) is None or _upper(short)):
        suffix = f"@{key(message, 'level')}m"
    variable = known(short)
    if step_type != "instant" and not (
        variable is not None and variable.accumulated and step_type == "accum"
    ):
        suffix += f"@{step_type}"
    grid_type = key(message, "gridType")
    why_not = ""
    if grid_type not in GRIDS:
        why_not = (
            f"{short} is on a grid of the type {grid_type or 'unknown'}: regrid it to regular latitudes and "
            "longitudes first (cdo remapbil, or mir)"
        )
    hour, odd = _hour(message)
    hours = 0.0
    if step_type == "accum":
        begins, _, ends = key(message, "stepRange").partition("-")
        hours = float(ends) - float(begins) if ends.isdigit() and begins.isdigit() else 0.0
    return MessageHeader(
        short + suffix, key(message, "units"), level, hour, key(message, "number", int),
        key(message, "md5GridSection"), hours, why_not or (odd and f"{short} {odd}"),
    )  # fmt: skip


def _hour(message: Any) -> tuple[int, str]:
    """Hours since 1900 at which a message is valid, and why that is none."""
    date, clock = key(message, "validityDate", int), key(message, "validityTime", int)
    if not date:
        return 0, "says no time at which it is valid"
    text = f"{date // 10000:04d}-{date // 100 % 100:02d}-{date % 100:02d}"
    day = np.datetime64(text, "h")
    hour = int((day - EPOCH).astype(np.int64)) + clock // 100
    return hour, f"is valid at {clock:04d}, and a store's times are whole hours" if clock % 100 else ""


def _points(message: Any, path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Latitudes of rows and longitudes of columns, by the coordinates of all points."""
    import eccodes

    try:
        latitude = np.asarray(eccodes.codes_get_array(message, "latitudes"), np.float64)
        longitude = np.asarray(eccodes.codes_get_array(message, "longitudes"), np.float64)
    except eccodes.CodesInternalError as error:
        raise DataError(f"{path}: the grid of a message contradicts itself ({error})") from None
    columns, rows = key(message, "Ni", int), key(message, "Nj", int)
    if rows * columns != len(latitude):
        raise DataError(f"{path}: a message has {len(latitude)} points, {rows} x {columns} are said")
    by_column = bool(key(message, "jPointsAreConsecutive", int))
    shape = (columns, rows) if by_column else (rows, columns)
    latitude, longitude = latitude.reshape(shape), longitude.reshape(shape)
    if by_column:
        latitude, longitude = latitude.T, longitude.T
    if np.ptp(latitude, 1).max() > 1e-4 or np.ptp(longitude, 0).max() > 1e-4:
        raise DataError(f"{path}: the points of a message are no rows and columns")
    return floats(latitude[:, 0]), floats(longitude[0])


def _take(
    path: Path,
    source: str,
    messages: list[tuple[MessageHeader, MessagePlace]],
    grids: dict[str, tuple[tuple[float, ...], tuple[float, ...]]],
    choices: FieldChoices,
    contents: FileContents,
) -> None:
    """Pieces of one variable: one for each level, grid and unit."""
    headers = [header for header, _ in messages]
    levels = tuple(sorted({header.level for header in headers if header.level is not None}))
    why_not = next((header.why_not for header in headers if header.why_not), "")
    held = HeldField(source, "", headers[0].units, levels, "hPa", why_not)
    meant = becomes(held, str(path), choices)
    if not meant:
        contents.left_out[source] = f"not chosen ({len(messages)} messages)"
        return
    members = sorted({header.member for header in headers})
    if len(members) > 1:
        if choices.member is None:
            raise DataError(f"{path}: {source} has {len(members)} members: choose one by --member")
        if choices.member not in members:
            raise DataError(
                f"{path}: {source} has no member {choices.member}; it has {members[0]} to {members[-1]}"
            )
        messages = [one for one in messages if one[0].member == choices.member]
    _require_once(path, source, messages)
    groups: dict[Any, list[tuple[int, MessagePlace]]] = defaultdict(list)
    for header, place in messages:
        groups[header.level, header.grid, header.units, header.accumulated_hours].append((header.hour, place))
    for name, stated in meant:
        for (level, grid, units, accumulated), states in groups.items():
            states = sorted(states)
            variable = known(name)
            constant = variable is not None and variable.where == "constant"
            at = () if constant else tuple(hour for hour, _ in states)
            on = stated if stated is not None else level
            latitude, longitude = grids[grid]
            piece = FilePiece(
                str(path), source, name, () if on is None else (on,), "hPa", at,
                tuple(tuple(place) for _, place in states), latitude, longitude,
                accumulated_hours=accumulated,
            )  # fmt: skip
            one = held._replace(units=units)
            contents.pieces.append(
                converted(
                    piece,
                    one,
                    choices,
                    f"{path.name}: {source}",
                    contents.notices,
                    lambda p=piece: read(p, 0, 1)[0],
                )
            )


def _require_once(path: Path, source: str, messages: list[tuple[MessageHeader, MessagePlace]]) -> None:
    seen: dict[tuple[float | None, int], MessagePlace] = {}
    for header, place in messages:
        before = seen.setdefault((header.level, header.hour), place)
        if before is not place:
            at = EPOCH + np.timedelta64(header.hour, "h")
            level = "" if header.level is None else f" at {header.level:g} hPa"
            raise DataError(
                f"{path}: {source}{level} at {at} stands twice, at bytes {before.offset} and {place.offset}: "
                "remove the one that is wrong (grib_copy)"
            )
