"""A model's forecasts of held-out windows beside persistence, the climate and a linear map."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.fields.field_set import FieldSet
from data_pipelines.fields.hours import EPOCH
from pangu_jax.apps.science import climatology, linear_map, perturbing
from pangu_jax.apps.science.channels import as_channels, told
from pangu_jax.apps.science.climatology import Climate
from pangu_jax.apps.science.rolling import Roller, State
from pangu_jax.apps.science.scoring import Scorer, WeatherScores
from pangu_jax.errors import UserError

FORECAST, PERSISTENCE, CLIMATE, LINEAR = "forecast", "persistence", "climatology", "linear map"
CONTROLS = (PERSISTENCE, CLIMATE, LINEAR)
LINEAR_BYTES = 2 * 2**30  # of training states in memory, above which there is no linear map
A_YEAR = 365 * 24  # hours of training states from which on a climate tells days of the year apart
OnForecast = Callable[[np.ndarray, int, State], None]  # times [B], lead in hours, states


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Forecasts from perturbed initial states; the first member's is as it is.

    Attributes:
      members: at least two.
      share: of the deviation of a change over the model's lead, that perturbations have.
      length_km: over which they are alike.
      seed: decides them, with the window.
    """

    members: int
    share: float
    length_km: float
    seed: int = 0

    def __post_init__(self) -> None:
        if self.members < 2:
            raise UserError(f"an ensemble of {self.members}: give at least 2 members")
        perturbing.require(self.members, self.share, self.length_km)

    def rolled(self, roll: Roller, data: FieldSet, first: State, before: int) -> Iterator[list[np.ndarray]]:
        """The other members at each step, each [B, C, H, W]; `before` windows came before these."""
        ahead = []
        for number in range(1, self.members):
            moved = [
                perturbing.member(
                    number, (first[0][row], first[1][row]), data.grid, data.names, data.increments,
                    self.share, self.length_km, self.seed + before + row,
                )
                for row in range(len(first[0]))
            ]  # fmt: skip
            upper, surface = (np.stack(parts) for parts in zip(*moved, strict=True))
            ahead.append(roll((upper, surface), data.steps))
        for states in zip(*ahead, strict=True):
            yield [as_channels(*state) for state in states]


class Sample(NamedTuple):
    """The first window's fields at a lead: those that are looked at first.

    Attributes:
      lead: hours.
      time: when the forecast begins.
      places: of the fields among all channels.
      forecast, truth: float32 [C, H, W].
    """

    lead: int
    time: np.datetime64
    places: list[int]
    forecast: np.ndarray
    truth: np.ndarray


class ComparedForecasts(NamedTuple):
    """What came of it.

    Attributes:
      scores: of the model and its controls.
      climate: of what the climatology is a mean.
      samples: of the first window, by lead.
      land: whether maps have coastlines: a simulated atmosphere has no land.
      notices: what was left out, and why.
    """

    scores: WeatherScores
    climate: str
    samples: list[Sample]
    land: bool
    notices: list[str]


def compare(
    roll: Roller,
    data: FieldSet,
    leads: Sequence[int],
    regions: Sequence[str],
    batch_size: int = 8,
    controls: Sequence[str] = CONTROLS,
    climate: str = "auto",
    ensemble: Ensemble | None = None,
    on_forecast: OnForecast = lambda times, lead, state: None,
) -> ComparedForecasts:
    """Forecast held-out windows and score them.

    Args:
      roll: the model.
      data: whose held-out side counts; the lead of the model.
      leads: hours, multiples of the model's.
      regions: names of `areas.REGIONS`.
      batch_size: windows at once.
      controls: names of CONTROLS.
      climate: "mean", "day and hour", or "auto": the second where training states span a year of a calendar.
      ensemble: of perturbed initial states, which is scored beside; None for none.
      on_forecast: told each forecast.

    Raises:
      UserError, DataError: a lead that the model does not reach, a control that there is not, or no window
      is held out.
    """
    leads = sorted(set(leads))
    for name in controls:
        if name not in CONTROLS:
            raise UserError(f"control {name!r} is none of {', '.join(CONTROLS)}")
    if not leads or leads[0] < 1 or any(lead % data.lead_hours for lead in leads):
        raise UserError(
            f"leads of {', '.join(map(str, leads)) or 'no'} h: give multiples of the model's "
            f"{data.lead_hours} h"
        )
    data = dataclasses.replace(data, steps=leads[-1] // data.lead_hours)
    windows = list(_windows(data, batch_size))
    means = _climate(data, leads, climate)
    notices: list[str] = list(data.notices())
    maps, refused = _linear_map(data) if LINEAR in controls else (None, "")
    if refused:
        notices.append(refused)
    kept = [name for name in controls if name != LINEAR or maps]
    scorer = Scorer(data.grid, data.names, [FORECAST, *kept], leads, regions)
    shown = told(scorer.channels, data.grid)
    samples: list[Sample] = []
    windows_before = 0
    for number, read in enumerate(windows):
        times_B, upper, surface = read()
        first = upper[:, 0], surface[:, 0]
        beside = _steps(maps, first, data.steps)
        persisted = as_channels(*first)
        others = ensemble.rolled(roll, data, first, windows_before) if ensemble else None
        windows_before += len(times_B)
        for step, state in enumerate(roll(first, data.steps), start=1):
            linear = next(beside)
            members = next(others) if others else None
            lead = step * data.lead_hours
            if lead not in leads:
                continue
            on_forecast(times_B, lead, state)
            truth = as_channels(upper[:, step], surface[:, step])
            later_B = times_B + np.timedelta64(lead, "h")
            expected = as_channels(*(np.stack(parts) for parts in zip(*map(means.at, later_B), strict=True)))
            forecasts = {FORECAST: as_channels(*state), PERSISTENCE: persisted, CLIMATE: expected}
            if linear is not None:
                forecasts[LINEAR] = as_channels(*linear)
            scorer.add(lead, forecasts, truth, expected)
            if members is not None:
                scorer.add_members(lead, np.stack([forecasts[FORECAST], *members]), truth)
            if number == 0:
                fields = forecasts[FORECAST][0, shown].astype(np.float32), truth[0, shown]
                samples.append(Sample(lead, times_B[0], shown, *fields))
    return ComparedForecasts(scorer.finish(), means.kind, samples, not data.store.simulated, notices)


def _windows(
    data: FieldSet, batch_size: int
) -> Iterator[Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Each reads a batch: times [B], upper air [B, T, ...] and surface of what is held out."""
    for source in data.validation_sources(batch_size).values():
        for step in range(len(source)):

            def read(source: Any = source, step: int = step) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
                batch = source.batch(step)
                counts = batch["weight"] > 0
                times_B = EPOCH + batch["time"][counts].astype("timedelta64[h]")
                return times_B, batch["upper"][counts], batch["surface"][counts]

            yield read


def _climate(data: FieldSet, leads: Sequence[int], kind: str) -> Climate:
    """Of the states that are trained on."""
    if kind not in ("auto", "mean", "day and hour"):
        raise UserError(f"climatology {kind!r}: give 'auto', 'mean' or 'day and hour'")
    store, learnt = data.store, data.sides[0]
    places = np.flatnonzero(store.hours_N <= store.hours_N[learnt[-1]])
    span = int(store.hours_N[places[-1]] - store.hours_N[places[0]])
    if kind == "auto":
        kind = "day and hour" if span >= A_YEAR and not store.simulated else "mean"
    if kind == "mean":
        return climatology.mean(store.read(int(place)) for place in places)
    states = ((store.times_N[place], store.read(int(place))) for place in places)
    valid = (store.times_N[place] + np.timedelta64(lead, "h") for place in data.sides[1] for lead in leads)
    return climatology.by_day_and_hour(states, list(valid))


def _linear_map(data: FieldSet) -> tuple[linear_map.LinearMap | None, str]:
    """The map over the model's lead, and why there is none."""
    store, (learnt, _) = data.store, data.sides
    size = sum(part.nbytes for part in store.read(int(learnt[0])))
    if size * len(learnt) > LINEAR_BYTES:
        return (
            None,
            f"no linear map: {len(learnt)} training states of {size / 2**20:.0f} MiB are too many for one",
        )
    later = [store.place_of[int(store.hours_N[place]) + data.lead_hours] for place in learnt]
    deviations = data.statistics.upper_std_LxU, data.statistics.surface_std_S
    try:
        # A simulation without fields of land is the same all around: its map by wave number is far stronger.
        zonal = store.simulated and data.grid.periodic and not data.names.constants
        return linear_map.fit(store.read, learnt.tolist(), later, deviations, data.grid.weights_H, zonal), ""
    except UserError as error:
        return None, f"no linear map: {error}"


def _steps(maps: linear_map.LinearMap | None, state: State, count: int) -> Iterator[State | None]:
    for _ in range(count):
        if maps is not None:
            state = maps.step(*state)
        yield None if maps is None else state
