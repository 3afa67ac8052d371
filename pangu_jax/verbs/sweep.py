"""Comparing ways of doing tasks, over splits and seeds."""

import argparse
import json
from pathlib import Path

from pangu_jax.errors import UserError
from pangu_jax.result import Result
from pangu_jax.verbs import device_flags
from pangu_jax.verbs.progress_rows import print_row
from pangu_jax.verbs.verb import Verb


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="rows and tables go there; a sweep that was stopped resumes",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes; 1 unless given")
    parser.add_argument("--ray_address", metavar="HOST:PORT", help="use the Ray cluster whose head this is")


def _sweep(flags: argparse.Namespace) -> Result:
    from pangu_jax import recipes
    from pangu_jax.recipes.functions import SWEEP

    if not flags.gin_file:
        raise UserError("give a recipe with --gin_file, such as sweeps/fewclue.gin")
    with recipes.using(flags.gin_file, flags.bindings, function=SWEEP) as recipe:
        from pangu_jax.apps.language.benchmarks.sweep import sweep

        written = sweep(
            out=flags.out,
            workers=flags.workers,
            ray_address=flags.ray_address,
            on_row=print_row,
            recipe=recipes.dump(recipe),
            devices=device_flags.devices(flags, recipe),
        )
    value = json.loads(Path(written.json).read_text("utf-8"))
    return Result(value, Path(written.markdown).read_text("utf-8") + f"\n{written.html}")


VERBS: dict[str, Verb] = {
    "sweep": Verb(
        "compare ways of doing tasks, over splits and seeds, ending in a table",
        "pangu sweep --gin_file sweeps/fewclue.gin --gin.sweep.run_dir=runs/few --out sweeps/few",
        _flags,
        _sweep,
        takes_recipe=True,
        opens_run=True,
    ),
}
