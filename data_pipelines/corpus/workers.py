"""Workers on this machine: a pool of processes."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

from data_pipelines.errors import DataError

# What the libraries read when they are imported: parallel are the processes.
ONE_THREAD = {"POLARS_MAX_THREADS": "1", "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
DEATHS = 3  # in a row, without a call done between them


class ProcessPool:
    """`count` processes, started when they are first needed; a context that ends them.

    One that is killed is replaced and its calls are made again. All end with the process that started them,
    however that ends.
    """

    def __init__(self, count: int | None = None):
        if count is not None and count < 1:
            raise DataError(f"--workers {count}: at least one worker is needed")
        self.count = count or len(os.sched_getaffinity(0))
        self._pool: ProcessPoolExecutor | None = None
        self._context = _RecordingSpawn()

    def __enter__(self) -> "ProcessPool":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._context.terminate()

    def run(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterator[int]:
        """See engine.Workers."""
        waiting = dict(enumerate(calls))
        deaths = 0
        while waiting:
            self._pool = self._pool or _start(self.count, self._context)
            try:
                futures = {self._pool.submit(function, *call): i for i, call in waiting.items()}
                for future in as_completed(futures):
                    future.result()
                    deaths = 0
                    del waiting[futures[future]]
                    yield futures[future]
            except BrokenProcessPool:
                self._pool, deaths = None, deaths + 1
                if deaths == DEATHS:
                    raise DataError(
                        f"a worker was killed {DEATHS} times in a row before it finished anything, as a rule "
                        "for want of memory: give fewer --workers or smaller chunks (Reading.chunk_bytes), "
                        "then run the same command again; what is done is kept"
                    ) from None


class _RecordingSpawn(SpawnContext):
    """Starts processes and remembers them: whoever runs a pool may have children of their own.

    Not forked: polars' and Arrow's threads do not survive that.
    """

    def __init__(self) -> None:
        super().__init__()
        self._started: list[BaseProcess] = []

    # pyrefly: ignore[bad-override]  typeshed has a class in its place; an executor only calls it
    def Process(self, *args: Any, **kwargs: Any) -> BaseProcess:
        """A process of this context, as the executor makes one for each worker."""
        process = super().Process(*args, **kwargs)
        self._started.append(process)
        return process

    def terminate(self) -> None:
        """End those that are left."""
        for process in self._started:
            if process.is_alive():
                process.terminate()


def _start(count: int, context: _RecordingSpawn) -> ProcessPoolExecutor:
    with _environment(ONE_THREAD):
        pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin)
        for future in [pool.submit(os.getpid) for _ in range(count)]:
            future.result()
    return pool


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Generator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin() -> None:
    """In a new worker: Ctrl-C is for the driver, and no driver means no worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
