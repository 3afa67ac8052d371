"""Measuring models on benchmark tasks."""

import argparse

from pangu_jax.errors import UserError
from pangu_jax.verbs.verb import Result, Verb


def _sweep_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="rows and tables go there; a sweep that was stopped goes on",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes; 1 unless given")
    parser.add_argument("--ray_address", metavar="HOST:PORT", help="use the Ray cluster whose head this is")


def _sweep(flags: argparse.Namespace) -> Result:
    from pangu_jax import evaluations

    if not flags.gin_file:
        raise UserError("give a recipe with --gin_file, such as sweeps/fewclue.gin")
    found = evaluations.sweep(flags.gin_file, flags.bindings, flags.out, flags.workers, flags.ray_address)
    return Result(found.value, found.text)


def _eval_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run_dir", required=True, metavar="DIR", help="the run whose model is measured")
    parser.add_argument(
        "--task",
        action="append",
        default=[],
        metavar="NAME",
        help="a task instead of the recipe's; may be repeated",
    )
    parser.add_argument("--predictions", metavar="FILE", help="write each answer there, a JSON object a line")
    parser.add_argument("--submission", metavar="ZIP", help="write the leaderboard's files there")


def _eval(flags: argparse.Namespace) -> Result:
    from pangu_jax import evaluations

    found = evaluations.evaluate(
        flags.gin_file or ["eval/fewclue.gin"],
        flags.bindings,
        flags.run_dir,
        flags.task,
        flags.predictions,
        flags.submission,
    )
    return Result(found.value, found.text)


VERBS: dict[str, Verb] = {
    "eval": Verb(
        "measure a model on benchmark tasks: CLUE, FewCLUE, summaries, dialogue",
        "pangu eval --gin_file eval/fewclue.gin --run_dir runs/few --task fewclue/eprstmt --json out.json",
        _eval_flags,
        _eval,
        takes_recipe=True,
    ),
    "sweep": Verb(
        "compare ways of doing tasks, over splits and seeds, ending in a table",
        "pangu sweep --gin_file sweeps/fewclue.gin --gin.sweep.run_dir=runs/few --out sweeps/few",
        _sweep_flags,
        _sweep,
        takes_recipe=True,
    ),
}
