"""What one can compile for: a chip of Ascend by its name, or a topology."""

from pathlib import Path
from typing import Protocol

from pangu_jax import recipes
from pangu_jax.errors import UserError, suggestion
from pangu_jax.recipes import Recipe
from pangu_jax.result import Result


class Target(Protocol):
    """Something that a step can be compiled for."""

    def compile_step(self, recipe: Recipe, out: Path | None) -> Result:
        """See `targets.compile_step`."""
        ...


def compile_step(
    recipe: Recipe, target: str, out: str | Path | None = None, memory_fraction: float | None = None
) -> Result:
    """The train step of a recipe, compiled for a chip or a topology that need not be there. Reads no data.

    Args:
      recipe: a recipe of `train`.
      target: an Ascend chip ("Ascend910B1"), or a topology with a compiler ("v5e:2x2", "h100:2x8", "cpu:8").
      out: a folder for what the compiler made, new or of an earlier call; None writes nothing.
      memory_fraction: of a GPU's memory, what the step may use; None for what JAX takes.

    Raises:
      UserError, DataError, BackendError: what the caller can fix, in one line.
    """
    chosen = parse(target, memory_fraction)
    recipes.require_valid(recipe)
    return chosen.compile_step(recipe, None if out is None else Path(out))


def parse(name: str, memory_fraction: float | None = None) -> Target:
    """The target of that name; UserError with the choices where there is none. Starts no backend."""
    from tpu_npu_backends import topologies
    from tpu_npu_backends.ascend.compiler.bishengir import TARGETS
    from tpu_npu_backends.chips import CHIPS
    from tpu_npu_backends.errors import BackendError

    if name in TARGETS:
        from pangu_jax.planning.ascend_target import AscendTarget

        return AscendTarget(name)
    if ":" in name or name in CHIPS:
        topology = topologies.parse(name, memory_fraction)
        if not topology.analytic:
            from pangu_jax.planning.topology_target import TopologyTarget

            return TopologyTarget(topology)
        if topology.chip.platform == "npu":
            raise BackendError(
                f"--target {name}: kernels are compiled for one chip; it is one of {', '.join(TARGETS)}"
            )
        raise BackendError(f"--target {name}: there is no compiler for it here; {_choices(TARGETS)}")
    raise UserError(
        f"no target {name!r}{suggestion(name, TARGETS) or suggestion(name, CHIPS)}; {_choices(TARGETS)}"
    )


def _choices(targets: tuple[str, ...]) -> str:
    return f"it is a chip ({', '.join(targets)}) or a topology (v5e:2x2, v5p:2x2x1, h100:2x8, cpu:8)"
