"""The corpus factory."""

import argparse

from pangu_jax.verbs.verb import Result, Verb


def _build_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        action="extend",
        metavar="DIR_OR_GLOB",
        help="folders, files, globs or URLs; NAME=DIR names the source of its documents",
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="where the corpus goes; one that was stopped goes on"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes; one a CPU unless given")
    parser.add_argument("--ray_address", metavar="HOST:PORT", help="use the Ray cluster whose head this is")


def _build(flags: argparse.Namespace) -> Result:
    from pangu_jax import corpora

    found = corpora.build(
        flags.gin_file, flags.bindings, flags.input, flags.output, flags.workers, flags.ray_address
    )
    return Result(found.value, found.text)


def _dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", metavar="DIR", help="the --output of a build")


def _report(flags: argparse.Namespace) -> Result:
    from pangu_jax import corpora

    found = corpora.report(flags.dir)
    return Result(found.value, found.text)


def _plan_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--raw_tb", type=float, required=True, metavar="TB", help="raw text, 10^12 bytes each"
    )
    parser.add_argument("--days", type=float, required=True, metavar="N", help="in which it is to be done")
    parser.add_argument(
        "--from", required=True, dest="measured", metavar="DIR", help="a finished build of a sample of it"
    )
    parser.add_argument("--cores", type=int, default=16, metavar="N", help="of a machine; 16 unless given")
    parser.add_argument("--memory_gb", type=float, default=64.0, metavar="GB", help="of a machine; 64")


def _plan(flags: argparse.Namespace) -> Result:
    from pangu_jax import corpora

    found = corpora.plan(flags.raw_tb, flags.days, flags.measured, flags.cores, flags.memory_gb)
    return Result(found.value, found.text)


def _quality_flags(parser: argparse.ArgumentParser) -> None:
    for kind in ("good", "bad"):
        parser.add_argument(
            f"--{kind}", required=True, nargs="+", metavar="PATH", help=f"{kind} text: .txt or .jsonl"
        )
    parser.add_argument("--out", required=True, metavar="FILE", help="the weights, .npz")


def _quality(flags: argparse.Namespace) -> Result:
    from pangu_jax import corpora

    found = corpora.quality(flags.good, flags.bad, flags.out)
    return Result(found.value, found.text)


def _sample_flags(parser: argparse.ArgumentParser) -> None:
    _dir(parser)
    parser.add_argument("--stage", required=True, metavar="NAME", help="read, clean, deduplicate, ...")
    parser.add_argument("--rejected", action="store_true", help="what the stage rejected, of each rule")
    parser.add_argument("--count", type=int, default=5, metavar="N", help="documents, of each rule; 5")


def _sample(flags: argparse.Namespace) -> Result:
    from pangu_jax import corpora

    found = corpora.sample(flags.dir, flags.stage, flags.rejected, flags.count)
    return Result(found.value, found.text)


VERBS: dict[str, Verb] = {
    "corpus build": Verb(
        "make a clean corpus of raw documents, or go on with one that was stopped",
        "pangu corpus build --gin_file corpus/chinese.gin --input raw/ --output corpus/ --workers 8",
        _build_flags,
        _build,
        takes_recipe=True,
    ),
    "corpus report": Verb(
        "show what a build kept, what it rejected and why, and what it cost",
        "pangu corpus report corpus/",
        _dir,
        _report,
    ),
    "corpus plan": Verb(
        "tell the cores, machines, disk and hours that some TB need, from a build on a sample",
        "pangu corpus plan --raw_tb 40 --days 7 --from corpus/",
        _plan_flags,
        _plan,
    ),
    "corpus quality": Verb(
        "train the quality classifier by good and bad samples of yours",
        "pangu corpus quality --good encyclopedia/*.jsonl --bad spam.txt --out quality.npz",
        _quality_flags,
        _quality,
    ),
    "corpus sample": Verb(
        "show documents of a stage, kept or rejected",
        "pangu corpus sample corpus/ --stage clean --rejected",
        _sample_flags,
        _sample,
    ),
}
