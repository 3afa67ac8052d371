"""`pangu backend`: what there is to compute with, what is wrong with it, and a step compiled for it."""

from pathlib import Path

from pangu_jax import recipes
from pangu_jax.backends import tables
from pangu_jax.backends.progress import Progress
from pangu_jax.errors import UserError, suggestion
from pangu_jax.recipes import Recipe
from pangu_jax.shown import Shown


def list_backends() -> Shown:
    """What this machine has, and what could be installed. Starts no backend."""
    from tpu_npu_backends.doctor.inventory import inventory

    entries = inventory()
    return Shown({"backends": [entry.value for entry in entries]}, tables.inventory(entries))


def doctor(name: str | None = None, silent_seconds: float | None = None) -> tuple[Shown, bool]:
    """Every check of one backend, or of all; and whether it is usable.

    Of all, whether those work whose devices are on this machine.

    Args:
      name: "cpu", "tpu", "cuda" or "npu"; None for all.
      silent_seconds: a check that takes longer is ended, and is wrong; None for two minutes.

    Raises:
      UserError: there is no backend of that name.
    """
    from tpu_npu_backends.descriptions import BACKENDS
    from tpu_npu_backends.doctor import examination, running

    if name is not None and name not in BACKENDS:
        meant = "; did you mean 'cuda'?" if name == "gpu" else suggestion(name, BACKENDS)
        raise UserError(f"no backend {name!r}{meant}; it is one of {', '.join(BACKENDS)}")
    if silent_seconds is not None and not silent_seconds > 0:
        raise UserError(f"--timeout {silent_seconds:g}: it is a number of seconds, above 0")
    found = []
    with Progress() as progress:
        for platform in [name] if name else BACKENDS:
            seconds = silent_seconds or running.SILENT_SECONDS
            found.append(examination.examine(platform, silent_seconds=seconds, tell=progress.now))
    wanted = {one.platform for one in found if name or examination.is_here(one.platform)}
    usable = all(one.usable for one in found if one.platform in wanted)
    value = {"usable": usable, "backends": [one.value for one in found]}
    return Shown(value, tables.doctor(found, wanted)), usable


def compile_step(recipe: Recipe, target: str, out: str | Path | None = None) -> Shown:
    """The train step of a recipe, compiled for a chip or a topology that need not be there. Reads no data.

    Args:
      recipe: a recipe of `train`.
      target: an Ascend chip ("Ascend910B1"), or a topology with a compiler ("v5e:2x2", "cpu:8").
      out: a folder for what the compiler made, new or of an earlier call; None writes nothing.

    Raises:
      UserError, DataError, BackendError: what the caller can mend, in one line.
    """
    from pangu_jax.backends import targets

    chosen = targets.parse(target)
    recipes.require_valid(recipe)
    return chosen.compile_step(recipe, None if out is None else Path(out))
