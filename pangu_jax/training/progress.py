"""What a person sees while a run trains: a bar on a terminal, a line now and then in a log."""

import logging
import sys
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Progress:
    """Context manager; `update` once per step (or per logged step).

    On a terminal: a rich bar with loss, tokens/s, MFU and the time left. Elsewhere (a log file, a scheduler,
    a test): a log line at most every `every_seconds`, and one at the end.

    Args:
        steps: the last step of the run.
        start_step: steps done before this process (a resumed run); the time left counts only what is left.
        throughput_unit: what "tokens_per_second" counts.
        every_seconds: shortest time between log lines.
        terminal: whether to draw the bar; by default, whether stderr is a terminal.
    """

    def __init__(
        self,
        steps: int,
        start_step: int = 0,
        throughput_unit: str = "tokens",
        every_seconds: float = 30.0,
        terminal: bool | None = None,
    ):
        self._steps = steps
        self._throughput_unit = throughput_unit
        self._start_step = start_step
        self._every_seconds = every_seconds
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._bar = None
        self._started = self._last_line = 0.0
        self._step = start_step
        self._values: dict[str, float] = {}

    def __enter__(self) -> "Progress":
        self._started = self._last_line = time.monotonic()
        if self._terminal:
            self._open_bar()
        return self

    def __exit__(self, *exception) -> None:
        if self._bar:
            self._bar.stop()
        elif self._step > self._start_step and exception[0] is None:
            log.info("%s", self._line())

    def update(self, step: int, values: Mapping[str, float] | None = None) -> None:
        """Show that `step` is done; `values` may hold "loss", "tokens_per_second" and "mfu" (a fraction of
        1)."""
        self._step = step
        self._values |= values or {}
        if self._bar:
            self._bar.update(self._task, completed=step, shown=self._shown())
        elif time.monotonic() - self._last_line >= self._every_seconds:
            self._last_line = time.monotonic()
            log.info("%s", self._line())

    def say(self, line: str) -> None:
        """A line beside the bar, or among the others, and in the log."""
        log.info("%s", line)

    def _open_bar(self) -> None:
        from rich import progress as rich_progress
        from rich.console import Console

        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("training"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TextColumn("{task.fields[shown]}"),
            rich_progress.TimeElapsedColumn(),
            rich_progress.TextColumn("left"),
            rich_progress.TimeRemainingColumn(),
            console=Console(stderr=True),
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("training", total=self._steps, completed=self._start_step, shown="")
        self._bar.start()

    def _shown(self) -> str:
        parts = []
        if (loss := self._values.get("loss")) is not None:
            parts.append(f"loss {loss:.4f}")
        if (speed := self._values.get("tokens_per_second")) is not None:
            parts.append(f"{speed:,.0f} {self._throughput_unit}/s")
        if (mfu := self._values.get("mfu")) is not None:
            parts.append(f"MFU {mfu:.1%}")
        return ", ".join(parts)

    def _line(self) -> str:
        done = self._step - self._start_step
        left = (time.monotonic() - self._started) / max(done, 1) * (self._steps - self._step)
        parts = [f"step {self._step} of {self._steps}", self._shown(), f"{_duration(left)} left"]
        return ", ".join(part for part in parts if part)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
