"""`burgers` and `navier_stokes` of a recipe: equations whose solutions are simulated.

burgers.viscosity = 0.02
navier_stokes.points = 64
"""

from pathlib import Path

import gin

from data_pipelines import cache
from data_pipelines.equations.problem import Problem
from data_pipelines.equations.solution_set import Solutions


@gin.configurable
def burgers(
    points: int = 128,
    viscosity: float = 0.02,
    lead: float = 0.1,
    step: float = 0.001,
    pairs: int = 1,
    waves: int = 5,
    runs: int = 2048,
    held_out: int = 256,
    seed: int = 0,
    symmetries: bool = True,
    cache_dir: str | None = None,
) -> Solutions:
    """Burgers' equation u_t + (u^2 / 2)_x = viscosity u_xx on a periodic line of length 1.

    Args:
      points: of the grid.
      viscosity: the smaller, the steeper its fronts.
      lead: time from an input to its target.
      step: of the integration.
      pairs: inputs and targets one after the other in a simulation.
      waves: highest wave number of an initial state.
      runs: simulations to learn from.
      held_out: simulations to measure on.
      seed: of initial states.
      symmetries: whether training shows shifted and mirrored copies, which are solutions, too.
      cache_dir: where solutions are kept; the user's cache when None.

    Raises:
      DataError: a value that cannot be.
    """
    problem = Problem("burgers", points, viscosity, lead, step, pairs, waves, runs, held_out, seed)
    return Solutions(problem, symmetries, Path(cache_dir) if cache_dir else cache.default_root())


@gin.configurable
def navier_stokes(
    points: int = 64,
    viscosity: float = 1e-4,
    lead: float = 1.0,
    step: float = 0.025,
    pairs: int = 9,
    waves: int = 4,
    runs: int = 128,
    held_out: int = 16,
    seed: int = 0,
    symmetries: bool = True,
    cache_dir: str | None = None,
) -> Solutions:
    """Vorticity of a decaying incompressible flow in two dimensions on a periodic square of side 1.

    Args:
      points: of the grid along both axes.
      viscosity: the smaller, the finer its filaments.
      lead: time from an input to its target.
      step: of the integration.
      pairs: inputs and targets one after the other in a simulation.
      waves: highest wave number of an initial state.
      runs: simulations to learn from.
      held_out: simulations to measure on.
      seed: of initial states.
      symmetries: whether training shows shifted, turned and mirrored copies, which are solutions, too.
      cache_dir: where solutions are kept; the user's cache when None.

    Raises:
      DataError: a value that cannot be.
    """
    problem = Problem("navier_stokes", points, viscosity, lead, step, pairs, waves, runs, held_out, seed)
    return Solutions(problem, symmetries, Path(cache_dir) if cache_dir else cache.default_root())
