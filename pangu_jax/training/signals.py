"""SIGTERM and SIGINT ask the loop to save and leave; a second SIGINT (Ctrl-C) leaves at once."""

import os
import signal
import threading
from typing import Any


class StopSignals:
    """Context manager; `requested` is asked after each step (`stop_agreement`).

    A scheduler that wants a machine back sends SIGTERM and waits a little; a person presses Ctrl-C. Both get
    a checkpoint of the step under way. A person who presses Ctrl-C again gets KeyboardInterrupt. Outside the
    main thread, where Python allows no handlers, this does nothing.
    """

    def __init__(self):
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has arrived in this process."""
        return self.received is not None

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
