"""The progress bar of a stage, on standard error: bytes read, tasks done, rate and time left."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 30.0


class Bar:
    """A bar on a terminal; where there is none, a line at the end of a stage and every half minute."""

    def __init__(self, name: str, size: int, tasks: int):
        self._name, self._size, self._tasks = name, max(size, 1), tasks
        self._done = self._done_tasks = 0
        self._began = self._told = time.monotonic()
        console = Console(file=sys.stderr, force_jupyter=False, force_terminal=sys.stderr.isatty())
        columns = (
            TextColumn(f"{name:<13}"),
            BarColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[tasks]} tasks"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self._progress = Progress(*columns, console=console) if sys.stderr.isatty() else None

    def __enter__(self) -> "Bar":
        if self._progress:
            self._progress.start()
            self._task = self._progress.add_task(self._name, total=self._size, tasks=f"0/{self._tasks}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            if kind is None:
                self._progress.update(self._task, completed=self._size)
            self._progress.stop()
        elif kind is None:
            self._tell()

    def advance(self, size: int) -> None:
        """One more task is done, which read `size` bytes."""
        self._done += size
        self._done_tasks += 1
        if self._progress:
            tasks = f"{self._done_tasks}/{self._tasks}"
            self._progress.update(self._task, completed=self._done, tasks=tasks)
        elif time.monotonic() - self._told > SECONDS_BETWEEN_LINES:
            self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        print(
            f"{self._name}: {self._done_tasks} of {self._tasks} tasks, {self._done / 1e6:.0f} MB, "
            f"{self._told - self._began:.0f} s",
            file=sys.stderr,
        )
