"""Tasks that a launcher started and nobody brought together; and proxies between the processes of a run."""

import logging
import os
import socket
import subprocess
import sys
import types

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpu_npu_backends import launchers, processes, proxies, roll_call
from tpu_npu_backends.errors import BackendError
from tpu_npu_backends.launchers import LaunchedTask

SRUN = {"SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}
BATCH = {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "ENVIRONMENT": "BATCH"}  # the script of sbatch
PROXY = {"http_proxy": "http://proxy:8080"}


@pytest.mark.parametrize(
    ("environment", "task"),
    [
        (SRUN, LaunchedTask("SLURM_STEP_NUM_TASKS", 4, 2)),
        ({**BATCH, **SRUN}, LaunchedTask("SLURM_STEP_NUM_TASKS", 4, 2)),  # srun in the script
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, LaunchedTask("SLURM_NTASKS", 2, 0)),
        (
            {**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
            LaunchedTask("SLURM_STEP_NUM_TASKS", 1, 0),
        ),
        (OPEN_MPI, LaunchedTask("OMPI_COMM_WORLD_SIZE", 2, 1)),
        ({**BATCH, **OPEN_MPI}, LaunchedTask("OMPI_COMM_WORLD_SIZE", 2, 1)),
        ({"PMI_SIZE": "16", "PMI_RANK": "0"}, LaunchedTask("PMI_SIZE", 16, 0)),
        ({"PMI_SIZE": "many", "PMI_RANK": "0"}, None),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, None),
        ({"SLURM_NTASKS": "4"}, None),  # salloc's shell
        ({**SRUN, "SLURM_STEP_ID": "4294967290"}, None),  # the same as a step of its own
        (BATCH, None),
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "9"}, None),  # jobs by themselves
        ({"JOB_COMPLETION_INDEX": "3"}, None),  # Kubernetes says no count, and mostly means the same
        ({}, None),
    ],
)
def test_which_of_a_launchers_tasks_this_is(environment, task):
    assert launchers.task(environment) == task
    alone = environment | {"PANGU_PROCESSES": "1"}
    assert processes.place(alone) is None and processes.expected_count(alone) == 1
    if task is None or task.count == 1:
        assert processes.place(environment) is None
        return
    with pytest.raises(BackendError) as refused:
        processes.expected_count(environment)
    assert str(refused.value).startswith(f"this is task {task.index} of {task.count} ({task.count_name}), ")
    assert "PANGU_COORDINATOR is unset: set it" in str(refused.value) and "\n" not in str(refused.value)
    assert "PANGU_PROCESSES=1" in str(refused.value)


@pytest.mark.parametrize(
    ("environment", "host", "exempt"),
    [
        ({}, "node1", None),
        ({"no_proxy": "localhost"}, "node1", None),
        ({"HTTP_PROXY": "http://proxy:8080", "HTTPS_PROXY": "http://proxy:8080"}, "node1", None),
        ({"grpc_proxy": "", **PROXY}, "node1", None),  # empty: no proxy for gRPC
        (PROXY, "node1", "node1"),
        ({"https_proxy": "http://proxy:8080"}, "10.0.0.7", "10.0.0.7"),
        ({"grpc_proxy": "http://proxy:8080"}, "fe80::1", "fe80::1"),
        ({**PROXY, "no_proxy": "localhost, .corp"}, "::1", "localhost,.corp,::1"),
        ({**PROXY, "no_proxy": "a,Node1"}, "node1", None),
        ({**PROXY, "no_proxy": "node1:1234,[::1]"}, "node1", "node1:1234,[::1],node1"),
        ({**PROXY, "no_proxy": "*"}, "node1", "*,node1"),
        ({**PROXY, "NO_PROXY": "node1"}, "node1", "node1"),
        ({**PROXY, "no_proxy": "node1", "no_grpc_proxy": "other,"}, "node1", "other,node1"),
        ({**PROXY, "no_proxy": "node1", "no_grpc_proxy": ""}, "node1", "node1"),
        ({**PROXY, "no_proxy": "other", "no_grpc_proxy": "node1"}, "node1", None),
    ],
)
def test_a_host_is_exempted_where_grpc_would_not_exempt_it(environment, host, exempt):
    assert proxies.exempting(host, environment) == ({"no_grpc_proxy": exempt} if exempt else {})


NAMES = st.sampled_from([*proxies.PROXIES, *proxies.EXEMPT, "NO_PROXY", "HTTPS_PROXY"])
LISTS = st.lists(st.sampled_from(["a", "*", " node1", "::1", "[::1]", "10.0.0.7:80", ""]), max_size=4)


@given(
    st.dictionaries(NAMES, LISTS.map(",".join), max_size=5),
    st.sampled_from(["node1", "::1", "10.0.0.7", "a"]),
)
def test_afterwards_grpc_reads_the_host_and_all_it_read_before(environment, host):
    changed = environment | proxies.exempting(host, environment)
    read = changed.get("no_grpc_proxy", changed.get("no_proxy", "")).split(",")
    assert not proxies.in_use(changed) or host in map(str.strip, read)
    before = environment.get("no_grpc_proxy", environment.get("no_proxy", "")).split(",")
    assert {entry.strip() for entry in before} - {""} <= set(map(str.strip, read))
    assert {name: changed[name] for name in environment if name != "no_grpc_proxy"} == {
        name: value for name, value in environment.items() if name != "no_grpc_proxy"
    }
    assert proxies.exempting(host, changed) == {}


@pytest.fixture
def started(monkeypatch):
    """Calls of JAX's initialisation that were made; the roll call finds everybody."""
    calls = []

    def initialize(found, seconds, local_devices):
        calls.append(dict(os.environ))
        return types.SimpleNamespace()

    for name in (*proxies.PROXIES, *proxies.EXEMPT):
        monkeypatch.setenv(name, "")  # so that what is set of them in the test is undone
        monkeypatch.delenv(name)
    monkeypatch.setattr(processes, "_initialize", initialize)
    monkeypatch.setattr(roll_call, "answer", lambda place, seconds: [])
    monkeypatch.setattr(processes.Watch, "finish", lambda watch: None)
    yield calls
    jax.config.update("jax_check_proxy_envs", True)


@pytest.mark.parametrize(
    ("coordinator", "environment", "variable", "value"),
    [
        ("[fe80::7]:1234", {**PROXY, "no_proxy": "localhost"}, "no_grpc_proxy", "localhost,fe80::7"),
        ("node1.corp:1234", PROXY, "no_grpc_proxy", "node1.corp"),
        ("auto", PROXY, "grpc_proxy", ""),
        ("auto", {**PROXY, "grpc_proxy": "http://mine:80"}, "no_grpc_proxy", None),  # left as it is
        ("node1:1234", {"HTTPS_PROXY": "http://proxy:80"}, "no_grpc_proxy", None),
    ],
)
def test_it_is_exempt_before_jax_connects_and_a_line_says_so(
    started, caplog, coordinator, environment, variable, value
):
    place = {"PANGU_COORDINATOR": coordinator, "PANGU_PROCESSES": "2", "PANGU_PROCESS": "1"}
    with caplog.at_level(logging.WARNING), processes.join_processes(environment=environment | place):
        pass
    assert [call.get(variable) for call in started] == [value]
    lines = [record.getMessage() for record in caplog.records]
    if value is None:
        assert lines == []
    else:
        (line,) = lines
        assert line.startswith("http_proxy is set: JAX reaches ")
        assert line.endswith("(no_grpc_proxy now has it)" if value else "(grpc_proxy is now empty)")


JOIN = """
from tpu_npu_backends import processes
with processes.join_processes():
    import jax
    jax.config.update("jax_platforms", "cpu")
    print(jax.process_count(), jax.process_index())
"""


@pytest.mark.prove
@pytest.mark.parametrize(("host", "listed"), [("127.0.0.1", None), ("[::1]", "*")], ids=["IPv4", "IPv6"])
def test_two_processes_find_each_other_behind_a_proxy_that_is_not_there(host, listed):
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "PANGU_COORDINATOR": f"{host}:{port}", "PANGU_PROCESSES": "2"}
    environment |= {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    environment |= {"no_proxy": listed} if listed else {}
    command = [sys.executable, "-c", JOIN]
    both = [
        subprocess.Popen(
            command,
            env=environment | {"PANGU_PROCESS": str(index), "PANGU_CONNECT_SECONDS": "20"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for index in range(2)
    ]
    for index, process in enumerate(both):
        out, error = process.communicate(timeout=120)
        assert (process.returncode, out) == (0, f"2 {index}\n"), error
        assert error.count("\n") == 1 and error.startswith("https_proxy is set: JAX reaches "), error
