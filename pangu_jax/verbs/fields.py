"""Stores of fields: built from files, and looked at."""

import argparse
from pathlib import Path
from typing import Any

from pangu_jax.errors import UserError
from pangu_jax.result import Result
from pangu_jax.verbs.verb import Verb

_NEEDED = ("xarray", "zarr", "netCDF4", "eccodes", "cftime", "pint")


def _choice_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--variables",
        nargs="+",
        default=(),
        metavar="NAME",
        help="those to keep, in this order: NAME, NAME=SOURCE, NAME@HPA=FILE:SOURCE; all that are known",
    )
    parser.add_argument(
        "--levels", nargs="+", type=float, default=(), metavar="HPA", help="those to keep; all unless given"
    )
    parser.add_argument(
        "--units", nargs="+", default=(), metavar="NAME=UNITS", help="of variables whose file says none"
    )
    parser.add_argument(
        "--time_units", default="", metavar="UNITS", help="of times that say none: 'hours since DATE'"
    )
    parser.add_argument(
        "--time", default="", metavar="DATE", help="of files that have no time: YYYY-MM-DDTHH"
    )
    parser.add_argument("--member", type=int, metavar="N", help="of an ensemble")
    parser.add_argument(
        "--own_calendar", action="store_true", help="take times of another calendar as a simulation's own"
    )
    parser.add_argument("--common_times", action="store_true", help="keep the times that all variables have")
    parser.add_argument(
        "--accumulated_hours", type=float, default=0.0, metavar="N", help="over which sums (tp) were taken"
    )
    parser.add_argument(
        "--keep_missing", action="store_true", help="keep states without any value, as missing"
    )


def _choices(flags: argparse.Namespace) -> Any:
    from data_pipelines.fields.reading.choices import FieldChoices

    units = []
    for text in flags.units:
        name, _, unit = text.partition("=")
        if not name or not unit:
            raise UserError(f"--units {text}: write NAME=UNITS, as u=m/s")
        units.append((name, unit))
    return FieldChoices(
        tuple(flags.variables),
        tuple(flags.levels),
        tuple(units),
        flags.time_units,
        flags.time,
        flags.member,
        flags.own_calendar,
        flags.common_times,
        flags.accumulated_hours,
        flags.keep_missing,
    )


def _build_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        action="extend",
        metavar="FILE",
        help="NetCDF, GRIB and Zarr: files, globs, or folders of them",
    )
    parser.add_argument(
        "--output", required=True, metavar="STORE", help="where the store goes; one that was stopped resumes"
    )
    _choice_flags(parser)
    parser.add_argument("--workers", type=int, metavar="N", help="processes; one per CPU unless given")
    parser.add_argument("--ray_address", metavar="HOST:PORT", help="use the Ray cluster whose head this is")


def _build(flags: argparse.Namespace) -> Result:
    _require_extra()
    from data_pipelines.fields.reading.build import CARD, build
    from data_pipelines.fields.reading.card import describe

    store = build(flags.input, flags.output, _choices(flags), flags.workers, flags.ray_address)
    text = "\n".join([*describe(store), "", f"{flags.output}/{CARD}"])
    return Result(_found(store), text)


def _inspect_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="STORE_OR_FILE", help="a store, or a file that one is to be built of")
    _choice_flags(parser)


def _inspect(flags: argparse.Namespace) -> Result:
    _require_extra()
    from data_pipelines.fields.reading.inspecting import inspect, is_store

    path = Path(flags.path)
    if not is_store(path):
        rows = inspect(path, _choices(flags))
        width = max((len(row["source"]) for row in rows), default=0)
        lines = [f"{row['source']:<{width}}  {row['becomes'] or '-':<12}{row['about']}" for row in rows]
        return Result(rows, "\n".join(lines))
    from data_pipelines.fields.reading.build import CARD
    from data_pipelines.fields.reading.card import describe
    from data_pipelines.fields.store import FieldStore

    store = FieldStore.open(path)
    card = path / CARD
    text = card.read_text("utf-8") if card.is_file() else "\n".join(describe(store))
    return Result(_found(store), text)


def _found(store: Any) -> dict[str, Any]:
    import dataclasses

    return {
        "grid": store.grid.to_json(),
        "names": dataclasses.asdict(store.names),
        "times": len(store),
        "first": str(store.times_N[0]),
        "last": str(store.times_N[-1]),
        "step_hours": store.step_hours,
        "statistics": store.statistics.to_json(),
    }


def _require_extra() -> None:
    import importlib.util

    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"fields need {', '.join(missing)}: pip install 'pangu-jax[science]'")


VERBS: dict[str, Verb] = {
    "fields build": Verb(
        "make a store of fields from NetCDF, GRIB and Zarr files, or resume one that was stopped",
        "pangu fields build --input era5/*.nc --output era5.zarr --levels 850 500 --workers 8",
        _build_flags,
        _build,
    ),
    "fields inspect": Verb(
        "show what a store holds, or what of a file would go into one",
        "pangu fields inspect era5.zarr",
        _inspect_flags,
        _inspect,
    ),
}
