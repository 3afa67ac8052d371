"""The train binary: `pangu train`, or `python -m pangu_jax.train`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# The configurable that a training recipe's bare names (`--gin.backend=...`) belong to.
FUNCTION = "pangu_jax.training.train.train"


def run(gin_files: Sequence[str], bindings: Sequence[str], run_dir: str | Path) -> dict[str, Any]:
    """Train as the recipes and bindings say, in `run_dir`, resuming what is there.

    Args:
      gin_files: recipes by path or name; later ones win.
      bindings: "NAME=VALUE" each, over the recipes.
      run_dir: made when missing.

    Returns:
      The run's result, as JSON can hold it. UserError for whatever the caller can mend.
    """
    from pangu_jax import recipes

    recipe = recipes.load(gin_files, bindings, function=FUNCTION)
    recipes.require_valid(recipe)
    recipes.apply(recipe)
    from pangu_jax.training.train import train

    return train(run_dir=str(run_dir), recipe=recipes.dump(recipe)).summary


if __name__ == "__main__":
    from pangu_jax.cli import main

    sys.exit(main(["train", *sys.argv[1:]]))
