"""Says where a run hangs, when it hangs: a collective that waits for a dead host otherwise waits without a
word."""

import faulthandler
import logging
import os
import statistics
import sys
import threading
import time
from collections import deque
from pathlib import Path

log = logging.getLogger(__name__)

TIMES_MEDIAN = 20
REMEMBERED_STEPS = 101
ABORT_STATUS = 70  # EX_SOFTWARE


class Watchdog:
    """Context manager that dumps the stacks of all threads when no step finishes for too long.

    Too long is the larger of `seconds` and 20 times the median of the last steps, so that a slow machine does
    not cry wolf; the first step (which compiles) has `first_seconds`. A hang is reported once until the next
    beat.

    Args:
        seconds: least time without a finished step that counts as a hang.
        log_file: where the stacks go, besides stderr.
        abort: end the process (status 70, no clean-up) after the dump. Python cannot interrupt a thread that
            waits in a collective; ending is all that is left, and a scheduler can then start the job anew.
        first_seconds: the same for the time until the first beat; default 30 minutes, for long compiles.
    """

    def __init__(
        self,
        seconds: float = 300.0,
        log_file: str | os.PathLike | None = None,
        abort: bool = False,
        first_seconds: float = 1800.0,
    ):
        self._seconds = seconds
        self._first_seconds = max(seconds, first_seconds)
        self._log_file = Path(log_file) if log_file else None
        self._abort = abort
        self._durations: deque[float] = deque(maxlen=REMEMBERED_STEPS)
        self._step: int | None = None
        self._last_beat = 0.0
        self._reported = False
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def limit(self) -> float:
        """Seconds without a finished step that count as a hang now."""
        if self._step is None:
            return self._first_seconds
        return max(self._seconds, TIMES_MEDIAN * statistics.median(self._durations or [0.0]))

    def beat(self, step: int) -> None:
        """Tell that `step` has finished. The same step again (after each batch of a validation, say) shows
        life and counts for no median."""
        now = time.monotonic()
        with self._wake:
            if self._step is not None and step > self._step:
                self._durations.append((now - self._last_beat) / (step - self._step))
            self._step, self._last_beat, self._reported = step, now, False
            self._wake.notify()

    def __enter__(self) -> "Watchdog":
        self._last_beat = time.monotonic()
        self._stopping = False
        self._thread = threading.Thread(target=self._watch, name="pangu_jax watchdog", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def _watch(self) -> None:
        with self._wake:
            while not self._stopping:
                left = self._last_beat + self.limit - time.monotonic()
                if self._reported:
                    self._wake.wait()
                elif left > 0:
                    self._wake.wait(left)
                else:
                    self._reported = True
                    self._report(time.monotonic() - self._last_beat)

    def _report(self, waited: float) -> None:
        since = "the start" if self._step is None else f"step {self._step}"
        what = f"no step has finished for {waited:.0f} s (since {since}); the stacks of all threads follow"
        end = (
            "; ending the process: start it again, it resumes from the last checkpoint" if self._abort else ""
        )
        log.error("%s%s", what, end)
        print(f"pangu: {what}{end}", file=sys.stderr, flush=True)
        faulthandler.dump_traceback(file=sys.__stderr__, all_threads=True)
        if self._log_file:
            with self._log_file.open("a", encoding="utf-8") as stream:
                faulthandler.dump_traceback(file=stream, all_threads=True)
        if self._abort:
            os._exit(ABORT_STATUS)
