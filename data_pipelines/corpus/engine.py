"""Runs a stage of the factory: its tasks on workers, each into a folder of its own.

A task's folder is filled beside its place and renamed into it when `stats.json`, its success marker, is in
it. So a folder that is in its place is whole, whoever was killed and when, and a build that was stopped goes
on where it was. There is no scheduler here: `Workers` runs plain functions in any order.
"""

import contextlib
import ctypes
import dataclasses
import errno
import gc
import json
import os
import resource
import shutil
import socket
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from data_pipelines.corpus.progress import Bar
from data_pipelines.errors import DataError

STATS = "stats.json"
PARTIAL = ".partial-"


@dataclasses.dataclass(frozen=True)
class StageCall:
    """A call of the stage's function, which fills the folder `stage/key`.

    Attributes:
      key: the folder's name. What order matters to, matters by this.
      arguments: for the function, which is given `out=FOLDER` beside them.
      size: bytes of what it reads, for the progress bar; the largest tasks are begun first.
    """

    key: str
    arguments: tuple[Any, ...]
    size: int = 0


class Workers(Protocol):
    """Runs plain functions: on this machine (`workers.py`) or on a Ray cluster (`ray_workers.py`)."""

    def run(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterator[int]:
        """Calls `function(*call)` for every call, at the same time and in no order.

        Yields each call's index when it is done; what it returned is not carried. A worker that dies is
        replaced and its calls are made again.

        Raises:
          DataError: as the function does; or workers keep dying.
        """
        ...


class Stage(NamedTuple):
    """What `run` does: function(*task.arguments, out=FOLDER) for every task, which returns statistics."""

    folder: Path
    function: Callable[..., dict]
    tasks: Sequence[StageCall]


def run(workers: Workers, *stages: Stage) -> list[list[Path]]:
    """Does the tasks of stages, independent of each other, that are not done yet.

    Returns:
      for each stage its tasks' folders, `folder/key`, in the tasks' order. Each holds what the function wrote
      and, in stats.json, what it returned, with "cpu_seconds", "seconds" and "peak_bytes" of the process.

    Raises:
      DataError: the disk is full, a task cannot be done, or workers keep dying. What is done is kept.
    """
    for stage in stages:
        stage.folder.mkdir(parents=True, exist_ok=True)
        for partial in stage.folder.glob(f"{PARTIAL}*"):
            shutil.rmtree(partial, ignore_errors=True)
    every = [(stage, task, stage.folder / task.key) for stage in stages for task in stage.tasks]
    missing, done = [], []
    for one in every:
        (done if (one[2] / STATS).is_file() else missing).append(one)
    # A long task begun last keeps one worker busy while the others have nothing left.
    missing.sort(key=lambda one: -one[1].size)
    name = ", ".join(stage.folder.name for stage in stages)
    with Bar(name, sum(task.size for _, task, _ in every), len(every)) as bar:
        for _, task, _ in done:
            bar.advance(task.size)
        calls = [(stage.function, task.arguments, final) for stage, task, final in missing]
        for index in workers.run(perform, calls):
            bar.advance(missing[index][1].size)
    return [[stage.folder / task.key for task in stage.tasks] for stage in stages]


def perform(function: Callable[..., dict], arguments: tuple[Any, ...], final: Path) -> None:
    """One task, in the worker: into a folder beside `final`, then renamed."""
    partial = final.with_name(f"{PARTIAL}{final.name}-{socket.gethostname()}-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        with telling_of_a_full_disk(final.parent):
            partial.mkdir(parents=True)
            statistics = function(*arguments, out=partial)
            cost = {
                "cpu_seconds": round(time.process_time() - cpu, 4),
                "seconds": round(time.perf_counter() - wall, 4),
                "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
            (partial / STATS).write_text(json.dumps(statistics | cost, ensure_ascii=False), "utf-8")
            _rename(partial, final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        _return_memory()


def _return_memory() -> None:
    """Gives what the task leaves back to the system, cycles too: a worker must not grow from task to task."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of the GNU C library alone
    if trim:
        trim(0)


@contextlib.contextmanager
def telling_of_a_full_disk(folder: Path) -> Generator[None]:
    """Within it a full disk is a DataError, whatever the library that met it raises."""
    try:
        yield
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or os.strerror(errno.ENOSPC) in str(error):
            raise DataError(
                f"no room left on the disk of {folder}: free some, then run the same command again; "
                "what is done is kept"
            ) from None
        raise


def _rename(partial: Path, final: Path) -> None:
    try:
        partial.rename(final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        # Another worker was first: one whose node was taken for dead. It made the same files.
        shutil.rmtree(partial)


def statistics(folder: Path) -> list[dict[str, Any]]:
    """The statistics of every finished task of a stage, by key."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob(f"*/{STATS}"))]
