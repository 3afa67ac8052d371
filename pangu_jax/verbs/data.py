"""The benchmark sets: which are there, and texts of their domains."""

import argparse

from pangu_jax.verbs.verb import Result, Verb


def _data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data_dir", metavar="DIR", help="the data folder; $PANGU_DATA_DIR unless given")


def _check(flags: argparse.Namespace) -> Result:
    from pangu_jax import benchmark_data

    found = benchmark_data.check(flags.data_dir)
    return Result(found.value, found.text)


def _unlabelled_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="DIR", help="where the texts and their report go")
    parser.add_argument(
        "--task",
        action="append",
        metavar="NAME",
        help="whose texts, without what its dev and test hold; may be repeated; FewCLUE's nine unless given",
    )
    _data_dir(parser)


def _unlabelled(flags: argparse.Namespace) -> Result:
    from pangu_jax import benchmark_data

    found = benchmark_data.unlabelled(flags.task, flags.out, flags.data_dir)
    return Result(found.value, found.text)


VERBS: dict[str, Verb] = {
    "data check": Verb(
        "tell which benchmark sets are there, with how many examples, and where to get the others",
        "pangu data check --data_dir data/",
        _data_dir,
        _check,
    ),
    "data unlabelled": Verb(
        "write texts of the tasks' domains for pretraining, without what is evaluated",
        "pangu data unlabelled --task fewclue/eprstmt --out unlabelled/",
        _unlabelled_flags,
        _unlabelled,
    ),
}
