"""Times of a file to whole hours since 1900: units, calendars and reference dates understood, or refused."""

import datetime
import re

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields.hours import EPOCH

OURS = ("standard", "gregorian", "proleptic_gregorian", "")
GREGORIAN = datetime.date(1582, 10, 15)  # before it `standard` means the Julian calendar


def hours_of(
    values_N: np.ndarray, units: str, calendar: str, where: str, own_calendar: bool = False
) -> tuple[int, ...]:
    """Whole hours since 1900-01-01T00, of a calendar of its own if it must be.

    Args:
      values_N: numbers.
      units: of CF, "UNIT since DATE".
      calendar: of CF; "" for the standard one.
      where: for a message.
      own_calendar: take a calendar that is not ours as a simulation's own.

    Raises:
      DataError: units that are none, a calendar or years that are not ours, or times that are no whole hours.
    """
    if not np.isfinite(np.asarray(values_N, np.float64)).all():
        raise DataError(f"{where}: a time is missing")
    unit, since, date = units.partition(" since ")
    if not since:
        raise DataError(
            f"{where}: times in units of {units or 'nothing'} count from no date: say from which by "
            "--time_units 'hours since YYYY-MM-DD'"
        )
    if re.fullmatch(r"months?|years?", unit.strip().lower()):
        dates = _by_calendar(np.asarray(values_N), unit.strip().lower(), date.strip(), calendar, where)
        return tuple((dates - EPOCH).astype("timedelta64[h]").astype(np.int64).tolist())
    times = _decoded(values_N, units, calendar or "standard", where)
    ours = calendar.lower() in OURS and (
        calendar.lower() == "proleptic_gregorian"
        or all(datetime.date(max(t.year, 1), t.month, t.day) >= GREGORIAN for t in times)
    )
    if own_calendar and not ours:
        seconds = [3600.0 * hour for hour in _own(times, calendar or "standard")]
    elif not ours:
        raise DataError(
            f"{where}: times of the calendar {calendar or 'standard'} from {times[0]} on are none of ours: "
            "--own_calendar takes them as a simulation's own hours"
        )
    else:
        seconds = [
            (np.datetime64(time.isoformat(), "us") - EPOCH.astype("datetime64[us]")) / np.timedelta64(1, "s")
            for time in times
        ]
    hours = np.asarray(seconds, np.float64) / 3600
    whole = np.rint(hours)
    odd = np.flatnonzero(np.abs(hours - whole) > 1e-3)
    if len(odd):
        raise DataError(f"{where}: the time {times[odd[0]]} is no whole hour, and a store's times are")
    return tuple(whole.astype(np.int64).tolist())


def _decoded(values_N: np.ndarray, units: str, calendar: str, where: str) -> list:
    import cftime

    # "hours since 1940-01-01 00:00 (proleptic_gregorian)"
    units, _, bracket = units.partition("(")
    calendar = bracket.strip(") ") or calendar
    try:
        return list(cftime.num2date(np.asarray(values_N), units.strip(), calendar.lower(), True, False))
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(
            f"{where}: times in {units!r} of the calendar {calendar} are not understood "
            f"({str(error).splitlines()[0]}): state them by --time_units 'hours since YYYY-MM-DD'"
        ) from None


def _own(times: list, calendar: str) -> np.ndarray:
    import cftime

    return np.asarray(cftime.date2num(times, "hours since 1900-01-01", calendar.lower()), np.float64)


def _by_calendar(values_N: np.ndarray, unit: str, date: str, calendar: str, where: str) -> np.ndarray:
    """Whole months or years, by the calendar: UDUNITS' mean month of 30.4 days is what nobody means."""
    start = re.match(r"(\d{1,4})-(\d{1,2})-(\d{1,2})", date)
    whole = np.rint(values_N.astype(np.float64)).astype(np.int64)
    if not start or int(start[1]) < 1583 or int(start[3]) != 1 or not (whole == values_N).all():
        raise DataError(
            f"{where}: {unit} since {date} have no fixed length unless they are whole ones from a first of a "
            "month on: state times by --time_units 'hours since YYYY-MM-DD'"
        )
    if calendar.lower() not in OURS:
        raise DataError(f"{where}: {unit} of the calendar {calendar} are not understood")
    first = np.datetime64(f"{int(start[1]):04d}-{int(start[2]):02d}", "M")
    months = whole if unit.startswith("month") else 12 * whole
    return (first + months.astype("timedelta64[M]")).astype("datetime64[h]")


def datetime_hours(text: str) -> int:
    """Of a date that a person wrote; DataError for what is none."""
    try:
        time = np.datetime64(text)
    except ValueError:
        raise DataError(f"--time {text}: write YYYY-MM-DDTHH") from None
    if np.isnat(time):
        raise DataError(f"--time {text}: write YYYY-MM-DDTHH")
    return int((time.astype("datetime64[h]") - EPOCH).astype(np.int64))
