"""The recipe that a verb's flags name."""

import argparse
from typing import TYPE_CHECKING

from pangu_jax.errors import UserError

if TYPE_CHECKING:
    from pangu_jax.recipes import Recipe


def loaded(flags: argparse.Namespace, *files: str | None) -> "Recipe":
    """Of `files` and of --gin_file, with the bindings over them.

    Raises:
      UserError: none is named, or there is none of such a name.
    """
    from pangu_jax import recipes

    named = [file for file in files if file] + flags.gin_file
    if not named:
        raise UserError(f"name a recipe; there are: {', '.join(recipes.available())}")
    return recipes.load(named, flags.bindings)
