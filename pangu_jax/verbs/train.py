"""Training runs and their reports."""

import argparse
from pathlib import Path

from pangu_jax.errors import UserError
from pangu_jax.result import Result
from pangu_jax.verbs.verb import Verb


def _run_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run_dir",
        required=True,
        metavar="DIR",
        help="where the run is kept; one that is there resumes, by its own recipe unless another is given",
    )
    parser.add_argument(
        "--backend", metavar="NAME", help="as --gin.train.backend=NAME: auto, cpu, cpu:8, tpu, ..."
    )


def _report_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run_dir", required=True, metavar="DIR", help="a run directory")


def _train(flags: argparse.Namespace) -> Result:
    from pangu_jax import recipes, train

    kept = Path(flags.run_dir, "recipe.gin")  # resolved, so it needs none of the files it came from
    files = flags.gin_file or ([str(kept)] if kept.is_file() else [])
    if not files:
        raise UserError(f"give a recipe with --gin_file; there are: {', '.join(recipes.available())}")
    bindings = [*flags.bindings, *([f"backend={flags.backend}"] if flags.backend else [])]
    value = train.run(files, bindings, flags.run_dir)
    if not value:  # another process of the run reports
        return Result(None, "")
    return Result(value, value.pop("text"))


def _report(flags: argparse.Namespace) -> Result:
    from pangu_jax.runs import report

    path = report.write(flags.run_dir)
    return Result({"report": str(path)}, str(path))


VERBS: dict[str, Verb] = {
    "train": Verb(
        "train a model as a recipe says, or resume a run that was stopped",
        "pangu train --gin_file nlp/quickstart.gin --gin.train.steps=200 --run_dir runs/quickstart",
        _run_dir,
        _train,
        takes_recipe=True,
    ),
    "report": Verb(
        "write report.html of a run directory",
        "pangu report --run_dir runs/quickstart",
        _report_dir,
        _report,
    ),
}
