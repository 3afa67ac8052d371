"""Solutions of a problem from the cache; simulated first, and looked at, where they are not there."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path

import numpy as np

from data_pipelines import cache
from data_pipelines.equations.problem import Problem
from data_pipelines.errors import DataError

SIMULATION = "data_pipelines.equations.simulation"
FORM = 1  # of the files; another number makes them anew
ALLOWED = (
    0.05  # relative difference of the two grids beyond which the coarse one does not resolve the solution
)


def solutions(problem: Problem, root: Path) -> cache.Cache:
    """The folder with a problem's solutions; its manifest has `resolution_error`.

    Raises:
      DataError: exponax is not installed, the simulation fails, or its grid or step is too coarse.
    """
    if util.find_spec("exponax") is None:
        raise DataError(
            "exponax, which simulates the equations, is not installed: pip install 'pangu-jax[science]'"
        )
    settings = [FORM, dataclasses.asdict(problem), metadata.version("exponax")]
    name = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
    return cache.open_or_build(root, f"{problem.equation}-{name}", lambda folder: _build(problem, folder))


def _build(problem: Problem, folder: Path) -> dict:
    (folder / "problem.json").write_text(json.dumps(dataclasses.asdict(problem), indent=1) + "\n", "utf-8")
    # On the CPU, as one device: whatever the training run that waits for it has.
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    environment |= {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", SIMULATION, str(folder)]
    ended = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        last = ended.stderr.strip().rpartition("\n")[2]
        raise DataError(f"the simulation of {problem.equation} ended with {ended.returncode}: {last}")
    return {**dataclasses.asdict(problem), "resolution_error": looked_at(problem, folder)}


def looked_at(problem: Problem, folder: Path) -> float:
    """The relative L2 difference between held-out solutions on both grids, at the points that they share.

    A solver on too coarse a grid says nothing: it returns NaN, or a wrong field.

    Raises:
      DataError: a solution is not finite, or the grids differ by more than 5%.
    """
    name = problem.equation
    remedy = f"raise {name}.points or {name}.viscosity, or lower {name}.step"
    found = {part: np.load(folder / f"{part}.npy") for part in ("train", "held_out", "held_out_fine")}
    for part, states in found.items():
        if wrong := int(np.sum(~np.isfinite(states.reshape(len(states), -1)).all(1))):
            raise DataError(
                f"{wrong} of {len(states)} simulations ({part}) of {name} are not finite: its grid or its "
                f"step is too coarse; {remedy}"
            )
    shared = found["held_out_fine"][(..., *(slice(None, None, 2),) * problem.space)]
    error = float(relative_l2(found["held_out"], shared, problem.space).max())
    if error > ALLOWED:
        raise DataError(
            f"solutions of {name} on {problem.points} points differ by {error:.1%} from those on twice as "
            f"many: the grid does not resolve them; {remedy}"
        )
    return error


def relative_l2(found: np.ndarray, truth: np.ndarray, space: int) -> np.ndarray:
    """|found - truth| / |truth| over the last `space` axes, averaged over the first one."""
    over = tuple(range(-space, 0))
    norm = lambda x: np.sqrt(np.sum(np.square(x, dtype=np.float64), over))  # noqa: E731
    return np.mean(norm(found - truth) / np.maximum(norm(truth), 1e-12), axis=0)
