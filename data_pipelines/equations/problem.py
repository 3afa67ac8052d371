"""A problem: an equation, the grid and the times of its solutions, and how many there are."""

import math
from dataclasses import dataclass
from typing import Literal

from data_pipelines.errors import DataError

Name = Literal["burgers", "navier_stokes"]
SPACE: dict[str, int] = {"burgers": 1, "navier_stokes": 2}  # dimensions


@dataclass(frozen=True)
class Problem:
    """What is simulated; the domain has length 1 and is periodic.

    Attributes:
      equation: "burgers" (1-D), or "navier_stokes" (2-D, of the vorticity).
      points: of the grid along each axis; what is held out is also simulated on twice as many.
      viscosity: of the equation.
      lead: time from an input to its target.
      step: of the integration; half of it on the finer grid.
      pairs: inputs and targets one after the other in each simulation.
      waves: highest wave number of an initial state, whose deviation is 1.
      runs: simulations that are learnt from.
      held_out: simulations that are held out.
      seed: of initial states.
    """

    equation: Name
    points: int
    viscosity: float
    lead: float
    step: float
    pairs: int
    waves: int
    runs: int
    held_out: int
    seed: int

    def __post_init__(self):
        where = self.equation
        if self.equation not in SPACE:
            raise DataError(f"equation {self.equation!r} is none of {', '.join(SPACE)}")
        for name in ("points", "pairs", "waves", "runs", "held_out"):
            if getattr(self, name) < 1:
                raise DataError(f"{where}.{name} = {getattr(self, name)} must be at least 1")
        for name in ("viscosity", "lead", "step"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise DataError(f"{where}.{name} = {getattr(self, name)} must be above 0")
        if 2 * self.waves >= self.points:
            raise DataError(
                f"{where}.points = {self.points} cannot show {self.waves} waves: give at least "
                f"{2 * self.waves + 1}"
            )
        if not math.isclose(self.steps * self.step, self.lead, rel_tol=1e-6):
            raise DataError(f"{where}.lead = {self.lead} is no multiple of {where}.step = {self.step}")

    @property
    def space(self) -> int:
        """Dimensions."""
        return SPACE[self.equation]

    @property
    def steps(self) -> int:
        """Of integration in a lead."""
        return max(1, round(self.lead / self.step))
