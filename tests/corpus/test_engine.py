"""Stages on a pool: markers, resuming, and workers or drivers that are killed."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_pipelines.corpus import engine
from data_pipelines.corpus.engine import Stage, StageCall
from data_pipelines.corpus.workers import ProcessPool
from data_pipelines.errors import DataError


def write(text, log, out):
    with Path(log).open("a") as stream:
        stream.write(text + "\n")
    (out / "text").write_text(text)
    return {"counts": {"written": 1}}


def die_once(text, log, out):
    """Killed in the middle of its first call, after it has written something."""
    (out / "half").write_text("x")
    marker = Path(log).with_suffix(".died")
    if text == "b" and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    (out / "half").unlink()
    return write(text, log, out)


def die(out):
    os.kill(os.getpid(), signal.SIGKILL)


def no_room(out):
    (out / "half").write_text("x")
    raise OSError(28, "No space left on device")


def slow(text, log, out):
    time.sleep(0.3)
    return write(text, log, out)


@pytest.fixture(scope="module")
def pool():
    with ProcessPool(2) as pool:
        yield pool


def tasks(log, names="abc"):
    return [StageCall(name, (name, str(log)), 10) for name in names]


def test_every_task_has_a_folder_with_statistics(tmp_path, pool):
    (folders,) = engine.run(pool, Stage(tmp_path / "stage", write, tasks(tmp_path / "log")))
    assert [(f / "text").read_text() for f in folders] == ["a", "b", "c"]
    found = engine.statistics(tmp_path / "stage")
    assert [s["counts"] for s in found] == [{"written": 1}] * 3
    assert all(s["cpu_seconds"] >= 0 and s["peak_bytes"] > 0 for s in found)


def test_what_is_done_is_not_done_again(tmp_path, pool):
    log = tmp_path / "log"
    engine.run(pool, Stage(tmp_path / "stage", write, tasks(log, "ab")))
    partial = tmp_path / "stage" / ".partial-c-elsewhere-1"
    partial.mkdir()
    engine.run(pool, Stage(tmp_path / "stage", write, tasks(log)))
    assert sorted(log.read_text().split()) == ["a", "b", "c"]
    assert not partial.exists()


def test_a_pool_ends_its_own_workers_and_nobody_elses(tmp_path):
    log = tmp_path / "log"
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,), daemon=True)
    child.start()
    with ProcessPool(1) as other:
        engine.run(other, Stage(tmp_path / "other", write, tasks(log)))
        before = set(_children(os.getpid()))
        with ProcessPool(2) as pool:
            engine.run(pool, Stage(tmp_path / "stage", write, tasks(log)))
            own = set(_children(os.getpid())) - before
        assert len(own) == 2 and _ended(own)
        time.sleep(0.1)  # for a signal to arrive
        assert all(map(_alive, before)) and child.is_alive()
        engine.run(other, Stage(tmp_path / "more", write, tasks(log)))
    child.kill()
    child.join()


class InTurn:
    """Workers that do calls one after the other, as they are given."""

    def run(self, function, calls):
        for i, call in enumerate(calls):
            function(*call)
            yield i


def test_the_largest_tasks_are_begun_first_whatever_their_stage(tmp_path):
    log = tmp_path / "log"
    sizes = {"small": 1, "large": 9, "middle": 5}
    one = [StageCall(name, (name, str(log)), size) for name, size in sizes.items()]
    other = Stage(tmp_path / "other", write, [StageCall("largest", ("largest", str(log)), 10)])
    folders = engine.run(InTurn(), Stage(tmp_path / "one", write, one), other)
    assert log.read_text().split() == ["largest", "large", "middle", "small"]
    assert [[folder.name for folder in own] for own in folders] == [list(sizes), ["largest"]]


def test_a_killed_worker_is_replaced(tmp_path, pool):
    log = tmp_path / "log"
    (folders,) = engine.run(pool, Stage(tmp_path / "stage", die_once, tasks(log)))
    assert log.with_suffix(".died").exists()
    assert [sorted(p.name for p in f.iterdir()) for f in folders] == [["stats.json", "text"]] * 3


def test_a_worker_that_is_killed_between_two_stages_is_replaced(tmp_path):
    log = tmp_path / "log"
    before = set(multiprocessing.active_children())
    with ProcessPool(1) as pool:
        engine.run(pool, Stage(tmp_path / "one", write, tasks(log)))
        (worker,) = set(multiprocessing.active_children()) - before
        worker.kill()
        worker.join()
        time.sleep(0.1)  # for the executor to see it
        (folders,) = engine.run(pool, Stage(tmp_path / "two", write, tasks(log)))
        assert [(folder / "text").read_text() for folder in folders] == ["a", "b", "c"]


def test_workers_that_keep_dying_end_the_stage_in_words(tmp_path, pool):
    with pytest.raises(DataError, match="killed 3 times in a row"):
        engine.run(pool, Stage(tmp_path / "stage", die, [StageCall("a", ())]))


def test_a_full_disk_is_told_and_leaves_nothing_half_done(tmp_path, pool):
    with pytest.raises(DataError, match="no room left"):
        engine.run(pool, Stage(tmp_path / "stage", no_room, [StageCall("a", ())]))
    assert not list((tmp_path / "stage").iterdir())


def test_workers_end_with_a_killed_driver(tmp_path):
    """SIGKILL leaves the driver no time to say goodbye; a second driver resumes where it was."""
    log = tmp_path / "log"
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_engine as t; from pathlib import Path\n"
        "if __name__ == '__main__':\n"
        "    with t.ProcessPool(2) as pool:\n"
        "        t.engine.run(pool, t.Stage(Path(sys.argv[2]), t.slow, t.tasks(sys.argv[3], 'abcdefghij')))\n"
    )
    script = tmp_path / "driver.py"
    script.write_text(program)
    command = [sys.executable, str(script), str(Path(__file__).parent), str(tmp_path / "stage"), str(log)]
    driver = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text().count("\n") >= 2) and time.monotonic() < deadline:
        time.sleep(0.02)
    children = _children(driver.pid)
    driver.kill()
    driver.wait()
    assert len(children) >= 2
    assert _ended(children)
    done = {p.parent.name for p in (tmp_path / "stage").glob("*/stats.json")}
    assert 2 <= len(done) < 10
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2])
    assert len(list((tmp_path / "stage").glob("*/stats.json"))) == 10
    lines = log.read_text().split()
    assert all(lines.count(name) == 1 for name in done)
    for stats in (tmp_path / "stage").glob("*/stats.json"):
        json.loads(stats.read_text())


def _children(pid):
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def _ended(pids):
    deadline = time.monotonic() + 20
    while any(map(_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(_alive, pids))


def _alive(pid):
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
