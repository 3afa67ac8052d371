"""Which models step to a lead: the fewest calls over the models that there are, states on the way shared.

Pangu-Weather's hierarchical temporal aggregation (Bi et al., Nature 619, 2023): by models of 24, 6, 3 and 1
hours 56 hours are 24 + 24 + 6 + 1 + 1. Largest first is the fewest where each lead divides the next; for
others, such as 12, 8 and 5 hours, the fewest are counted.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pangu_jax.errors import UserError

LONGEST = 100 * 366 * 24  # hours


class ForecastCall(NamedTuple):
    """One step of one model.

    Attributes:
      lead: hours that it reaches from the initial state.
      step: hours of the model.
    """

    lead: int
    step: int

    @property
    def start(self) -> int:
        """Hours from the initial state that it steps from."""
        return self.lead - self.step


def composition(lead: int, models: Sequence[int]) -> tuple[int, ...]:
    """The fewest steps that make a lead, the largest first.

    Args:
      lead: hours, above 0.
      models: hours that each model steps by.

    Raises:
      UserError: they cannot make it; the nearest that they can are named.
    """
    if not 0 < lead <= LONGEST:
        raise UserError(f"a lead of {lead} h: give 1 h to {LONGEST} h")
    fewest = _fewest(lead, models)
    if fewest[lead] is None:
        near = [hours for hours in (_below(fewest, lead), _above(lead, models)) if hours]
        by = " and ".join(f"{step} h" for step in sorted(set(models), reverse=True))
        raise UserError(
            f"a lead of {lead} h cannot be made of steps of {by}: the nearest that can is "
            f"{' or '.join(f'{hours} h' for hours in near)}; or name a run of a shorter lead as well"
        )
    steps, left = [], lead
    while left:
        steps.append(fewest[left])
        left -= steps[-1]
    return tuple(sorted(steps, reverse=True))


def calls(leads: Sequence[int], models: Sequence[int]) -> list[ForecastCall]:
    """The calls that reach some leads, each by its own fewest, in an order in which they can be made.

    What several leads go through is called once.

    Raises:
      UserError: as `composition`.
    """
    made: dict[int, ForecastCall] = {}
    for lead in sorted(set(leads)):
        reached = 0
        for step in composition(lead, models):
            reached += step
            made.setdefault(reached, ForecastCall(reached, step))
    return [made[lead] for lead in sorted(made)]


def every(hours: int, lead: int, models: Sequence[int]) -> list[int]:
    """The multiples of some hours up to a lead, and the lead itself.

    Raises:
      UserError: the models cannot make one of them.
    """
    if hours < 1:
        raise UserError(f"states every {hours} h: give 1 h or more")
    wanted = sorted({*range(hours, lead + 1, hours), lead})
    for one in wanted:
        composition(one, models)
    return wanted


def said(steps: Sequence[int]) -> str:
    """For people: "24 + 24 + 6 + 1 + 1"; of many "5 x 24 + 6"."""
    if len(steps) <= 6:
        return " + ".join(map(str, steps))
    counts = {step: list(steps).count(step) for step in dict.fromkeys(steps)}
    return " + ".join(f"{count} x {step}" if count > 1 else str(step) for step, count in counts.items())


def _fewest(lead: int, models: Sequence[int]) -> list:
    """For each number of hours up to the lead a step of its fewest calls; None where there is no way."""
    ordered = sorted(set(models), reverse=True)
    count: list[float] = [0] + [float("inf")] * lead
    step: list = [0] + [None] * lead
    for hours in range(1, lead + 1):
        for one in ordered:  # the largest of equals
            if one <= hours and count[hours - one] + 1 < count[hours]:
                count[hours], step[hours] = count[hours - one] + 1, one
    return step


def _below(fewest: list, lead: int) -> int:
    return next((hours for hours in range(lead - 1, 0, -1) if fewest[hours] is not None), 0)


def _above(lead: int, models: Sequence[int]) -> int:
    fewest = _fewest(lead + max(models), models)
    return next(hours for hours in range(lead + 1, len(fewest)) if fewest[hours] is not None)
