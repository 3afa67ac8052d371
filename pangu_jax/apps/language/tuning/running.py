"""`pangu tune`: from recipes to a tuned run directory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pangu_jax import recipes
from pangu_jax.recipes import functions


def run(gin_files: Sequence[str], bindings: Sequence[str], out: str | Path) -> dict[str, Any]:
    """`tune` as the recipes and bindings say, into run directory `out`.

    Raises:
      UserError, DataError: what the caller can mend, in one line.
    """
    with recipes.using(gin_files, bindings, function=functions.TUNE) as recipe:
        from pangu_jax.apps.language.tuning.tune import tune

        return tune(out=str(out), recipe=recipes.dump(recipe))
