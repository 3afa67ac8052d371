"""Forecasts of the atmosphere by finished runs."""

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pangu_jax.errors import UserError
from pangu_jax.result import Result
from pangu_jax.verbs import device_flags, outputs
from pangu_jax.verbs.verb import Verb

if TYPE_CHECKING:
    from pangu_jax.apps.science.forecasting import ForecastMade


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run_dir", action="append", required=True, metavar="DIR",
        help="a run that forecasts; may be repeated, for runs of other leads",
    )  # fmt: skip
    parser.add_argument(
        "--init",
        required=True,
        metavar="FILE",
        help="the initial state: a store of fields, or a NetCDF, GRIB or Zarr file",
    )
    parser.add_argument(
        "--time",
        metavar="TIME",
        help="of the initial state, as 2020-01-31T12; the last of --init unless given",
    )
    parser.add_argument("--member", type=int, metavar="N", help="of --init, where that is of an ensemble")
    parser.add_argument("--lead", required=True, metavar="HOURS", help="how far, as 120h or 5d")
    parser.add_argument(
        "--every",
        metavar="HOURS",
        help="keep states at all multiples as well; else those that are gone through",
    )
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="the forecast, F.nc or F.zarr, with CF metadata"
    )
    parser.add_argument(
        "--members", type=int, default=1, metavar="N", help="of an ensemble of perturbed initial states; 1"
    )
    parser.add_argument(
        "--perturbation", type=float, default=0.1, metavar="SHARE",
        help="size of the noise, of the deviation of a change over the shortest lead; 0.1",
    )  # fmt: skip
    parser.add_argument(
        "--perturbation_km",
        type=float,
        default=1000,
        metavar="KM",
        help="over which noise is correlated; 1000",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise; 0")
    parser.add_argument("--html", metavar="FILE", help="write a page of maps there")


def _forecast(flags: argparse.Namespace) -> Result:
    lead = _hours("--lead", flags.lead)
    every = None if flags.every is None else _hours("--every", flags.every)
    if flags.html:
        outputs.require_writable(flags.html, "--html")
    from pangu_jax.apps.science import forecast_files, perturbing
    from pangu_jax.apps.science.forecaster import Forecaster
    from pangu_jax.apps.science.forecasting import EnsembleAsked, forecast
    from pangu_jax.runs import opening

    ensemble = EnsembleAsked(flags.members, flags.perturbation, flags.perturbation_km, flags.seed)
    perturbing.require(ensemble.members, ensemble.perturbation, ensemble.length_km)
    for path in forecast_files.of_members(Path(flags.out), flags.members):
        forecast_files.require_new(path)
    devices = device_flags.devices(flags)
    runs = [opening.open_run(run_dir, None, devices, family="science") for run_dir in flags.run_dir]
    model = Forecaster(runs)
    made = forecast(
        model,
        flags.init,
        lead,
        flags.out,
        time=flags.time,
        member=flags.member,
        every=every,
        ensemble=ensemble,
        say=_say,
    )
    value = _value(made, flags.out, ensemble.members)
    lines = _lines(made, value)
    if flags.html:
        from pangu_jax.apps.science import forecast_page
        from pangu_jax.runs.run_directory import write_atomically

        write_atomically(Path(flags.html), forecast_page.render(made, lines))
        lines.append(flags.html)
    return Result(value, "\n".join(lines))


def _value(made: "ForecastMade", out: str, members: int) -> dict[str, Any]:
    return {
        "out": out,
        "init_time": str(made.begin),
        "leads": made.leads,
        "models": list(made.models),
        "steps": list(made.steps),
        "calls": len(made.calls),
        "members": members,
        "missing": made.missing,
    }


def _lines(made: "ForecastMade", value: dict[str, Any]) -> list[str]:
    from pangu_jax.apps.science import stepping

    last, count = made.leads[-1], len(made.calls)
    members = f", {value['members']} members" if value["members"] > 1 else ""
    kept = f"states at 0 h and {len(made.leads)} lead{'s'[: len(made.leads) > 1]}"
    simulated = " (simulated time)" if made.simulated else ""
    lines = [
        f"{value['out']}: {last} h from {made.begin}{simulated}, {kept}{members}",
        f"{last} h = {stepping.said(made.steps)}: {len(made.steps)} call{'s'[: len(made.steps) > 1]}, "
        f"and {count} for all leads{' of each member' if members else ''}",
    ]
    if made.missing:
        lines.append(
            f"{made.missing} values of the initial state are missing: the model reads them as their mean"
        )
    return lines


def _hours(flag: str, said: str) -> int:
    found = re.fullmatch(r"(\d{1,6}) ?(h|d|)", said.strip())
    if not found or not int(found[1]):
        raise UserError(f"{flag} {said}: write whole hours or days, as 120h or 5d")
    return int(found[1]) * (24 if found[2] == "d" else 1)


def _say(done: int, count: int) -> None:
    print(f"\r{done} of {count} calls", file=sys.stderr, end="\n" if done == count else "", flush=True)


VERBS: dict[str, Verb] = {
    "forecast": Verb(
        "forecast the atmosphere by runs of one or several leads",
        "pangu forecast --run_dir runs/24h --run_dir runs/6h --init era5.zarr --lead 120h --out forecast.nc",
        _flags,
        _forecast,
        opens_run=True,
    ),
}
