"""Sub-models cut out of a run, the best under a budget each."""

import argparse
import sys
from pathlib import Path

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
        "--learning_rate", type=float, default=3e-3, metavar="R", help="its peak; 3e-3 unless given"
    )
    parser.add_argument("--batch", type=int, default=1, metavar="B", help="pictures of a timed forward pass")
    parser.add_argument(
        "--measured", type=int, default=12, metavar="N",
        help="sub-models whose accuracy is measured, that of others is predicted; 12 unless given",
    )  # fmt: skip


def _extract(flags: argparse.Namespace) -> Result:
    from pangu_jax import train
    from pangu_jax.apps.vision.extraction import page
    from pangu_jax.apps.vision.extraction.extracting import extract

    value = extract(
        flags.run_dir,
        flags.budget,
        flags.out,
        train.run,
        steps=flags.steps,
        learning_rate=flags.learning_rate,
        batch=flags.batch,
        measured=flags.measured,
        devices=device_flags.devices(flags),
        say=lambda line: print(f"pangu extract: {line}", file=sys.stderr, flush=True),
    )
    return Result(value, f"{page.text(value['extracted'])}\n\n{Path(flags.out, 'extraction.svg')}")


VERBS: dict[str, Verb] = {
    "extract": Verb(
        "cut the best sub-model under a budget of time, parameters or FLOPs out of a classifier, and tune it",
        'pangu extract --run_dir runs/elastic --budget "latency<=2ms@cpu" --out runs/small',
        _flags,
        _extract,
        opens_run=True,
    ),
}
