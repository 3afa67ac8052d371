"""Pictures that a text or a picture finds."""

import argparse
import sys
from pathlib import Path

from pangu_jax.errors import UserError
from pangu_jax.result import Result
from pangu_jax.verbs import device_flags, outputs
from pangu_jax.verbs.verb import Verb


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run_dir", required=True, metavar="DIR", help="a run of pictures and captions")
    parser.add_argument("--step", type=int, metavar="N", help="its checkpoint; the newest unless given")
    parser.add_argument("--images", required=True, metavar="DIR", help="folder whose pictures are searched")
    parser.add_argument("--query", action="append", default=[], metavar="TEXT", help="may be repeated")
    parser.add_argument(
        "--query_image",
        action="append",
        default=[],
        metavar="FILE",
        help="find what looks like it; may be repeated",
    )
    parser.add_argument("--top", type=int, default=10, metavar="N", help="pictures of each query; 10")
    parser.add_argument(
        "--index", metavar="DIR", help="keep the index there; below the user's cache unless given"
    )
    parser.add_argument(
        "--kind", choices=("exact", "approximate"), default="exact", help="of the index; exact misses nothing"
    )
    parser.add_argument("--html", metavar="FILE", help="write a page of what was found there")


def _retrieve(flags: argparse.Namespace) -> Result:
    if not flags.query and not flags.query_image:
        raise UserError("nothing is asked: give --query TEXT, or --query_image FILE")
    if flags.top < 1:
        raise UserError(f"--top {flags.top}: give a number from 1 on")
    if flags.html:
        outputs.require_writable(flags.html, "--html")
    from pangu_jax.apps.multimodal.retrieving import PictureFinder
    from pangu_jax.runs import opening

    pictures = Path(flags.images)
    run = opening.open_run(flags.run_dir, flags.step, device_flags.devices(flags), family="multimodal")
    find = PictureFinder(run, pictures, Path(flags.index) if flags.index else None, flags.kind, _say)
    found = find(flags.query, list(map(Path, flags.query_image)), flags.top)
    index = find.index
    about = f"{len(index.names)} pictures of {pictures}, index in {find.place}"
    if index.unusable:
        about += (
            f"; {len(index.unusable)} files are no pictures that can be used, such as {index.unusable[0]}"
        )
    lines = [about]
    for one in found:
        lines += ["", one.query, *(f"  {match.cosine:6.3f}  {match.name}" for match in one.matches)]
    if flags.html:
        from pangu_jax.apps.multimodal import retrieval_page
        from pangu_jax.runs.run_directory import write_atomically

        write_atomically(
            Path(flags.html),
            retrieval_page.render(f"found by {run.directory.path.name}", about, found, pictures),
        )
        lines += ["", flags.html]
    value = {
        "pictures": len(index.names),
        "unusable": index.unusable,
        "embedded": index.embedded,
        "index": str(find.place),
        "queries": [
            {"query": one.query, "matches": [match._asdict() for match in one.matches]} for one in found
        ],
    }
    return Result(value, "\n".join(lines))


def _say(done: int) -> None:
    print(f"{done} pictures looked at", file=sys.stderr, flush=True)


VERBS: dict[str, Verb] = {
    "retrieve": Verb(
        "find the pictures of a folder that a text describes, or that look like a picture",
        "pangu retrieve --run_dir runs/pairs --images photos --query 红色的圆在左边 --html found.html",
        _flags,
        _retrieve,
        opens_run=True,
    ),
}
