"""Tuning a model on a task."""

import argparse

from pangu_jax.result import Result
from pangu_jax.verbs.verb import Verb


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run_dir", required=True, metavar="DIR", help="where the tuned model goes; a new directory"
    )


def _tune(flags: argparse.Namespace) -> Result:
    from pangu_jax import recipes
    from pangu_jax.recipes.functions import TUNE

    files = flags.gin_file or ["tuning/prompt.gin"]
    with recipes.using(files, flags.bindings, function=TUNE) as recipe:
        from pangu_jax.apps.language.tuning.tune import tune

        value = tune(out=flags.run_dir, recipe=recipes.dump(recipe))
    lines = [f"{name:<14} {_four_digits(number)}" for name, number in value.items()]
    return Result(value, "\n".join([*lines, f"{'model':<14} {flags.run_dir}"]))


def _four_digits(value: object) -> str:
    """A number to four digits, and anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


VERBS: dict[str, Verb] = {
    "tune": Verb(
        "tune a run's model on a task, by fine-tuning, a soft prompt, LoRA or a classifier",
        "pangu tune --gin_file gin/tuning/prompt.gin --gin.tune.run_dir=runs/base "
        "--gin.tune.task=fewclue/eprstmt --run_dir runs/tuned",
        _flags,
        _tune,
        takes_recipe=True,
    ),
}
