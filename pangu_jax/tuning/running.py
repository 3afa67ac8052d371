"""`pangu tune`: from recipes to a tuned run directory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_pipelines.errors import DataError
from pangu_jax import recipes
from pangu_jax.errors import UserError

FUNCTION = "pangu_jax.tuning.tune.tune"
SUPPLIED = ("out", "recipe")


def run(gin_files: Sequence[str], bindings: Sequence[str], out: str | Path) -> dict[str, Any]:
    """`tune` as the recipes and bindings say, into run directory `out`.

    Raises:
      UserError, DataError: what the caller can mend, in one line.
    """
    try:
        recipe = recipes.load(gin_files, bindings, function=FUNCTION, supplied=SUPPLIED)
        recipes.require_valid(recipe)
        recipes.apply(recipe)
        from pangu_jax.tuning.tune import tune

        return tune(out=str(out), recipe=recipes.dump(recipe))
    except (UserError, DataError) as error:
        plain = recipes.unwrap(error)
        raise plain from plain.__cause__
