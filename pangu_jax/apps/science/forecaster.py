"""Models of several leads as one: states go from lead to lead by the calls that are planned."""

from collections.abc import Iterator, Sequence

import numpy as np

from data_pipelines.fields.statistics import Statistics
from pangu_jax.apps.science.initial_states import flat
from pangu_jax.apps.science.rolling import Roller, State
from pangu_jax.apps.science.stepping import ForecastCall
from pangu_jax.errors import UserError
from pangu_jax.runs.opening import OpenedRun
from pangu_jax.workloads.science import ForecastModel

APART, WIDER = (
    0.5,
    2.0,
)  # deviations between means, and a ratio of deviations, that are of the same atmosphere


class Forecaster:
    """Finished runs of the family `science` that step by different leads.

    Args:
      runs: at least one.

    Raises:
      UserError: two have the same lead, or they differ in grid, variables or what they measure them in.

    Attributes:
      models: hours that each steps by, the longest first.
      grid: of states.
      names: of their variables.
      statistics: of states, as the run of the longest lead has seen them.
      change: of the change over `change_hours`, the shortest lead.
      said: which runs they are, for what is written.
    """

    def __init__(self, runs: Sequence[OpenedRun]):
        found: dict[int, tuple[OpenedRun, ForecastModel]] = {}
        for run in runs:
            workload = run.workload
            if not isinstance(workload, ForecastModel):
                raise UserError(f"{run.directory.path} forecasts no states of the atmosphere")
            lead = workload.data.lead_hours
            if lead in found:
                raise UserError(
                    f"{found[lead][0].directory.path} and {run.directory.path} both step by {lead} h: "
                    "name one"
                )
            found[lead] = run, workload
        self.models = tuple(sorted(found, reverse=True))
        (first, model), *others = (found[lead] for lead in self.models)
        for other, workload in others:
            _require_alike(first, model, other, workload)
        self.grid, self.names, self.statistics = model.data.grid, model.data.names, model.data.statistics
        self.said = ", ".join(
            f"{run.directory.path.resolve().name} at step {run.manifest['step']}" for run, _ in found.values()
        )
        self.change_hours = self.models[-1]
        self.change: Statistics = found[self.change_hours][1].data.increments
        self._steps = {
            lead: Roller(workload, workload.evaluated(run.variables), run.spread.run)
            for lead, (run, workload) in found.items()
        }

    def __call__(self, state: State, calls: Sequence[ForecastCall]) -> Iterator[tuple[int, State]]:
        """The state that each call gives, and its lead, in their order.

        Args:
          state: upper [B, L, H, W, U] and surface [B, H, W, S], physical units.
          calls: by `stepping.calls`.

        Raises:
          UserError: a forecast is no number any more.
        """
        last_use = {call.start: at for at, call in enumerate(calls)}
        kept = {0: state}
        for at, call in enumerate(calls):
            made = next(self._steps[call.step](kept[call.start], 1))
            if not all(np.isfinite(part).all() for part in made):
                raise UserError(
                    f"the forecast is no number any more at {call.lead} h, by a step of {call.step} h: "
                    "the run of that lead has not learnt enough, or the state is unlike what it knows"
                )
            kept[call.lead] = made
            yield call.lead, made
            for lead in [lead for lead in kept if last_use.get(lead, -1) <= at]:
                del kept[lead]


def _require_alike(first: OpenedRun, model: ForecastModel, other: OpenedRun, workload: ForecastModel) -> None:
    mine, theirs = model.data, workload.data
    where = f"{other.directory.path} does not go with {first.directory.path}"
    if differs := mine.grid.differs(theirs.grid):
        raise UserError(f"{where}: it has {differs}")
    for kind in ("upper", "surface", "constants"):
        wanted, own = getattr(mine.names, kind), getattr(theirs.names, kind)
        if tuple(wanted) != tuple(own):
            raise UserError(
                f"{where}: its {kind} are {', '.join(own) or 'none'}, where {', '.join(wanted) or 'none'} "
                "are needed, in that order"
            )
    mean, other_mean, std, other_std = (
        flat(one.statistics, kind) for kind in ("mean", "std") for one in (mine, theirs)
    )
    ratio = np.maximum(std / other_std, other_std / std)
    if (np.abs(mean - other_mean) > APART * std).any() or (ratio > WIDER).any():
        raise UserError(f"{where}: its statistics are of another set of fields; train both on the same store")
    if not np.allclose(mine.constants_HxWxK, theirs.constants_HxWxK, rtol=1e-4, atol=1e-4, equal_nan=True):
        raise UserError(f"{where}: its constants ({', '.join(mine.names.constants)}) have other values")
