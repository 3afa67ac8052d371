"""Checkpoints when the disk fills up and when the process is killed in the middle of a save. Real ones, in
processes."""

import os
import random
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.runs import checkpoint_files
from pangu_jax.runs.checkpoints import Checkpoints

# Saves 8 MB step after step as fast as it can; every element of a step's arrays is the step. Resumes.
SAVE_FOR_EVER = """
import sys
import jax, jax.numpy as jnp
from pangu_jax.errors import UserError
from pangu_jax.runs.checkpoints import Checkpoints

def state(step):
    return {"params": {name: jnp.full((512, 1024), step, jnp.float32) for name in "abcd"}, "step":
    jnp.int32(step)}

def limit(step):
    pass

%s
checkpoints = Checkpoints(sys.argv[1])
first = 1
if checkpoints.latest() is not None:
    restored, _ = checkpoints.restore(jax.eval_shape(state, 0))
    first = int(restored["step"]) + 1
try:
    for step in range(first, int(sys.argv[2])):
        limit(step)
        checkpoints.save(step, state(step), {"recipe": "x = 1"})
        print(step, flush=True)
    checkpoints.close()
except UserError as error:
    print(error)
"""

WITH_A_FILE_LIMIT_AT_STEP_3 = """
import resource
def limit(step):
    if step == 3:
        checkpoints.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
"""


def start(directory, steps=10**6, patch="") -> subprocess.Popen:
    command = [sys.executable, "-c", SAVE_FOR_EVER % patch, str(directory), str(steps)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def assert_newest_is_whole(directory) -> int:
    target = {"params": {name: jax.ShapeDtypeStruct((512, 1024), jnp.float32) for name in "abcd"}}
    target["step"] = jax.ShapeDtypeStruct((), jnp.int32)
    with Checkpoints(directory, read_only=True) as checkpoints:
        state, manifest = checkpoints.restore(target)
        assert manifest["step"] == checkpoints.latest() == int(state["step"])
    for array in state["params"].values():
        assert np.all(np.asarray(array) == manifest["step"])
    return manifest["step"]


def test_a_write_that_fails_leaves_the_one_before_and_says_so_in_a_line(tmp_path):
    out, err = start(tmp_path, steps=9, patch=WITH_A_FILE_LIMIT_AT_STEP_3).communicate(timeout=120)
    said = f"could not save checkpoint {tmp_path}/3: file too large; that of step 2 is intact; "
    assert out.splitlines()[-1] == said + "free or repair the disk and run the same command again"
    assert "Traceback" not in err
    assert checkpoint_files.committed_steps(tmp_path) == [1, 2]
    assert assert_newest_is_whole(tmp_path) == 2


@pytest.mark.prove
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a 30 MB file system, which needs root")
def test_a_full_disk_leaves_the_one_before(tmp_path):
    """Three checkpoints of 8 MB fit on 30 MB; the fourth does not, since the first goes only after it is
    whole."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", tmp_path], check=True)
    try:
        out, err = start(tmp_path, steps=9).communicate(timeout=120)
        assert "/4: no space left on device; that of step 3 is intact" in out.splitlines()[-1]
        assert "Traceback" not in err
        assert checkpoint_files.verify(tmp_path)["usable"] == [1, 2, 3]
        assert assert_newest_is_whole(tmp_path) == 3
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.prove
def test_killed_while_saving(tmp_path):
    """SIGKILL at random moments: every committed step is whole, and the next process resumes from the
    newest."""
    moments = random.Random(0)
    newest, caught_in_the_act = 0, 0
    for _ in range(12):
        with start(tmp_path) as process:
            first = int(process.stdout.readline())
            assert first == newest + 1
            time.sleep(moments.uniform(0.1, 1.0))
            process.kill()
        checked = checkpoint_files.verify(tmp_path)
        caught_in_the_act += len(checked["unfinished"])
        assert {row["state"] for row in checked["steps"]} == {"sound"}
        newest = assert_newest_is_whole(tmp_path)
    assert caught_in_the_act > 0
