"""The launchers: their syntax, and that they set what a process reads."""

import ast
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tpu_npu_backends import processes
from tpu_npu_backends.roll_call import ProcessPlacement

LAUNCH = Path(__file__).parents[1] / "launch"
STANDINS = {
    # as for many nodes: still writing when the first line has been read
    "scontrol": "echo node07; sleep 0.2; echo node08",
    "srun": 'shift; echo "$PANGU_COORDINATOR: $*"; echo "$PANGU_LOCAL_DEVICES" >&2',
    "pangu": 'echo "$PANGU_COORDINATOR $PANGU_PROCESS/$PANGU_PROCESSES $PANGU_LOCAL_DEVICES $*"',
    "gcloud": 'printf "%s\\n" "$@"',
}


def ran(tmp_path, script, *arguments, **environment) -> str:
    """What a script prints where the scheduler's commands are stand-ins."""
    for name, line in STANDINS.items():
        command = tmp_path / name
        command.write_text(f"#!/bin/bash\n{line}\n")
        command.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    command = ["bash", LAUNCH / script, *arguments]
    done = subprocess.run(command, env={"PATH": path, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_slurm(tmp_path):
    slurm = {"SLURM_JOB_ID": "123456", "SLURM_JOB_NODELIST": "node[07-08]"}
    assert ran(tmp_path, "slurm.sh", **slurm, SLURM_NTASKS_PER_NODE="8").splitlines()[-1] == "one"
    out = ran(tmp_path, "slurm.sh", "--run_dir", "a run", **slurm)
    coordinator, _, command = out.strip().partition(": ")
    assert command == "pangu train --run_dir a run"
    # As srun sets them for the second of two tasks.
    task = {"SLURM_NTASKS": "2", "SLURM_PROCID": "1"}
    assert processes.place({"PANGU_COORDINATOR": coordinator, **task}) == ProcessPlacement(
        "node07", 23456, 2, 1
    )


def test_one_process_for_each_gpu(tmp_path):
    here = ran(tmp_path, "each_gpu.sh", "2", "pangu", "train", "--run_dir", "a run")
    assert sorted(here.splitlines()) == [f"localhost:20000 {n}/2 {n} train --run_dir a run" for n in (0, 1)]
    nodes = {"PANGU_COORDINATOR": "node07:20000", "PANGU_PROCESSES": "2", "JOB_COMPLETION_INDEX": "1"}
    second = ran(tmp_path, "each_gpu.sh", "2", "pangu", "train", **nodes)
    assert sorted(second.splitlines()) == [f"node07:20000 {2 + n}/4 {n} train" for n in (0, 1)]


def test_a_process_that_fails_ends_those_of_the_other_gpus():
    script = '[ "$PANGU_PROCESS" = 1 ] && exit 3; exec sleep 60'
    command = ["bash", LAUNCH / "each_gpu.sh", "3", "sh", "-c", script]
    assert subprocess.run(command, timeout=30).returncode == 3


def test_sigterm_reaches_every_process_once(tmp_path):
    script = f"trap 'echo saved >> {tmp_path}/$PANGU_PROCESS; exit 0' TERM; touch {tmp_path}/$PANGU_PROCESS; "
    script += "while :; do sleep 0.1; done"
    started = subprocess.Popen(["bash", LAUNCH / "each_gpu.sh", "2", "sh", "-c", script])
    while len(list(tmp_path.iterdir())) < 2:
        time.sleep(0.05)
    started.terminate()
    assert started.wait(30) == 0
    assert [(tmp_path / name).read_text() for name in "01"] == ["saved\n"] * 2


def test_jobset():
    manifest = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (workers,) = manifest["spec"]["replicatedJobs"]
    job = workers["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    found = processes.place({**environment, "JOB_COMPLETION_INDEX": "1"})
    name = manifest["metadata"]["name"]
    assert found.host == f"{name}-{workers['name']}-0-0.{name}"
    assert found.port == container["ports"][0]["containerPort"]
    assert found.count == job["completions"] == job["parallelism"]
    assert job["completionMode"] == "Indexed" and job["backoffLimit"] == 0
    assert container["command"] == ["pangu", "train"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in job["template"]["spec"]["volumes"]}
    assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
    assert set(mounts.values()) == set(volumes)


def test_tpu_pod(tmp_path):
    out = ran(tmp_path, "tpu_pod.sh", "slice", "zone-b", "--run_dir", "a run")
    assert "--worker=all" in out.splitlines() and "--zone=zone-b" in out.splitlines()
    command = out.splitlines()[-1].removeprefix("--command=")
    assert command.strip() == r"PANGU_COORDINATOR=auto pangu train --run_dir a\ run"


def test_ray():
    source = (LAUNCH / "ray_job.py").read_text()
    compile(source, "ray_job.py", "exec")
    texts = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    assert {"PANGU_COORDINATOR", processes.COUNT[0], processes.INDEX[0]} <= texts


@pytest.mark.parametrize("script", sorted(LAUNCH.iterdir()), ids=lambda path: path.name)
def test_what_the_docs_say_is_there(script):
    docs = (LAUNCH.parent / "docs" / "clusters.md").read_text()
    assert f"launch/{script.name}" in docs
    for name in re.findall(r"\b(?:PANGU|SLURM_NTASKS|SLURM_PROCID)\w*", script.read_text()):
        assert f"`{name}" in docs, name
