"""Captions of pictures."""

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from pangu_jax.errors import UserError
from pangu_jax.result import Result
from pangu_jax.verbs import device_flags, sampling_flags
from pangu_jax.verbs.sampling_flags import SamplingFlags
from pangu_jax.verbs.verb import Verb

TOGETHER = 16  # pictures


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="picture files, of any size")
    parser.add_argument("--run_dir", required=True, metavar="DIR", help="the run whose model writes")
    parser.add_argument("--step", type=int, metavar="N", help="its checkpoint; the newest unless given")
    sampling_flags.add_to(parser)


def _caption(flags: argparse.Namespace) -> Result:
    """A line per picture, its file and its caption, as soon as it is written."""
    from pangu_jax.apps.multimodal import picture_files
    from pangu_jax.apps.multimodal.captioning import Captioner
    from pangu_jax.apps.multimodal.embedding import Embedder
    from pangu_jax.runs import opening

    settings: Any = SamplingFlags.of(flags).settings()
    run = opening.open_run(flags.run_dir, flags.step, device_flags.devices(flags), family="multimodal")
    embedder = Embedder.of_run(run)
    write = Captioner(embedder.workload, embedder.params, embedder.run)
    rows: list[dict[str, Any]] = []
    seen = picture_files.views(embedder, map(Path, flags.images))
    for some in iter(lambda: list(islice(seen, TOGETHER)), []):
        rows += _rows(write, some, settings)
    refused = sum("refused" in row for row in rows)
    if refused == len(rows):
        raise UserError("; ".join(f"{row['image']}: {row['refused']}" for row in rows[:3]))
    lines = "\n".join(
        f"{row['image']}: {row.get('caption', 'refused, ' + row.get('refused', ''))}" for row in rows
    )
    return Result(rows, lines, status=2 if refused else 0)


def _rows(write: Any, some: list, settings: Any) -> Iterator[dict[str, Any]]:
    import numpy as np

    views = [one.view_SxSxC for one in some if one.view_SxSxC is not None]
    captions = iter(write(np.stack(views), settings) if views else [])
    for one in some:
        row = {"image": str(one.path)}
        yield row | ({"refused": one.refused} if one.view_SxSxC is None else {"caption": next(captions)})


VERBS: dict[str, Verb] = {
    "caption": Verb(
        "write captions of pictures by a run of pictures and captions",
        "pangu caption --run_dir runs/pairs photo.jpg scan.png",
        _flags,
        _caption,
        opens_run=True,
    ),
}
