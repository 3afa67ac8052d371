"""What can be done with a run, by its model family: the one table of what is in apps/FAMILY."""

import importlib
from collections.abc import Sequence
from typing import NamedTuple

from pangu_jax.workloads import RunContext, Variables, Workload
from pangu_jax.workloads.exhibits import Exhibit


class Family(NamedTuple):
    """What apps/FAMILY has for runs of a family.

    Attributes:
      verbs: of `pangu`, besides those for runs of every family.
      exhibits: module with an `exhibits(workload, variables, run)`, what a report shows that the workload
        itself, which is below decoding, cannot make; None where there is no such thing.
    """

    verbs: tuple[str, ...] = ()
    exhibits: str | None = None


FAMILIES = {
    "language": Family(
        verbs=("generate", "fill", "chat", "eval", "tune", "sweep", "checkpoint export"),
        exhibits="pangu_jax.apps.language.decoding.samples",
    ),
    "vision": Family(
        verbs=(
            "restore",
            "inspect",
            "eval --gin_file eval/images.gin",
            "iterate",
            "tune",
            "extract",
            "export",
            "checkpoint export",
        ),
        exhibits="pangu_jax.apps.vision.report_sheets",
    ),
    "multimodal": Family(
        verbs=("retrieve", "caption", "eval --gin_file eval/retrieval.gin", "checkpoint export"),
        exhibits="pangu_jax.apps.multimodal.showing",
    ),
    "science": Family(
        verbs=("forecast", "eval --gin_file eval/weather.gin", "checkpoint export"),
        exhibits="pangu_jax.apps.science.showing",
    ),
}
FOR_EVERY_FAMILY = ("train", "report", "eval --held_out", "checkpoint inspect", "checkpoint verify")


def verbs(family: str) -> tuple[str, ...]:
    """The verbs of `pangu` that do something with a run of a family."""
    return FOR_EVERY_FAMILY + FAMILIES.get(family, Family()).verbs


def exhibits(workload: Workload, variables: Variables, run: RunContext) -> list[Exhibit]:
    """What a finished run shows: the workload's own exhibits, then those that its apps make.

    Args:
      workload: the model family.
      variables: whole, as `Workload.evaluated` gives them.
      run: how the loss was carried out.
    """
    shown: list[Exhibit] = [*workload.exhibits(variables, run)]
    if module := FAMILIES.get(workload.name, Family()).exhibits:
        of_apps: Sequence[Exhibit] = importlib.import_module(module).exhibits(workload, variables, run)
        shown += of_apps
    return shown
