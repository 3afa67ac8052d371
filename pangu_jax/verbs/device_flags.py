"""--backend NAME and --gin.Layout.NAME=VALUE: on which devices a verb opens a run."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pangu_jax.errors import UserError

if TYPE_CHECKING:
    from pangu_jax.recipes import Recipe
    from pangu_jax.runs.inference_layout import Devices

HELP = """\
devices:
  --gin.Layout.NAME=VALUE  how the model is spread over the devices of --backend, over the layout that it was
                       trained with: Layout.data, Layout.fsdp, Layout.model, Layout.compute_dtype. That
                       layout is kept where it fits the devices there are; otherwise one device is used.
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """The backend; the layout's bindings are no flags of argparse."""
    parser.add_argument(
        "--backend",
        metavar="NAME",
        default="auto",
        help="auto, cpu, cpu:8 (8 virtual devices), tpu, cuda or npu; auto unless given",
    )


def split(bindings: Sequence[str]) -> tuple[list[str], list[str]]:
    """Bindings of the layout, and the others."""
    layout = [binding for binding in bindings if _is_of_layout(binding)]
    return layout, [binding for binding in bindings if binding not in layout]


def require_none(bindings: Sequence[str]) -> None:
    """UserError where a verb without a recipe is given bindings of one."""
    if bindings:
        raise UserError(
            f"--gin.{bindings[0]}: a run has its own recipe; only --gin.Layout.NAME=VALUE can be changed here"
        )


def devices(flags: argparse.Namespace, recipe: "Recipe | None" = None) -> "Devices":
    """What was asked for on the command line, over what the verb's own recipe says of the layout."""
    from pangu_jax.runs.inference_layout import Devices

    bound = ()
    if recipe is not None:
        from pangu_jax.recipes.signatures import look_up

        names = recipe.bound_parameters(look_up("Layout").selector)
        bound = tuple(f"Layout.{name}={recipe.value(f'Layout.{name}')!r}" for name in names)
    return Devices(flags.backend, (*bound, *flags.layout))


def _is_of_layout(binding: str) -> bool:
    configurable, _, _ = binding.partition("=")[0].strip().rpartition(".")
    return configurable.rpartition(".")[2] == "Layout"
