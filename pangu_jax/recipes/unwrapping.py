"""Exceptions as they were raised, without what gin makes of them.

gin wraps whatever passes through a configurable in a proxy whose text is a line longer: "In call to
configurable ...". A mistake that a person can fix is reported in one line of its own.
"""

import contextlib
from collections.abc import Generator


@contextlib.contextmanager
def plain_errors() -> Generator[None]:
    """What is raised within leaves as it was, without gin's proxy. A decorator too, above `gin.configurable`:
    then callers from Python see the same error as those with a recipe."""
    try:
        yield
    except Exception as error:
        plain = unwrap(error)
        raise plain from plain.__cause__  # which it has already; but no context, gin's proxy


def unwrap(error: Exception) -> Exception:
    """The exception that gin's proxy, or a proxy of a proxy, wraps; any other is given back as it is."""
    while (original := _original(error)) is not None:
        error = original
    return error


def _original(error: Exception) -> Exception | None:
    """What a proxy wraps: its class is made on the spot, below the original's and of the same name."""
    kind, original = type(error), error.__context__
    below = type(original)
    is_proxy = kind.__bases__ == (below,) and kind.__qualname__ == below.__qualname__
    return original if is_proxy and isinstance(original, Exception) else None
