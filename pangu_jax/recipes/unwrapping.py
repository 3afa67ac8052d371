"""Exceptions as they were raised, without what gin makes of them.

gin wraps whatever passes through a configurable in a proxy whose text goes on for a line: "In call to
configurable ...". A mistake that a person can mend is told in one line of its own.
"""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """What is raised within leaves as it was, without gin's proxy. A decorator too, above `gin.configurable`:
    then callers from Python see the same error as those with a recipe."""
    try:
        yield
    except Exception as error:
        plain = unwrap(error)
        raise plain from plain.__cause__  # which it has already; but no context, gin's proxy


def unwrap(error: Exception) -> Exception:
    """The exception that gin's proxy, or a proxy of a proxy, stands for; any other is given back as it is."""
    while _is_proxy_of(error, error.__context__):
        error = error.__context__
    return error


def _is_proxy_of(error: Exception, original: BaseException | None) -> bool:
    """A proxy's class is made on the spot, below that of the original and of the same name."""
    kind, below = type(error), type(original)
    return kind.__bases__ == (below,) and kind.__qualname__ == below.__qualname__
