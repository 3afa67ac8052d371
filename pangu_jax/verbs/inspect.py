"""Photos inspected by a run's detector."""

import argparse
import sys

from pangu_jax.result import Result
from pangu_jax.verbs import device_flags
from pangu_jax.verbs.verb import Verb

SAID = 25  # photos between two lines of progress


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run_dir", required=True, metavar="DIR", help="the run whose detector looks")
    parser.add_argument(
        "--photos",
        required=True,
        metavar="DIR",
        help="a folder (flights are folders in it), archive or table",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder for boxes drawn, detections.json and pages"
    )
    parser.add_argument(
        "--annotations",
        metavar="FILE",
        help="known boxes, VOC, COCO or Parquet: findings are measured by them",
    )


def _inspect(flags: argparse.Namespace) -> Result:
    from pangu_jax import recipes, text_tables
    from pangu_jax.recipes import Reference
    from pangu_jax.recipes.functions import INSPECT

    files = flags.gin_file or ["vision/powerline.gin"]
    recipe = recipes.load(files, flags.bindings, function=INSPECT)
    for finding in recipes.require_valid(recipe):
        print(f"pangu inspect: {finding}", file=sys.stderr)
    # Not into gin's registry: the same recipe trains, and the run that is opened was made by its own.
    with recipes.plain_errors():
        inspect = recipes.make(recipe, Reference("", INSPECT, False))
        found = inspect(
            run_dir=flags.run_dir,
            photos=flags.photos,
            out=flags.out,
            annotations=flags.annotations,
            on_photo=_say,
            devices=device_flags.devices(flags, recipe),
        )
    lines = list(found.said)
    if found.precision:
        lines.append(", ".join(f"{name} {value:.1f}" for name, value in found.precision.items()))
    if found.screening:
        rows = [
            [row["order"], str(row["k"]), f"{row['precision']:.2f}", f"{row['random']:.2f}"]
            for row in found.screening["rows"]
            if "k" in row
        ]
        lines.append(text_tables.render(["order", "k", f"has {found.screening['wanted']}", "random"], rows))
    lines.append(f"{len(found.photos)} photos in {found.page}")
    value = {
        "photos": len(found.photos),
        "refused": found.refused,
        "page": str(found.page),
        "average_precision": found.precision,
        "screening": found.screening,
    }
    return Result(value, "\n".join(lines), status=2 if found.refused else 0)


def _say(number: int, name: str) -> None:
    if number == 1 or number % SAID == 0:
        print(f"{number} photos, the last {name}", file=sys.stderr, flush=True)


VERBS: dict[str, Verb] = {
    "inspect": Verb(
        "inspect photos by a run's detector: boxes drawn, a page per flight, what to look at first",
        "pangu inspect --gin_file vision/powerline.gin --run_dir runs/lines --photos flights --out inspected",
        _flags,
        _inspect,
        takes_recipe=True,
        opens_run=True,
    ),
}
