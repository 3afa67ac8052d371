"""Pictures, restored by a run's model."""

import argparse
import math
import sys
from typing import Any

from pangu_jax.errors import UserError
from pangu_jax.result import Result
from pangu_jax.verbs import device_flags
from pangu_jax.verbs.verb import Verb


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="picture files, of any size")
    parser.add_argument("--run_dir", required=True, metavar="DIR", help="the run whose model restores")
    parser.add_argument("--step", type=int, metavar="N", help="its checkpoint; the newest unless given")
    parser.add_argument(
        "--task", required=True, choices=("denoise", "x2", "x3", "x4", "deblock"),
        help="take away noise, enlarge, or take away a JPEG's blocks",
    )  # fmt: skip
    parser.add_argument(
        "--sigma", type=float, metavar="S", help="of the noise, of 255; what the run knows unless given"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for a PNG of each picture's name")
    parser.add_argument(
        "--overwrite", action="store_true", help="write over PNG files that are there already"
    )


def _restore(flags: argparse.Namespace) -> Result:
    from pangu_jax.apps.vision import picture_files
    from pangu_jax.apps.vision.restoring import RunRestorer
    from pangu_jax.runs import opening

    if flags.sigma is not None and not (math.isfinite(flags.sigma) and flags.sigma > 0):
        raise UserError(f"--sigma {flags.sigma:g}: give a number above 0")
    files = picture_files.planned(flags.images, flags.out, flags.overwrite)
    run = opening.open_run(flags.run_dir, flags.step, device_flags.devices(flags), family="vision")
    restorer = RunRestorer(run)
    rows: list[dict[str, Any]] = []
    for row in picture_files.restore_files(restorer, files, flags.task, flags.sigma):
        rows.append(row)
        print(f"{len(rows)} of {len(files)}: {_line(row)}", file=sys.stderr, flush=True)
    refused = sum("refused" in row for row in rows)
    done = f"{len(rows) - refused} of {len(rows)} pictures in {flags.out}"
    return Result(rows, done + f"; {refused} refused" * bool(refused), status=2 if refused else 0)


def _line(row: dict[str, Any]) -> str:
    if "refused" in row:
        return f"{row['image']}: {row['refused']}"
    before, after = (" x ".join(map(str, row[side])) for side in ("from", "to"))
    return f"{row['out']}, {before} to {after}, {row['seconds']} s"


VERBS: dict[str, Verb] = {
    "restore": Verb(
        "restore pictures by a run of vision: without noise, 2 to 4 times as large, without a JPEG's blocks",
        "pangu restore --run_dir runs/x2 --task x2 --out larger photo.jpg scan.png",
        _flags,
        _restore,
        opens_run=True,
    ),
}
