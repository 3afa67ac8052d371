"""What of the log the command line shows on standard error: warnings, and the progress of a run.

Everything is in run.log. An error is not shown: it ends the verb, which reports it in one line.
"""

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager

OURS = "pangu_jax"
PROGRESS = "pangu_jax.training.progress"


class Notices(logging.Handler):
    """Writes to what sys.stderr is at the time: a progress bar puts itself in its place."""

    def __init__(self, name: str):
        super().__init__(logging.INFO)
        self._name = name

    def filter(self, record: logging.LogRecord) -> bool:
        """Warnings of ours, progress, and whatever the libraries below find worth a warning."""
        if not record.name.startswith(OURS):
            return record.levelno >= logging.WARNING
        return record.levelno == logging.WARNING or record.name == PROGRESS

    def emit(self, record: logging.LogRecord) -> None:
        word = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        print(f"pangu {self._name}: {word}{record.getMessage()}", file=sys.stderr)


@contextmanager
def log_to_stderr(name: str) -> Generator[None]:
    """Within it the log of the verb `name` is shown so, and libraries find a log that is set up already."""
    handler = Notices(name)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
