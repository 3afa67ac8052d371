"""How a process learns of the others: from the environment, and by the roll call."""

import contextlib
import os
import socket
import subprocess
import sys
import threading

import pytest

from tpu_npu_backends import processes, roll_call
from tpu_npu_backends.errors import BackendError
from tpu_npu_backends.roll_call import ProcessPlacement

HERE = {"PANGU_COORDINATOR": "node1:1234"}


@pytest.mark.parametrize(
    ("environment", "expected", "count"),
    [
        ({}, None, 1),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, None, 1),
        ({"PANGU_PROCESSES": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "3"}, None, 1),
        ({"PANGU_COORDINATOR": "auto"}, "auto", None),
        ({**HERE, "PANGU_PROCESSES": "4", "PANGU_PROCESS": "3"}, ("node1", 1234, 4, 3), 4),
        ({**HERE, "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, ("node1", 1234, 2, 0), 2),
        ({**HERE, "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, ("node1", 1234, 2, 1), 2),
        ({**HERE, "PANGU_PROCESSES": "2", "JOB_COMPLETION_INDEX": "1"}, ("node1", 1234, 2, 1), 2),
        (
            {**HERE, "PANGU_PROCESSES": "3", "SLURM_NTASKS": "9", "SLURM_PROCID": "1"},
            ("node1", 1234, 3, 1),
            3,
        ),
        (  # what mpirun starts sees Slurm's variables of mpirun's daemons
            {**HERE, "PMI_SIZE": "8", "PMI_RANK": "5", "SLURM_NTASKS": "2", "SLURM_PROCID": "1"},
            ("node1", 1234, 8, 5),
            8,
        ),
        ({"PANGU_COORDINATOR": "[::1]:80", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, ("::1", 80, 1, 0), 1),
    ],
)
def test_the_place_of_a_process(environment, expected, count):
    assert processes.place(environment) == expected
    assert processes.expected_count(environment) == count


@pytest.mark.parametrize(
    ("environment", "holds"),
    [
        ({"PANGU_PROCESSES": "2"}, "PANGU_PROCESSES is set and PANGU_COORDINATOR is not"),
        ({"PANGU_COORDINATOR": "node1"}, "it is HOST:PORT of process 0, or auto"),
        ({"PANGU_COORDINATOR": "node1:99999"}, "it is HOST:PORT"),
        ({"PANGU_COORDINATOR": "http://node1:80"}, "it is HOST:PORT"),
        (
            {"PANGU_PROCESSES": "1", "PANGU_PROCESS": "1"},
            "PANGU_PROCESSES is set and PANGU_COORDINATOR is not",
        ),
        (HERE, "PANGU_PROCESSES is not, and no launcher says it: set it .*SLURM_NTASKS"),
        ({**HERE, "PANGU_PROCESSES": "2"}, "PANGU_PROCESS is not, and no launcher .*SLURM_PROCID"),
        ({**HERE, "PANGU_PROCESSES": "two"}, "PANGU_PROCESSES = 'two': it is a number"),
        ({**HERE, "PANGU_PROCESSES": "0", "PANGU_PROCESS": "0"}, "at least 1"),
        ({**HERE, "PANGU_PROCESSES": "2", "PANGU_PROCESS": "-1"}, "PANGU_PROCESS = '-1': it is a number"),
        ({**HERE, "SLURM_NTASKS": "2", "SLURM_PROCID": "2"}, "SLURM_PROCID = 2: of 2 processes"),
    ],
)
def test_an_environment_that_names_no_place(environment, holds):
    with pytest.raises(BackendError, match=holds) as raised:
        processes.place(environment)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("environment", [{}, {**HERE, "PANGU_PROCESSES": "1", "PANGU_PROCESS": "0"}])
def test_one_process_calls_nobody(environment, monkeypatch):
    monkeypatch.setattr(roll_call, "answer", None)
    with processes.join_processes(environment=environment):
        pass


@pytest.fixture
def port():
    with socket.create_server(("", 0)) as free:
        return free.getsockname()[1]


def answers(port, *places: tuple[int, int], seconds: float = 10.0) -> list[str | list[roll_call.Link]]:
    """What comes of a roll call among (count, index) each: links, or the error's line."""
    results: list = [None] * len(places)

    def take_part(number, count, index):
        try:
            results[number] = roll_call.answer(ProcessPlacement("localhost", port, count, index), seconds)
        except BackendError as error:
            results[number] = str(error)

    threads = [
        threading.Thread(target=take_part, args=(number, *place)) for number, place in enumerate(places)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_all_are_there(port):
    first, *others = answers(port, (3, 0), (3, 2), (3, 1))
    assert sorted(link.index for link in first) == [1, 2]
    assert [[link.index for link in links] for links in others] == [[0], [0]]


@pytest.mark.parametrize(
    ("host", "interface"),
    [("localhost", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("node1", ""), ("10.0.0.7", "")],
)
def test_a_coordinator_on_loopback_hears_nobody_from_outside(host, interface, monkeypatch):
    """Only where the address says so: a name may mean loopback to its own machine (Debian's 127.0.1.1)."""
    monkeypatch.setattr(socket, "getaddrinfo", None)
    assert ProcessPlacement(host, 9000, 2, 0).interface == interface


def test_who_does_not_agree(port):
    host, guest = answers(port, (2, 0), (3, 1))
    assert "says that there are 3 processes, and process 0 that there are 2" in host
    assert guest.endswith(host)


def test_an_index_given_twice(port):
    host, *guests = answers(port, (3, 0), (3, 1), (3, 1))
    assert host.startswith("two processes say that they are process 1: on ")
    assert all(guest.endswith(host) for guest in guests)


def test_who_does_not_come(port):
    host, guest = answers(port, (4, 0), (4, 2), seconds=1.0)
    assert host == "2 of 4 processes did not come within 1 s: 1, 3"
    assert guest == f"process 0 at localhost:{port}: {host}"


def test_nobody_is_there(port):
    (guest,) = answers(port, (2, 1), seconds=1.0)
    assert guest.startswith(f"process 1 of 2 cannot reach process 0 at localhost:{port} (Connection refused")


def test_the_port_is_taken(port):
    with socket.create_server(("", port)):
        (host,) = answers(port, (2, 0))
    assert host.startswith(f"process 0 cannot listen on port {port}: Address already in use")


def test_somebody_else_at_the_door(port):
    def knock():
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                with socket.create_connection(("localhost", port)) as stranger:
                    stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
                return

    stranger = threading.Thread(target=knock)
    stranger.start()
    (host,) = answers(port, (2, 0), seconds=1.0)
    stranger.join()
    assert host == "1 of 2 processes did not come within 1 s: 1"


WATCHED = """
import sys, time
from tpu_npu_backends import roll_call
place = roll_call.ProcessPlacement("localhost", int(sys.argv[1]), 3, int(sys.argv[2]))
watch = roll_call.Watch(place, roll_call.answer(place, 30.0))
print("up", flush=True)
if sys.stdin.readline() == "finish\\n":
    watch.finish()
    watch.close()
"""


def watched(port) -> list[subprocess.Popen]:
    command = [sys.executable, "-c", WATCHED, str(port)]
    streams = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    started = [subprocess.Popen([*command, str(i)], text=True, **streams) for i in range(3)]
    assert [process.stdout.readline() for process in started] == ["up\n"] * 3
    return started


@pytest.mark.parametrize("dead", [0, 1])
def test_who_dies_ends_the_others(port, dead):
    started = watched(port)
    started[dead].kill()
    for index, process in enumerate(started):
        status = process.wait(20)
        _, error = process.communicate()
        if index != dead:
            assert status == 2
            assert error.startswith(f"pangu: process {dead} (on ") and error.count("\n") == 1
            assert f"and process {index} of 3 cannot continue without it" in error


def test_who_is_done_waits_for_process_0(port):
    started = watched(port)
    for process in started[1:]:
        process.stdin.write("finish\n")
        process.stdin.flush()
    with pytest.raises(subprocess.TimeoutExpired):
        started[1].wait(0.5)
    first = started[0].communicate("finish\n", timeout=20)
    others = [process.communicate(timeout=20) for process in started[1:]]
    assert [process.returncode for process in started] == [0, 0, 0], (first, others)
    assert [error for _, error in (first, *others)] == [""] * 3


def test_the_variables_are_those_of_this_process(monkeypatch):
    monkeypatch.setitem(os.environ, "PANGU_COORDINATOR", "nowhere")
    with pytest.raises(BackendError, match="'nowhere'"), processes.join_processes():
        pass
