"""A recipe in use: read, found sound, and seen by every configurable."""

import contextlib
import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path

from pangu_jax.recipes.checking import require_valid
from pangu_jax.recipes.loading import apply, load
from pangu_jax.recipes.recipe import Recipe
from pangu_jax.recipes.unwrapping import plain_errors

log = logging.getLogger(__name__)


@contextlib.contextmanager
def using(
    files: Sequence[str | Path],
    bindings: Iterable[str],
    *,
    function: str | Callable | None = None,
) -> Generator[Recipe]:
    """`load`, `require_valid` and `apply`; what is raised inside comes out as it was, without gin's proxy.

    What is odd about the recipe and does not stop it is a warning.

    Raises:
      UserError: the recipe is wrong, one line per finding.
    """
    with plain_errors():
        recipe = load(files, bindings, function=function)
        for finding in require_valid(recipe):
            log.warning("%s", finding)
        apply(recipe)
        yield recipe
