"""A hang is reported once, in words and stacks; a slow step is not a hang."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from pangu_jax.training.watchdog import Watchdog


def wait_for(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_a_hang_is_dumped_once_and_again_after_a_beat(tmp_path, capsys):
    log_file = tmp_path / "run.log"
    dumps = lambda: log_file.read_text().count("test_a_hang_is_dumped_once") if log_file.exists() else 0  # noqa: E731
    with Watchdog(seconds=0.05, log_file=log_file) as watchdog:
        watchdog.beat(41)
        assert wait_for(lambda: dumps() == 1)
        time.sleep(0.2)
        assert dumps() == 1
        watchdog.beat(41)
        assert wait_for(lambda: dumps() == 2)
    assert "no step has finished for 0 s (since step 41)" in capsys.readouterr().err


def test_the_first_step_may_compile_and_the_limit_follows_the_steps():
    watchdog = Watchdog(seconds=0.01, first_seconds=100.0)
    with watchdog:
        assert watchdog.limit == 100.0
        watchdog.beat(1)
        assert watchdog.limit == 0.01
        time.sleep(0.1)
        watchdog.beat(3)  # two steps of 0.05 s
        assert 1.0 <= watchdog.limit < 10.0
        limit = watchdog.limit
        watchdog.beat(3)
        assert watchdog.limit == limit


def test_no_thread_stays():
    before = threading.active_count()
    with Watchdog(seconds=60):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


HANG = """
import ctypes
from pangu_jax.training import watchdog
watchdog.STOPPED_SECONDS = 0.1
with watchdog.Watchdog({seconds}, "run.log", abort_seconds={abort}, first_seconds=0.0) as dog:
    {first}
    ctypes.CDLL(None).pause()  # nothing in Python can interrupt it
"""


@pytest.mark.parametrize(("seconds", "dumps"), [(0.1, 2), (60, 1)])
@pytest.mark.parametrize(("first", "since"), [("dog.beat(7)", "step 7"), ("pass", "the start")])
def test_abort_ends_a_process_that_is_stuck_in_c(tmp_path, seconds, dumps, first, since):
    command = [sys.executable, "-c", HANG.format(seconds=seconds, abort=0.3, first=first)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 2
    *_, last = (line for line in done.stderr.splitlines() if line.startswith("pangu: "))
    assert f"(since {since}); ending the process" in last
    assert done.stderr.count("<string>") == (tmp_path / "run.log").read_text().count("<string>") == dumps


FULL = """
import logging, os
os.mkfifo("run.log")
pipe = os.open("run.log", os.O_RDWR | os.O_NONBLOCK)
while True:
    try:
        os.write(pipe, bytes(4096))
    except BlockingIOError:
        break
"""
LOGGING = 'logging.getLogger().addHandler(logging.FileHandler("run.log"))'


@pytest.mark.parametrize("logging", [LOGGING, ""], ids=["process 0", "another process"])
@pytest.mark.parametrize("seconds", [0.1, 60], ids=["reported before", "at once"])
def test_abort_comes_when_the_disk_of_the_log_hangs(tmp_path, seconds, logging):
    """A full pipe that nobody reads holds up whoever writes to it, as a dead file server does."""
    hang = HANG.format(seconds=seconds, abort=0.3, first="watchdog.LAST_WORDS_SECONDS = 0.5")
    program = FULL + logging + hang
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "ending the process" in done.stderr and "<string>" in done.stderr


def test_a_report_that_hangs_holds_up_no_step(tmp_path, capsys):
    pipe = tmp_path / "run.log"
    os.mkfifo(pipe)
    said = []
    with Watchdog(seconds=0.05, log_file=pipe, first_seconds=0.0) as watchdog:
        assert wait_for(lambda: said.append(capsys.readouterr().err) or "no step" in "".join(said))
        beating = threading.Thread(target=watchdog.beat, args=(1,), daemon=True)
        beating.start()
        beating.join(5)
        stuck = beating.is_alive()
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # the report ends, whatever comes of the test
    for thread in threading.enumerate():
        if thread.name.endswith("watchdog's report"):
            thread.join(5)  # written whole: a reader that leaves before would be an error of the thread
    os.close(reader)
    assert not stuck


def test_without_a_limit_it_waits(capsys):
    with Watchdog(seconds=0.01, abort_seconds=0, first_seconds=0.0):
        time.sleep(0.2)
    assert "no step has finished" in capsys.readouterr().err


def test_a_process_that_was_stopped_is_not_hung(tmp_path):
    program = HANG.format(seconds=60, abort=1.0, first="print('up', flush=True)")
    with subprocess.Popen([sys.executable, "-c", program], stdout=-1, stderr=-1, cwd=tmp_path) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.3)
        assert process.poll() is None
        assert process.wait() == 2
