"""Atmospheres that are simulated when a recipe asks for them: fields.path = 'simulated:held_suarez'."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path

from data_pipelines.errors import DataError
from data_pipelines.fields import held_suarez

SIMULATIONS = {"held_suarez": held_suarez}
FORM = 1  # of a store; another number simulates anew
SAID_EVERY = 10.0  # seconds


def prepared(name: str, root: Path, report: Callable[[str], None] | None = None) -> Path:
    """The store of a simulation in `root`, which runs first where it is not there.

    Args:
      name: "held_suarez".
      root: where simulations are kept.
      report: told how far it is; standard error when None.

    Raises:
      DataError: there is no such simulation, its package is not installed, or it fails.
    """
    if name not in SIMULATIONS:
        raise DataError(
            f"fields.path = 'simulated:{name}': there is simulated:{', simulated:'.join(SIMULATIONS)}"
        )
    if util.find_spec("dinosaur") is None:
        raise DataError(
            "dinosaur, which simulates the atmosphere, is not installed: pip install 'pangu-jax[science]'"
        )
    of = SIMULATIONS[name]
    said = [FORM, metadata.version("dinosaur"), of.SPIN_UP, of.DAYS, of.EVERY, of.SEGMENT]
    path = root / f"{name}-{hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]}"
    if not path.exists():
        _run(name, of.__name__, path, report or _on_standard_error())
    return path


def _run(name: str, module: str, path: Path, report: Callable[[str], None]) -> None:
    # On the CPU, as one device: whatever the training run that waits for it has.
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    environment |= {"JAX_PLATFORMS": "cpu"}
    begun = time.monotonic()
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [sys.executable, "-m", module, str(path)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        first = None
        for line in process.stdout or ():
            day, days = map(int, line.split())
            first = first or (
                day,
                time.monotonic(),
            )  # the first segment compiles: it tells nothing of the others
            if day > first[0]:
                left = (time.monotonic() - first[1]) / (day - first[0]) * (days - day)
                report(f"simulating {name}: day {day} of {days}, about {round(left)} s left")
        if process.wait():
            errors.seek(0)
            last = errors.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise DataError(f"the simulation of {name} ended with {process.returncode}: {last}")
    report(f"simulated {name} in {round(time.monotonic() - begun)} s: {path}")


def _on_standard_error() -> Callable[[str], None]:
    """Lines on standard error, one in so many seconds."""
    spoken = [0.0]

    def report(line: str) -> None:
        if time.monotonic() - spoken[0] >= SAID_EVERY or line.startswith("simulated"):
            spoken[0] = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    return report
