"""The plugin for npu and the kernels of the CPU, built once, and programs that run beside the tests' own JAX,
which is on cpu."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import PLAIN_LOOPS
from tpu_npu_backends.ascend.plugin.build import build
from tpu_npu_backends.cpu_kernels import build as kernels
from tpu_npu_backends.cpu_kernels import library

ROOT = Path(__file__).parents[2]

# Runs a program with platform npu: its text or arguments for Python, and more of the environment.
OnNpu = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def plugin() -> Path:
    """libpjrt_ascend.so; compiled when it is not in the user's cache yet. Skips where there is nothing that
    it could be run on: the extra `ascend` is for Python 3.11."""
    if find_spec("lammps_jax_pjrt_cpu") is None:
        pytest.skip("the CPU plugin on which npu is simulated is not installed (pangu-jax[ascend])")
    return build()


@pytest.fixture(scope="module")
def cpu_kernels() -> None:
    """The kernels of the CPU, built and known to JAX."""
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler: the kernels are optional")
    kernels.build()
    library.register.cache_clear()  # another file's tests may have looked for them in another cache
    assert library.register()


@pytest.fixture(scope="session")
def on_npu(plugin: Path) -> OnNpu:
    """Python in a process of its own, with JAX_PLATFORMS=npu,cpu unless set otherwise."""

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT,
            # The CPU plugin that npu is made of is of a newer XLA than JAX's own.
            env=os.environ
            | {"JAX_PLATFORMS": "npu,cpu", "XLA_FLAGS": os.environ["XLA_FLAGS"].replace(PLAIN_LOOPS, "")}
            | environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
