"""Training runs and their checkpoints."""

import argparse
from pathlib import Path

from pangu_jax.errors import UserError
from pangu_jax.verbs.verb import Result, Verb


def _run_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run_dir",
        required=True,
        metavar="DIR",
        help="where the run is kept; one that is there goes on, by its own recipe unless another is given",
    )


def _report_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run_dir", required=True, metavar="DIR", help="a run directory")


def _train(flags: argparse.Namespace) -> Result:
    from pangu_jax import recipes, train

    kept = Path(flags.run_dir, "recipe.gin")  # resolved, so it needs none of the files it came from
    files = flags.gin_file or ([str(kept)] if kept.is_file() else [])
    if not files:
        raise UserError(f"give a recipe with --gin_file; there are: {', '.join(recipes.available())}")
    value = train.run(files, flags.bindings, flags.run_dir)
    if not value:  # another process of the run tells
        return Result(None, "")
    return Result(value, value.pop("text"))


def _checkpoint_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", metavar="DIR", help="a run directory, its checkpoints/, or one checkpoint")


def _inspect(flags: argparse.Namespace) -> Result:
    from pangu_jax.runs import checkpoint_files, checkpoint_table

    found = checkpoint_files.inspect(flags.dir)
    return Result(found, checkpoint_table.render(found).rstrip())


def _verify(flags: argparse.Namespace) -> Result:
    from pangu_jax.runs import checkpoint_files, checkpoint_table

    found = checkpoint_files.verify(flags.dir)
    damaged = any(step["state"] == "corrupt" for step in found["steps"])
    return Result(found, checkpoint_table.render(found).rstrip(), status=2 if damaged else 0)


def _report(flags: argparse.Namespace) -> Result:
    from pangu_jax.runs import report

    path = report.write(flags.run_dir)
    return Result({"report": str(path)}, str(path))


VERBS: dict[str, Verb] = {
    "train": Verb(
        "train a model as a recipe says, or go on with a run that was stopped",
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
    "checkpoint inspect": Verb(
        "tell what a checkpoint holds, without a device",
        "pangu checkpoint inspect runs/quickstart",
        _checkpoint_dir,
        _inspect,
    ),
    "checkpoint verify": Verb(
        "read checkpoints through and tell whether they are whole; exits 2 when one is damaged",
        "pangu checkpoint verify runs/quickstart",
        _checkpoint_dir,
        _verify,
    ),
}
