"""Sub-models cut out of a run, the best under a budget each."""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pangu_jax.errors import UserError
from pangu_jax.result import Result
from pangu_jax.verbs import device_flags
from pangu_jax.verbs.verb import Verb


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run_dir", required=True, metavar="DIR", help="a run of tuning/elastic.gin")
    parser.add_argument(
        "--budget",
        action="append",
        required=True,
        metavar="LIMIT",
        help='"latency<=5ms@cpu" (measured here; @v5p and other chips are predicted), "params<=2M" or '
        '"flops<=40M"; may be repeated',
    )
    parser.add_argument(
        "--out", required=True, metavar="RUN", help="the extracted run; a folder of runs for several budgets"
    )
    parser.add_argument(
        "--steps", type=int, default=200, metavar="N", help="of fine-tuning; 200 unless given"
    )
    parser.add_argument(
        "--learning_rate", type=float, default=5e-4, metavar="R", help="its peak; 5e-4 unless given"
    )
    parser.add_argument("--batch", type=int, default=1, metavar="B", help="pictures of a timed forward pass")
    parser.add_argument(
        "--measured", type=int, default=12, metavar="N",
        help="sub-models whose accuracy is measured, that of others is predicted; 12 unless given",
    )  # fmt: skip


def _extract(flags: argparse.Namespace) -> Result:
    from pangu_jax.apps.vision.extraction import budgets, choosing, finished, page
    from pangu_jax.runs.exchange import folders

    for name in ("steps", "batch", "measured"):
        if getattr(flags, name) < 1:
            raise UserError(f"--{name} {getattr(flags, name)}: give at least 1")
    if flags.learning_rate <= 0:
        raise UserError(f"--learning_rate {flags.learning_rate:g}: give a number above 0")
    asked = [budgets.parse(text) for text in flags.budget]
    if len({budget.folder for budget in asked}) < len(asked):
        raise UserError("--budget: one is there twice; leave it out")
    out = Path(flags.out)
    folders.require_empty(out, "--out")
    where = device_flags.devices(flags)
    found = choosing.choose(
        flags.run_dir, asked, measured=flags.measured, batch=flags.batch, devices=where, say=_say
    )
    extracted = []
    for choice in found.choices:
        run_dir = out if len(asked) == 1 else out / choice.budget.folder
        _say(f"tuning {choice.part.label} for {choice.budget.text}")
        _tune(flags, choice.part, run_dir)
        extracted.append(finished.extracted_row(choice, run_dir, found.measurer, flags.batch, where))
    value: dict[str, Any] = {
        "run_dir": flags.run_dir,
        "pictures": found.pictures,
        "batch": flags.batch,
        "predictor_error": found.predictor_error,
        "extracted": extracted,
        "sub_models": found.rows,
    }
    (out / "extraction.json").write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    page.picture(out / "extraction.svg", found.rows, extracted)
    return Result(value, f"{page.text(extracted)}\n\n{out / 'extraction.svg'}")


def _tune(flags: argparse.Namespace, part: Any, run_dir: Path) -> None:
    from pangu_jax import train
    from pangu_jax.apps.vision.extraction import recipe_of_part
    from pangu_jax.recipes.functions import TRAIN

    backend = "" if flags.backend == "auto" else flags.backend
    text = recipe_of_part.resolved(flags.run_dir, part, flags.steps, flags.learning_rate, backend)
    with TemporaryDirectory() as folder:
        recipe = Path(folder, "extracted.gin")
        recipe.write_text(text, encoding="utf-8")
        train.run([str(recipe)], [], run_dir, TRAIN)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


VERBS: dict[str, Verb] = {
    "extract": Verb(
        "cut the best sub-model under a budget of time, parameters or FLOPs out of a classifier, and tune it",
        'pangu extract --run_dir runs/elastic --budget "latency<=2ms@cpu" --out runs/small',
        _flags,
        _extract,
        opens_run=True,
    ),
}
