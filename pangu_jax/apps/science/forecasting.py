"""`pangu forecast`: from a state of the atmosphere by finished runs to states at leads, in a file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import pangu_jax
from data_pipelines.fields.grid import Grid
from pangu_jax.apps.science import forecast_files, initial_states, perturbing, stepping
from pangu_jax.apps.science.channels import Channel, as_channels, channels, told
from pangu_jax.apps.science.forecast_files import ForecastFiles
from pangu_jax.apps.science.forecaster import Forecaster
from pangu_jax.apps.science.rolling import State
from pangu_jax.apps.science.stepping import ForecastCall

TOGETHER = 2**28  # bytes of states that go through a model together, at most
SHOWN = 4  # leads of which maps are kept, evenly, the first and the last among them


class EnsembleAsked(NamedTuple):
    """How initial states differ.

    Attributes:
      members: the first is not perturbed.
      perturbation: share of the deviation of a change.
      length_km: over which noise is correlated.
      seed: decides it.
    """

    members: int = 1
    perturbation: float = 0.1
    length_km: float = 1000.0
    seed: int = 0


ONE = EnsembleAsked()


class ShownField(NamedTuple):
    """A field at some leads, for maps.

    Attributes:
      channel: which it is.
      mean_TxHxW: over members, float64.
      spread_TxHxW: their deviation (of M - 1); None of a single member.
    """

    channel: Channel
    mean_TxHxW: np.ndarray
    spread_TxHxW: np.ndarray | None


class ForecastMade(NamedTuple):
    """What was forecast.

    Attributes:
      begin: datetime64[h] of the initial state.
      simulated: whether that is of a simulation's own time.
      missing: values of the initial state that were missing.
      grid: of the states.
      models: hours that each run steps by.
      calls: that were made, of each member.
      steps: of the last lead, the largest first.
      shown_leads: hours of the maps.
      fields: of the maps.
    """

    begin: np.datetime64
    simulated: bool
    missing: int
    grid: Grid
    models: tuple[int, ...]
    calls: list[ForecastCall]
    steps: tuple[int, ...]
    shown_leads: list[int]
    fields: list[ShownField]

    @property
    def leads(self) -> list[int]:
        """Hours of the states that are kept, besides the initial one."""
        return [call.lead for call in self.calls]


def forecast(
    model: Forecaster,
    init: str | Path,
    lead: int,
    out: str | Path,
    *,
    time: str | None = None,
    member: int | None = None,
    every: int | None = None,
    ensemble: EnsembleAsked = ONE,
    say: Callable[[int, int], None] = lambda done, count: None,
) -> ForecastMade:
    """Forecast, and write states at all leads that are gone through.

    Args:
      model: of finished runs; it can be used again.
      init: the file with the initial state.
      lead: hours of the last state.
      out: the file to be written, .nc or .zarr.
      time: of the initial state; the last of `init` when None.
      member: of `init` where that is of an ensemble.
      every: hours; states at all multiples are made as well, each by its own fewest calls.
      ensemble: how many initial states, and how they differ.
      say: called with how many calls are done, and of how many.

    Raises:
      UserError, DataError: see `stepping`, `initial_states` and `forecast_files`.
    """
    perturbing.require(ensemble.members, ensemble.perturbation, ensemble.length_km)
    for path in forecast_files.of_members(Path(out), ensemble.members):
        forecast_files.require_new(path)
    steps = stepping.composition(lead, model.models)
    wanted = [lead] if every is None else stepping.every(every, lead, model.models)
    calls = stepping.calls(wanted, model.models)
    start = initial_states.read(init, time, model.grid, model.names, model.statistics, member)
    initial = start.upper_LxHxWxU, start.surface_HxWxS
    together = max(1, min(ensemble.members, TOGETHER // sum(part.nbytes for part in initial)))
    leads = [0, *(call.lead for call in calls)]
    shown = _Shown(model, leads)
    about = {
        "title": f"forecast from {start.time} to {lead} h",
        "source": f"pangu_jax {pangu_jax.__version__}: {model.said}",
        "comment": f"{lead} h are made of steps of {stepping.said(steps)} h",
    }
    if ensemble.members > 1:
        about["comment"] += (
            f"; {ensemble.members} members, all but the first with noise of {ensemble.perturbation:g} "
            f"of the deviation of a change over {model.change_hours} h, correlated over "
            f"{ensemble.length_km:g} km, seed {ensemble.seed}"
        )
    done, count = 0, len(calls) * -(-ensemble.members // together)
    with ForecastFiles(
        Path(out), ensemble.members, about, grid=model.grid, names=model.names, begin=start.time, leads=leads,
        simulated=start.simulated,
    ) as file:  # fmt: skip
        for first in range(0, ensemble.members, together):
            state = _members(range(first, min(first + together, ensemble.members)), initial, model, ensemble)
            real = len(state[0])
            file.put(0, first, state)
            shown.add(0, state)
            for place, (hours, made) in enumerate(model(_filled(state, together), calls), start=1):
                made = made[0][:real], made[1][:real]
                file.put(place, first, made)
                shown.add(hours, made)
                done += 1
                say(done, count)
    return ForecastMade(
        start.time,
        start.simulated,
        start.missing,
        model.grid,
        model.models,
        calls,
        steps,
        shown.leads,
        shown.fields(),
    )


def _members(numbers: range, initial: State, model: Forecaster, ensemble: EnsembleAsked) -> State:
    made = [
        perturbing.member(
            number, initial, model.grid, model.names, model.change, ensemble.perturbation, ensemble.length_km,
            ensemble.seed,
        )
        for number in numbers
    ]  # fmt: skip
    return np.stack([upper for upper, _ in made]), np.stack([surface for _, surface in made])


def _filled(state: State, size: int) -> State:
    """With the last member again and again: one program for all."""
    upper, surface = (np.concatenate([part, np.repeat(part[-1:], size - len(part), 0)]) for part in state)
    return upper, surface


class _Shown:
    """Sums over members of the fields that are looked at first, at a few leads."""

    def __init__(self, model: Forecaster, leads: Sequence[int]):
        chosen = np.unique(np.linspace(0, len(leads) - 1, min(SHOWN, len(leads))).round().astype(int))
        self.leads = [leads[place] for place in chosen]
        every = channels(model.grid, model.names)
        self._places = told(every, model.grid)
        self._channels, self._count = [every[place] for place in self._places], 0
        shape = (len(self._places), len(self.leads), *model.grid.shape[1:])
        self._first, self._shift, self._second = np.zeros(shape), np.zeros(shape), np.zeros(shape)

    def add(self, hours: int, state: State) -> None:
        """Count some members at a lead."""
        if hours not in self.leads:
            return
        at = self.leads.index(hours)
        fields_CxBxHxW = as_channels(*state)[:, self._places].swapaxes(0, 1).astype(np.float64)
        if not self._count:
            self._shift[:, at] = fields_CxBxHxW[:, 0]  # the first member: deviations from it lose no digits
        self._count += len(state[0]) if hours == self.leads[-1] else 0
        moved = fields_CxBxHxW - self._shift[:, at, None]
        self._first[:, at] += moved.sum(1)
        self._second[:, at] += np.square(moved).sum(1)

    def fields(self) -> list[ShownField]:
        """What came of it."""
        mean = self._first / self._count
        spread = np.sqrt(
            np.maximum(self._second - self._count * np.square(mean), 0) / max(self._count - 1, 1)
        )
        return [
            ShownField(channel, self._shift[at] + mean[at], spread[at] if self._count > 1 else None)
            for at, channel in enumerate(self._channels)
        ]
