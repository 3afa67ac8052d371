"""Devices: what there is, what is wrong with it, and compiling for what is not there."""

import argparse

from pangu_jax.result import Result
from pangu_jax.verbs.recipe_flags import loaded
from pangu_jax.verbs.verb import Verb


def _no_flags(parser: argparse.ArgumentParser) -> None:
    """Nothing to say."""


def _list(flags: argparse.Namespace) -> Result:
    from pangu_jax import backends

    return backends.list_backends()


def _doctor_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="cpu, tpu, cuda or npu; all unless given")
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="end a check that takes longer; 120 unless given"
    )


def _doctor(flags: argparse.Namespace) -> Result:
    from pangu_jax import backends

    return backends.doctor(flags.name, flags.timeout)


def _compile_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target", required=True, metavar="T", help="an Ascend chip (Ascend910B1) or a topology (v5e:2x2)"
    )
    parser.add_argument(
        "--out", metavar="DIR", help="what the compiler makes goes there; new, or of an earlier call"
    )


def _compile(flags: argparse.Namespace) -> Result:
    from pangu_jax import backends

    return backends.compile_step(loaded(flags), flags.target, flags.out)


VERBS: dict[str, Verb] = {
    "backend list": Verb(
        "tell what this machine has to compute with, and what could be installed",
        "pangu backend list",
        _no_flags,
        _list,
    ),
    "backend doctor": Verb(
        "try a backend, from its driver to a collective; exits 2 when it is not usable, and says why",
        "pangu backend doctor tpu",
        _doctor_flags,
        _doctor,
    ),
    "backend compile": Verb(
        "compile a recipe's train step for Ascend chips or TPUs that need not be there; reads no data",
        "pangu backend compile --gin_file nlp/quickstart.gin --target Ascend910B1 --out compiled/",
        _compile_flags,
        _compile,
        takes_recipe=True,
    ),
}
