"""The simulation of a problem by exponax, a program of its own: python -m data_pipelines.equations.simulation
FOLDER

It reads FOLDER/problem.json and writes train.npy, held_out.npy and held_out_fine.npy beside it, float32
[runs, 1 + pairs, *points]. A process of its own, since exponax is a JAX program: whoever prepares a training
run must not start JAX before it is known on which devices (`train.backend = 'cpu:8'` could not have eight any
more). exponax: Koehler et al., arXiv 2411.00180; exponential time differencing of second order, dealiased by
2/3.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.equations.problem import Problem

TOGETHER = 16  # simulations in one call
NUMBERS_FROM = 32  # points on which initial states are drawn, at least: the same ones on every finer grid


def simulate(problem: Problem, runs: int, first: int, finer: int = 1) -> np.ndarray:
    """Solutions, float32 [runs, 1 + pairs, *points]: initial states number `first` on of the seed.

    Args:
      problem: what is simulated.
      runs: how many.
      first: the number of the first initial state; each is drawn by its own number.
      finer: by how much the grid has more points, and the integration more steps.
    """
    import exponax
    import jax
    import jax.numpy as jnp

    points, space = finer * problem.points, problem.space
    step = problem.step / finer
    if problem.equation == "burgers":
        stepper: Any = exponax.stepper.Burgers(space, 1.0, points, step, diffusivity=problem.viscosity)
    else:
        stepper = exponax.stepper.NavierStokesVorticity(
            space, 1.0, points, step, diffusivity=problem.viscosity
        )
    drawn = exponax.ic.RandomTruncatedFourierSeries(space, cutoff=problem.waves, std_one=True)
    advance: Any = exponax.repeat(stepper, finer * problem.steps)
    coarse = min(problem.points, max(NUMBERS_FROM, 4 * problem.waves))

    def one(key: jax.Array) -> jax.Array:
        start = exponax.map_between_resolutions(drawn(coarse, key=key), points)

        def on(state: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            state = advance(state)
            return state, state

        return jnp.concatenate([start[None], jax.lax.scan(on, start, None, length=problem.pairs)[1]])[:, 0]

    numbers = jnp.arange(first, first + runs)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(problem.seed), numbers)
    solve = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=min(TOGETHER, runs)))
    return np.asarray(solve(keys), np.float32)


def main(folder: Path) -> None:
    """Simulates what FOLDER/problem.json says."""
    problem = Problem(**json.loads((folder / "problem.json").read_text("utf-8")))
    held_out, train = problem.held_out, problem.runs
    np.save(folder / "held_out.npy", simulate(problem, held_out, 0))
    np.save(folder / "held_out_fine.npy", simulate(problem, held_out, 0, finer=2))
    np.save(folder / "train.npy", simulate(problem, train, held_out))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
