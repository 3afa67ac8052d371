"""SIGTERM and SIGINT ask the loop to save and leave; a second SIGINT (Ctrl-C) leaves at once."""

import os
import signal
import threading

import numpy as np


class StopSignals:
    """Context manager; the loop asks `requested` after each step.

    A scheduler that wants a machine back sends SIGTERM and waits a little; a person presses Ctrl-C. Both get
    a checkpoint of the step under way. A person who presses Ctrl-C again gets KeyboardInterrupt. Outside the
    main thread, where Python allows no handlers, this does nothing.
    """

    def __init__(self):
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, object] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has arrived in this process."""
        return self.received is not None

    def requested_anywhere(self) -> bool:
        """Whether one has arrived in any process. A collective: all processes call it after the same step."""
        import jax
        from jax.experimental import multihost_utils

        if jax.process_count() == 1:
            return self.requested
        return bool(multihost_utils.process_allgather(np.bool_(self.requested)).any())

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _handle(self, number: int, frame) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        # Neither print nor the logger: this may have interrupted one that holds its lock.
        os.write(2, f"pangu: {self.received.name}: saving, then leaving; Ctrl-C leaves at once\n".encode())
