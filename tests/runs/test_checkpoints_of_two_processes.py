"""Two processes, one checkpoint: both write shards, step over a damaged step, and hear one signal."""

import socket
import subprocess
import sys

import pytest

from pangu_jax.runs import checkpoint_files

PROCESS = """
import os, sys, time
import jax, jax.numpy as jnp, numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.training import stop_agreement
from pangu_jax.training.signals import StopSignals

directory, port, process = sys.argv[1], sys.argv[2], int(sys.argv[3])
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"localhost:{port}", 2, process)
sharding = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), P("data"))
make = lambda step: jax.jit(lambda: {"w": jnp.arange(16.0) + step}, out_shardings={"w": sharding})()
target = {"w": jax.ShapeDtypeStruct((16,), jnp.float32, sharding=sharding)}
with Checkpoints(directory) as checkpoints:
    for step in (1, 2):
        checkpoints.save(step, make(step), {})
    checkpoints.wait()
    if process == 0:
        os.truncate(f"{directory}/2/state/manifest.ocdbt", 5)
    multihost_utils.sync_global_devices("damaged")
    state, manifest = checkpoints.restore(target)
    assert manifest["step"] == 1
    for shard in state["w"].addressable_shards:
        np.testing.assert_array_equal(shard.data, np.arange(16.0)[shard.index] + 1)
    with StopSignals() as signals, stop_agreement.of_run(signals) as agreement:
        for step in range(1, 10000):
            if step == 100 and process == 1:
                os.kill(os.getpid(), 15)
            if agreement.stops_after(step):
                break
            time.sleep(0.001 if process else 0.002)
        assert signals.requested == (process == 1) and 100 <= step < 9999
    multihost_utils.assert_equal(step, "both stop after the same step")
    checkpoints.save(2, make(2), {})
"""


@pytest.mark.prove
def test_two_processes(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", PROCESS, str(tmp_path), str(port)]
    processes = [
        subprocess.Popen([*command, str(process)], stderr=subprocess.PIPE, text=True) for process in (0, 1)
    ]
    try:
        errors = [process.communicate(timeout=240)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    checked = checkpoint_files.verify(tmp_path)
    assert [row["state"] for row in checked["steps"]] == ["sound", "sound"]
    assert checked["set_aside"] == ["2.corrupt"]
