"""Tuning a model on a task, or on labelled pictures."""

import argparse
from pathlib import Path

from pangu_jax.result import Result
from pangu_jax.verbs.verb import Verb

SHOWN = ("task", "pattern", "split", "seed", "method", "trainable", "best_step", "dev_accuracy", "dev_loss")
SHOWN += ("validation_accuracy",)  # of pictures


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run_dir",
        required=True,
        metavar="DIR",
        help="where the tuned model goes; a run that is there resumes, by its own recipe unless another is "
        "given",
    )
    parser.add_argument("--backend", metavar="NAME", help="as --gin.backend=NAME: auto, cpu, cpu:8, tpu, ...")


def _tune(flags: argparse.Namespace) -> Result:
    from pangu_jax import recipes, train
    from pangu_jax.recipes import functions

    kept = Path(flags.run_dir, "recipe.gin")
    files = flags.gin_file or [str(kept) if kept.is_file() else "tuning/prompt.gin"]
    bindings = [*flags.bindings, *([f"backend={flags.backend}"] if flags.backend else [])]
    value = train.run(files, bindings, flags.run_dir, functions.tuning(recipes.imported(files)))
    if not value:  # another process of the run reports
        return Result(None, "")
    lines = [f"{name:<14} {_four_digits(value[name])}" for name in SHOWN if name in value]
    return Result(value, "\n".join([*lines, f"{'model':<14} {flags.run_dir}", "", value.pop("text")]))


def _four_digits(value: object) -> str:
    """A number to four digits, and anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


VERBS: dict[str, Verb] = {
    "tune": Verb(
        "tune a run's model on a task or pictures: all weights, a soft prompt, LoRA, a classifier, a student",
        "pangu tune --gin_file gin/tuning/prompt.gin --gin.tune.run_dir=runs/base "
        "--gin.tune.task=fewclue/eprstmt --run_dir runs/tuned",
        _flags,
        _tune,
        takes_recipe=True,
    ),
}
