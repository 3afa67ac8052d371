"""What a run ran on, for the report and for whoever wants to repeat it."""

import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import psutil

from pangu_jax.parallel.layout import Layout
from pangu_jax.runs.run_directory import write_atomically
from tpu_npu_backends.selection import Backend

LIBRARIES = ("pangu-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "seqio", "numpy")


def describe(backend: Backend, layout: Layout) -> dict[str, Any]:
    """Machine, devices, layout and library versions, as JSON."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cpu_cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "devices": backend.describe(),
        "processes": jax.process_count(),
        "layout": layout.describe(),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
    }


def write(path: Path, backend: Backend, layout: Layout) -> None:
    """`describe`, into environment.json."""
    write_atomically(path, json.dumps(describe(backend, layout), indent=2) + "\n")
