"""Devices: what there is, what is wrong with it, and compiling for what is not there."""

import argparse

from pangu_jax.errors import UserError, suggestion
from pangu_jax.result import Result
from pangu_jax.verbs import topology_flags
from pangu_jax.verbs.recipe_flags import loaded
from pangu_jax.verbs.verb import Verb


def _no_flags(parser: argparse.ArgumentParser) -> None:
    """Nothing to say."""


def _list(flags: argparse.Namespace) -> Result:
    from pangu_jax.verbs import backend_tables
    from tpu_npu_backends.doctor.inventory import inventory

    entries = inventory()
    return Result({"backends": [entry.value for entry in entries]}, backend_tables.inventory(entries))


def _doctor_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="cpu, tpu, cuda or npu; all unless given")
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="end a check that takes longer; 120 unless given"
    )


def _doctor(flags: argparse.Namespace) -> Result:
    """Every check of one backend, or of all. Status 2 when it is not usable.

    Of all, when one does not work whose devices are on this machine.
    """
    from pangu_jax.planning.progress import PlanningProgress
    from pangu_jax.verbs import backend_tables
    from tpu_npu_backends.descriptions import BACKENDS
    from tpu_npu_backends.doctor import examination, running

    name, silent_seconds = flags.name, flags.timeout
    if name is not None and name not in BACKENDS:
        meant = "; did you mean 'cuda'?" if name == "gpu" else suggestion(name, BACKENDS)
        raise UserError(f"no backend {name!r}{meant}; it is one of {', '.join(BACKENDS)}")
    if silent_seconds is not None and not silent_seconds > 0:
        raise UserError(f"--timeout {silent_seconds:g}: it is a number of seconds, above 0")
    found = []
    with PlanningProgress() as progress:
        for platform in [name] if name else BACKENDS:
            seconds = silent_seconds or running.SILENT_SECONDS
            found.append(examination.examine(platform, silent_seconds=seconds, on_check=progress.now))
    wanted = {one.platform for one in found if name or examination.is_here(one.platform)}
    usable = all(one.usable for one in found if one.platform in wanted)
    value = {"usable": usable, "backends": [one.value for one in found]}
    return Result(value, backend_tables.doctor(found, wanted), status=0 if usable else 2)


def _compile_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target",
        required=True,
        metavar="T",
        help="an Ascend chip (Ascend910B1) or a topology (v5e:2x2; h100:2x8 is 2 nodes of 8 GPUs)",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="what the compiler makes goes there; new, or of an earlier call"
    )
    topology_flags.add_memory_fraction(parser)


def _compile(flags: argparse.Namespace) -> Result:
    from pangu_jax.planning import targets

    return targets.compile_step(loaded(flags), flags.target, flags.out, flags.memory_fraction)


VERBS: dict[str, Verb] = {
    "backend list": Verb(
        "list what this machine has to compute with, and what could be installed",
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
        "compile a recipe's train step for GPUs, TPUs or Ascend chips that need not be there; reads no data",
        "pangu backend compile --gin_file nlp/quickstart.gin --target Ascend910B1 --out compiled/",
        _compile_flags,
        _compile,
        takes_recipe=True,
    ),
}
