"""Tuning a model on a task."""

import argparse

from pangu_jax.verbs.verb import Result, Verb


def _tune_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run_dir", required=True, metavar="DIR", help="where the tuned model goes; a new directory"
    )


def _tune(flags: argparse.Namespace) -> Result:
    from pangu_jax.apps.language.tuning import running

    value = running.run(flags.gin_file or ["tuning/prompt.gin"], flags.bindings, flags.run_dir)
    lines = [f"{name:<14} {shown(number)}" for name, number in value.items()]
    return Result(value, "\n".join([*lines, f"{'model':<14} {flags.run_dir}"]))


def shown(value: object) -> str:
    """A number to four digits, and anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


VERBS: dict[str, Verb] = {
    "tune": Verb(
        "tune a run's model on a task, by fine-tuning, a soft prompt, LoRA or a classifier",
        "pangu tune --gin_file gin/tuning/prompt.gin --gin.tune.run_dir=runs/base "
        "--gin.tune.task=fewclue/eprstmt --run_dir runs/tuned",
        _tune_flags,
        _tune,
        takes_recipe=True,
    ),
}
