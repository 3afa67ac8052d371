"""The memory that a step frees stays with the process, so that the next step has no page faults."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, statistics, sys
from tpu_npu_backends import cpu
cpu.one_arena() if sys.argv[1] == "keep" else None
import polars  # starts threads
if sys.argv[1] == "keep" and not cpu.keep_freed_memory():
    print("unsupported"); sys.exit()
import jax, jax.numpy as jnp

@jax.jit
def step(x):  # 64 MiB of working memory, 16384 pages; up to 32 MiB the C library keeps anyway
    return jnp.outer(x, x) @ jnp.stack([x, x], axis=1)

x, faults = jnp.ones(4096), []
for _ in range(40):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step(x).block_until_ready()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(round(statistics.median(faults[20:])))  # settled: the first ten steps may each take new memory
"""


def test_no_page_faults_from_step_to_step():
    faults = {}
    for mode in ("keep", "return"):
        command = [sys.executable, "-c", PROGRAM, mode]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        if out == "unsupported":
            pytest.skip("this C library is not the GNU one")
        faults[mode] = int(out)
    assert faults["keep"] < 100 < 2000 < faults["return"], faults
