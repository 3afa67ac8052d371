"""Rounds of asking and learning on pictures, or classes that arrive in groups."""

import argparse
import sys

from pangu_jax.result import Result
from pangu_jax.verbs import device_flags
from pangu_jax.verbs.progress_rows import print_row
from pangu_jax.verbs.verb import Verb

SHOWN = ("round", "bits", "questions", "yes", "labels", "accuracy", "flops_so_far")


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run_dir",
        required=True,
        metavar="DIR",
        help="the run whose trunk sees the pictures; it is not changed",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="answers, heads and the report go there; what was stopped resumes, and no answer is lost",
    )


def _iterate(flags: argparse.Namespace) -> Result:
    from pangu_jax import recipes
    from pangu_jax.apps.vision.measuring import images_of_run
    from pangu_jax.recipes.functions import INCREMENT, ITERATE, wanted
    from pangu_jax.runs import opening

    opening.require_family(flags.run_dir, "vision")
    files = flags.gin_file or ["vision/iterate.gin"]
    function = INCREMENT if wanted(recipes.imported(files)) == INCREMENT else ITERATE
    own = images_of_run.bindings(flags.run_dir, files, flags.bindings)
    with recipes.using(files, [*own, *flags.bindings], function=function) as recipe:
        given = {
            "run_dir": flags.run_dir,
            "out": flags.out,
            "recipe": recipes.dump(recipe),
            "on_row": print_row,
            "say": lambda line: print(line, file=sys.stderr, flush=True),
            "devices": device_flags.devices(flags, recipe),
        }
        return (_increments if function == INCREMENT else _rounds)(given)


def _rounds(given: dict) -> Result:
    from pangu_jax.apps.vision.iteration import report
    from pangu_jax.apps.vision.iteration.iterate import iterate

    found = iterate(**given)
    value = {"out": given["out"], "finished": found.finished, "waiting": found.waiting, "rows": found.rows}
    lines = [report.text(SHOWN, found.rows), str(found.page)]
    if not found.finished:
        lines.append(f"{found.waiting} questions wait: run the same command again to continue")
    return Result(value | {"page": str(found.page)}, "\n\n".join(lines))


def _increments(given: dict) -> Result:
    from pangu_jax.apps.vision.iteration import report
    from pangu_jax.apps.vision.iteration.increments.increment import COLUMNS, increment

    found = increment(**given)
    value = {"out": given["out"], "rows": found.rows, "page": str(found.page)}
    return Result(value, f"{report.text(COLUMNS, found.rows)}\n\n{found.page}")


VERBS: dict[str, Verb] = {
    "iterate": Verb(
        "ask about pictures by one bit or by label and learn, in rounds; or learn classes in groups",
        "pangu iterate --gin_file vision/iterate.gin --run_dir runs/small --out runs/rounds "
        "--gin.OracleFile.path=labels.csv",
        _flags,
        _iterate,
        takes_recipe=True,
        opens_run=True,
    ),
}
