"""An export in a fresh virtual environment: its runtime alone, without this library."""

import json
import os
import subprocess
import tempfile
import time
import venv
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pangu_jax.apps.vision.exporting import comparing, documents, runtimes
from pangu_jax.apps.vision.exporting.formats import ExportFormat
from pangu_jax.errors import UserError

MINUTES = 20  # that pip may take, and a run


def verified(
    format: ExportFormat,
    folder: Path,
    pixels_BxSxSxC: np.ndarray,
    expected_BxN: np.ndarray,
    classes: bool,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """What an export answers there, and how long it takes to start.

    The environment is thrown away. Only the pinned runtime, NumPy and Pillow are installed, by the caller's
    own pip settings; PYTHONPATH and the like are not handed on.

    Args:
      format: of the export.
      folder: the export.
      pixels_BxSxSxC: uint8.
      expected_BxN: what the model answers.
      classes: whether that is logits.
      tell: what is going on, a line each.
    Returns:
      {"packages", "agrees", "batches": {size: difference}, times, "example": what example.py printed}.
    Raises:
      UserError: the environment cannot be made, or the export does not run in it.
    """
    with tempfile.TemporaryDirectory(prefix="pangu_export_") as made:
        place = Path(made)
        python = place / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
        packages = [*format.pinned(), *(f"{name}=={version(name)}" for name in ("numpy", "pillow"))]
        tell(f"a fresh environment: {' '.join(packages)}")
        venv.create(place / "env", with_pip=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        _run(pip, place, "pip install")
        np.save(place / "pixels.npy", pixels_BxSxSxC)
        Image.fromarray(pixels_BxSxSxC[0].squeeze()).save(place / "picture.png")
        try:
            _run([python, "-I", "-c", "import pangu_jax"], place, "")
        except UserError:
            pass
        else:
            raise UserError("--verify: the fresh environment has pangu_jax: unset what puts it there")
        tell("running there")
        script = [python, "-I", runtimes.__file__, format.name, folder / format.file, place]
        times = json.loads(_run([*script, str(time.time())], place, format.file).splitlines()[-1])
        batches = {
            str(size): comparing.difference(expected_BxN, np.load(place / f"answers_{size}.npy"), classes)
            for size in runtimes.BATCHES
        }
        printed = _run([python, "-I", documents.EXAMPLE, place / "picture.png"], folder, documents.EXAMPLE)
    return {
        "packages": packages,
        "agrees": all(found.agrees for found in batches.values()),
        "batches": {size: found._asdict() for size, found in batches.items()},
        **times,
        "example": printed.strip().splitlines()[:5],
    }


def _run(command: list[Any], folder: Path, what: str) -> str:
    """Standard output; UserError with the last line of what went wrong."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "XLA_", "JAX_"))
    }
    words = [*map(str, command)]
    try:
        done = subprocess.run(
            words, cwd=folder, env=clean, capture_output=True, text=True, timeout=60 * MINUTES, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"--verify: {what}: {error}") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"--verify: {what} failed in the fresh environment: {last[:200]}")
    return done.stdout
