"""What JAX logs when a plugin does not start: kept for one line of ours, in the place of a traceback."""

import logging
from collections.abc import Generator
from contextlib import contextmanager


class _Keeper(logging.Handler):
    def __init__(self, kept: list[str]):
        super().__init__(logging.WARNING)
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._kept.append(str(error or record.getMessage()).strip().partition("\n")[0])


@contextmanager
def kept() -> Generator[list[str]]:
    """The first line of each, in a list that fills while the body looks for devices; nothing is printed."""
    logger, found = logging.getLogger("jax._src.xla_bridge"), []
    keeper, propagates = _Keeper(found), logger.propagate
    logger.addHandler(keeper)
    logger.propagate = False
    try:
        yield found
    finally:
        logger.removeHandler(keeper)
        logger.propagate = propagates
