"""Keep Orbax and TensorStore from printing tracebacks of failures that reach us as exceptions anyway.

A full disk or a truncated file is one line for the person at the keyboard. Orbax logs a traceback for it
first (and advice about every save that waits for another), and TensorStore's threads report to an event loop
that has gone.
"""

import logging
import sys


def quiet_orbax() -> None:
    """Install the two filters; a second call changes nothing."""
    absl = logging.getLogger("absl")
    if _not_from_orbax in absl.filters:
        return
    absl.addFilter(_not_from_orbax)
    previous = sys.unraisablehook

    def hook(unraisable) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            previous(unraisable)

    sys.unraisablehook = hook


def _not_from_orbax(record: logging.LogRecord) -> bool:
    return "/orbax/" not in record.pathname
