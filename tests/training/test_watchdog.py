"""A hang is reported once, in words and stacks; a slow step is not a hang."""

import subprocess
import sys
import threading
import time

from pangu_jax.training.watchdog import ABORT_STATUS, Watchdog


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


def test_abort_ends_a_process_that_cannot_be_interrupted():
    hang = "import threading\nfrom pangu_jax.training.watchdog import Watchdog\n"
    hang += "with Watchdog(seconds=0.1, first_seconds=0.1, abort=True):\n    threading.Lock().__enter__()\n"
    hang += "    lock = threading.Lock()\n    lock.acquire()\n    lock.acquire()\n"
    done = subprocess.run([sys.executable, "-c", hang], capture_output=True, text=True, timeout=60)
    assert done.returncode == ABORT_STATUS
    assert "ending the process" in done.stderr and 'File "<string>"' in done.stderr
