"""The packages that only knowledge needs, the extra `knowledge`."""

import contextlib
from collections.abc import Generator

from pangu_jax.errors import UserError


@contextlib.contextmanager
def knowledge_extra() -> Generator[None]:
    """Around the import of one of them.

    Raises:
      UserError: it is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"knowledge needs {error.name}, which is missing: pip install 'pangu-jax[knowledge]'"
        ) from None
