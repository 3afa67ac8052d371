"""What a long verb is doing, on standard error: a moving line in a terminal, nothing in a file."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar


class PlanningProgress:
    """`with PlanningProgress() as progress:`; `now` and `step` are handed to who does the work."""

    def __init__(self) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        console = Console(stderr=True, force_jupyter=False)
        self._bar = Bar(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> "PlanningProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def now(self, what: str) -> None:
        """Something begins whose end is not known."""
        self._bar.update(self._task, description=what, total=None, completed=0)

    def step(self, what: str, done: int, total: int) -> None:
        """Part `done` of `total` begins."""
        self._bar.update(self._task, description=what, completed=done, total=total)
