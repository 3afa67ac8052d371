"""`evaluate_weather`: how good a finished run's forecasts are, beside what they must beat."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import gin

from data_pipelines.fields.field_set import FieldSet
from pangu_jax.apps.science import areas, comparing
from pangu_jax.apps.science.channels import channels
from pangu_jax.apps.science.comparing import CONTROLS, ComparedForecasts, Ensemble
from pangu_jax.apps.science.initial_states import flat
from pangu_jax.apps.science.measuring.forecast_zarr import ForecastZarr
from pangu_jax.apps.science.rolling import Roller
from pangu_jax.errors import UserError
from pangu_jax.recipes import plain_errors
from pangu_jax.runs import opening
from pangu_jax.runs.inference_layout import ANY, Devices
from pangu_jax.workloads.science import ForecastModel

APART, WIDER = 2.0, 4.0  # deviations between means, a ratio of deviations: past them fields are others
REGIONS = ("global", "tropics", "northern-hemisphere", "southern-hemisphere")


class MeasuredWeather(NamedTuple):
    """What was found.

    Attributes:
      step: of the checkpoint.
      lead_hours: that the model steps by.
      grid: of the fields.
      compared: scores, and what was shown of the first window.
    """

    step: int
    lead_hours: int
    grid: Any
    compared: ComparedForecasts


@plain_errors()
@gin.configurable
def evaluate_weather(
    run_dir: str = gin.REQUIRED,
    data: FieldSet | None = None,
    longest_lead: int = 120,
    leads: Sequence[int] | None = None,
    regions: Sequence[str] = REGIONS,
    controls: Sequence[str] = CONTROLS,
    climatology: str = "auto",
    batch_size: int = 8,
    members: int = 1,
    perturbation: float = 0.1,
    perturbation_km: float = 1000.0,
    seed: int = 0,
    forecasts: str | None = None,
    step: int | None = None,
    devices: Devices = ANY,
) -> MeasuredWeather:
    """Score a run's forecasts of states that are held out.

    Args:
      run_dir: the model's run.
      data: the fields, @fields(); their held-out side counts, anomalies are from their training side.
      longest_lead: hours; all of the model's steps up to it are scored.
      leads: hours that are scored instead, multiples of the model's lead.
      regions: names of `areas.REGIONS`; those without a cell on the grid are left out.
      controls: forecasts beside the model's: "persistence", "climatology", "linear map".
      climatology: "mean" of all training states, "day and hour" of the year (61 days, weights falling
        linearly), or "auto": the second where they span a year of a calendar.
      batch_size: forecasts at once.
      members: of an ensemble from perturbed initial states, which is scored beside by CRPS, spread and skill;
        1 for none.
      perturbation: of initial states, as a share of the deviation of a change over the model's lead.
      perturbation_km: over which it is alike.
      seed: decides perturbations.
      forecasts: a Zarr that all forecasts are written to, as WeatherBench 2's tools read them.
      step: the checkpoint; the best or the newest when None.
      devices: where the run is opened.

    Raises:
      UserError, DataError: the run is of another family, its fields are others, or nothing is held out.
    """
    if data is None:
        raise UserError("evaluate_weather.data is not set: give @fields()")
    if batch_size < 1:
        raise UserError(f"evaluate_weather.batch_size {batch_size} must be at least 1")
    run = opening.open_run(run_dir, step, devices, family="science", float32=True)
    workload: Any = run.workload
    _require_same(workload, data)
    if leads is None:
        leads = range(data.lead_hours, longest_lead + 1, data.lead_hours)
        if not leads:
            raise UserError(
                f"evaluate_weather.longest_lead {longest_lead} h: the model steps by {data.lead_hours} h"
            )
    grid = data.grid
    present = areas.present(grid.latitude_H, grid.longitude_W, regions)
    roll = Roller(workload, workload.evaluated(run.variables), run.spread.run)
    written = ForecastZarr(forecasts, grid, data.names, sorted(set(leads))) if forecasts else None
    ensemble = Ensemble(members, perturbation, perturbation_km, seed) if members != 1 else None
    told = (written.add,) if written else ()
    compared = comparing.compare(
        roll, data, leads, present, batch_size, controls, climatology, ensemble, *told
    )
    if written:
        written.finish()
    return MeasuredWeather(run.manifest["step"], data.lead_hours, grid, compared)


def _require_same(workload: ForecastModel, data: FieldSet) -> None:
    """UserError where the model was trained on other fields."""
    own = workload.data
    if said := own.grid.differs(data.grid):
        raise UserError(f"these fields are not on the run's grid: {said}")
    for where in ("upper", "surface"):
        mine, theirs = getattr(own.names, where), getattr(data.names, where)
        if tuple(mine) != tuple(theirs):
            raise UserError(
                f"the run forecasts {', '.join(mine) or 'nothing'} ({where}), and these fields have "
                f"{', '.join(theirs) or 'nothing'}: leave fields.{where} out"
            )
    if own.lead_hours != data.lead_hours:
        raise UserError(
            f"the run steps by {own.lead_hours} h and fields.lead_hours is {data.lead_hours}: leave that out"
        )
    counted = [flat(of.statistics, kind) for kind in ("mean", "std") for of in (own, data)]
    for channel, mean, here, std, std_here in zip(channels(data.grid, data.names), *counted, strict=True):
        if abs(here - mean) > APART * std or not 1 / WIDER <= std_here / std <= WIDER:
            raise UserError(
                f"these fields are of another set: {channel.said(data.grid.level_units)} is {here:.6g} ± "
                f"{std_here:.3g} in them, and the run learnt from {mean:.6g} ± {std:.3g}: it is in other "
                "units, or another variable"
            )
