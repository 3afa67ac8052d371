"""Says where a run hangs, when it hangs: a collective that waits for a dead host otherwise waits without a
word."""

import logging
import math
import os
import statistics
import sys
import threading
import time
import traceback
from collections import deque
from pathlib import Path

log = logging.getLogger(__name__)

TIMES_MEDIAN = 20
REMEMBERED_STEPS = 101
ABORT_STATUS = 2  # of all that whoever started the run can fix
LAST_WORDS_SECONDS = 10.0
STOPPED_SECONDS = 30.0


class Watchdog:
    """Context manager that dumps the stacks of all threads when no step finishes for too long, and ends the
    process when none does for much longer.

    Too long is the larger of the limit given and 20 times the median of the last steps, so that a slow
    machine does not cry wolf; the first step (which compiles) has `first_seconds`. A hang is reported once
    until the next beat. Time in which the whole process was stopped (Ctrl-Z, a frozen container) counts for
    nothing.

    Args:
        seconds: least time without a finished step that counts as a hang.
        log_file: where the stacks go, besides stderr.
        abort_seconds: least time without a finished step after which the process ends: status 2, stacks
            dumped, no clean-up. Python cannot interrupt a thread that waits in a collective for a dead host;
            ending is all that is left, and whoever starts the run again resumes from its last checkpoint.
            0: never. (A thread that never gives Python's lock back stops the watchdog too; JAX gives it.)
        first_seconds: the same for the time until the first beat; default 30 minutes, for long compiles.
    """

    def __init__(
        self,
        seconds: float = 300.0,
        log_file: str | os.PathLike | None = None,
        abort_seconds: float = 0.0,
        first_seconds: float = 1800.0,
    ):
        self._seconds = seconds
        self._abort_seconds = abort_seconds or math.inf
        self._first_seconds = first_seconds
        self._log_file = Path(log_file) if log_file else None
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
        return self._at_least(self._seconds)

    def _at_least(self, seconds: float) -> float:
        if self._step is None:
            return max(seconds, self._first_seconds)
        return max(seconds, TIMES_MEDIAN * statistics.median(self._durations or [0.0]))

    def beat(self, step: int) -> None:
        """Reports that `step` has finished. The same step again (after each batch of a validation, say) shows
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
        if self._thread:
            self._thread.join()

    def _watch(self) -> None:
        with self._wake:
            while not self._stopping:
                waited = time.monotonic() - self._last_beat
                abort = self._at_least(self._abort_seconds)
                if waited >= abort:
                    try:
                        self._report(waited, ending=True).join(LAST_WORDS_SECONDS)
                    finally:
                        os._exit(ABORT_STATUS)
                elif waited >= self.limit and not self._reported:
                    self._reported = True
                    self._report(waited, ending=False)
                else:
                    self._wait((abort if self._reported else min(abort, self.limit)) - waited)

    def _wait(self, seconds: float) -> None:
        """Wait for a beat. In slices: one that takes far longer than it should means we were stopped."""
        seconds = min(seconds, STOPPED_SECONDS)
        begin = time.monotonic()
        if not self._wake.wait(seconds) and (late := time.monotonic() - begin - seconds) > STOPPED_SECONDS:
            self._last_beat += late

    def _report(self, waited: float, ending: bool) -> threading.Thread:
        """Words and stacks, from a thread of their own: the disk of run.log may be what hangs, and neither a
        step nor the end of the process is to wait for it."""
        since = "the start" if self._step is None else f"step {self._step}"
        what = f"no step has finished for {waited:.0f} s (since {since}); "
        what += (
            "ending the process: is another one of the run dead? The same command resumes from the last "
            "checkpoint. The stacks of all threads follow"
            if ending
            else "the stacks of all threads follow"
        )
        report = threading.Thread(
            target=self._write, args=(what, _stacks()), name="pangu_jax watchdog's report", daemon=True
        )
        report.start()
        return report

    def _write(self, what: str, stacks: str) -> None:
        print(f"pangu: {what}\n{stacks}", file=sys.stderr, flush=True)
        log.error("%s", what)
        if self._log_file:
            with self._log_file.open("a", encoding="utf-8") as stream:
                stream.write(f"{stacks}\n")


def _stacks() -> str:
    """Where every thread of Python is, innermost call first. (faulthandler would hold Python's lock while it
    writes: a disk that hangs would then stop every thread for good, this module's among them.)"""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    lines = []
    for ident, frame in sys._current_frames().items():
        lines.append(f"Thread {names.get(ident, ident)} (most recent call first):")
        lines += [
            f'  File "{frame.f_code.co_filename}", line {line} in {frame.f_code.co_qualname}'
            for frame, line in traceback.walk_stack(frame)
        ]
    return "\n".join(lines)
