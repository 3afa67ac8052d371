"""Exceptions as they were raised, without what gin makes of them.

gin wraps whatever passes through a configurable in a proxy whose text goes on for a line: "In call to
configurable ...". A mistake that a person can mend is told in one line of its own.
"""


def unwrap(error: Exception) -> Exception:
    """The exception that gin's proxy, or a proxy of a proxy, stands for; any other is given back as it is."""
    while _is_proxy_of(error, error.__context__):
        error = error.__context__
    return error


def _is_proxy_of(error: Exception, original: BaseException | None) -> bool:
    """A proxy's class is made on the spot, below that of the original and of the same name."""
    kind, below = type(error), type(original)
    return kind.__bases__ == (below,) and kind.__qualname__ == below.__qualname__
