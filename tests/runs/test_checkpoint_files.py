"""`inspect`, `verify` and their tables work where there is no device and no JAX."""

import json
import re
import subprocess
import sys

import jax.numpy as jnp
import pytest

from pangu_jax.errors import UserError
from pangu_jax.runs import checkpoint_files
from pangu_jax.runs.checkpoint_table import render
from pangu_jax.runs.checkpoints import Checkpoints

LOOK = """
import sys, json
from pangu_jax.runs.checkpoint_files import inspect, verify
from pangu_jax.runs.checkpoint_table import render
print(json.dumps([inspect(sys.argv[1]), verify(sys.argv[1])]))
assert not {"jax", "orbax", "tensorstore", "tensorflow"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory with steps 1 and 2 of a state of 12 + 12 + 1 numbers."""
    run = tmp_path_factory.mktemp("run")
    params = {"encoder": {"w": jnp.ones((3, 4), jnp.bfloat16)}}
    state = {"params": params, "opt_state": {"mu": jnp.ones((3, 4))}, "step": jnp.int32(1)}
    recipe = "# [hardware] 2 cores\n" + "".join(f"a.b{n} = {n}\n" for n in range(20))
    with Checkpoints(run / "checkpoints") as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state, {"recipe": recipe, "fingerprint": {"vocabulary": "f" * 64}})
    return run


def test_without_jax(run):
    done = subprocess.run([sys.executable, "-c", LOOK, str(run)], capture_output=True, text=True, check=True)
    inspected, verified = json.loads(done.stdout)
    assert inspected["parameters"] == 12 and inspected["bytes"] == 12 * 2 + 12 * 4 + 4
    assert verified == checkpoint_files.verify(run)


def test_tables(run):
    table = render(checkpoint_files.inspect(run))
    assert re.search(r"params/encoder/w +3x4 +bfloat16 +24 B", table)
    assert re.search(r"opt_state +1 +12 +48 B", table)
    assert "[hardware]" in table and "f" * 64 in table and "more lines of the recipe" in table
    table = render(checkpoint_files.verify(run))
    assert re.search(r"2 +sound +\d+ +[\d.]+ KB", table)
    assert "a restore takes 2" in table


def test_one_step_by_its_directory(run):
    one = run / "checkpoints" / "1"
    assert checkpoint_files.inspect(one)["step"] == 1
    assert checkpoint_files.verify(one)["usable"] == [1]


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="no such directory"):
        checkpoint_files.inspect(tmp_path / "absent")
    with pytest.raises(UserError, match="no checkpoint in"):
        checkpoint_files.verify(tmp_path)
