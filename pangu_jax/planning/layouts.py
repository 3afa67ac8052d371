"""`pangu plan`: layouts for a recipe on a topology, ranked by prediction, the best of them compiled."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pangu_jax import recipes
from pangu_jax.errors import UserError
from pangu_jax.planner import planner, predictions
from pangu_jax.planner.predictions import PlannedModel, Prediction
from pangu_jax.planning import compiled_steps, tables
from pangu_jax.planning.plan import Plan
from pangu_jax.planning.verifying import Verifier, fastest
from pangu_jax.recipes import Recipe
from pangu_jax.result import Result
from pangu_jax.training import step_recipe
from tpu_npu_backends import topologies
from tpu_npu_backends.topologies import Topology


def plan(
    recipe: Recipe,
    topology: str,
    *,
    top: int = 10,
    verify: int = 0,
    dump_hlo: str | Path | None = None,
    fixed: Mapping[str, Any] | None = None,
    memory_fraction: float | None = None,
) -> Result:
    """The `top` best layouts of a training recipe on a topology, the first `verify` of them compiled for it.

    Args:
      recipe: a recipe of `train`.
      topology: its name, such as "v5p:8x8x8", "h100:2x8", "cpu:8" or "ascend910b:512".
      top: how many layouts are ranked.
      verify: how many are compiled; 0 needs no compiler.
      dump_hlo: a folder for the optimised HLO text of each compiled program.
      fixed: fields of Layout with the value they must have.
      memory_fraction: of a GPU's memory, what a program may use; None for what JAX takes, 0.75 unless
        XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise.

    Raises:
      UserError, DataError, BackendError: what the caller can fix, in one line.
    """
    require_counts(top, verify, dump_hlo)
    recipes.require_valid(recipe)
    chips = topologies.parse(topology, memory_fraction)
    verifier = Verifier(chips, dump_hlo) if verify else None
    spec = step_recipe.read(recipe)
    chips.check_dtype(spec.compute_dtype)
    numbers = (spec.compute_dtype, spec.attention)
    model = predictions.describe(spec.workload, spec.batch_size, spec.optimizer_bytes, *numbers)
    search = planner.search(model, chips, max(top, verify), fixed)
    verified = []
    if verifier:
        parts, devices = (spec.workload, spec.optimizer), verifier.devices
        verified = verifier.verify(
            search.ranking[:verify],
            lambda layout: compiled_steps.compile_step(*parts, layout, spec.batch_size, chips, devices),
            spec.workload.flops_per_step(spec.batch_size),
        )
    own = _own(model, chips, spec.layout)
    found = Plan(model, chips, search, own, verified, fastest(search.ranking, verified))
    return Result(found.value, tables.render(found))


def require_counts(top: int, verify: int, dump_hlo: str | Path | None) -> None:
    """UserError where so many layouts cannot be ranked or compiled."""
    if top < 1 or verify < 0:
        raise UserError(f"--top {top} --verify {verify}: at least 1, and at least 0")
    if dump_hlo and not verify:
        raise UserError("--dump_hlo writes what is compiled: give --verify K with it")


def parse_fixed(texts: Iterable[str]) -> dict[str, Any]:
    """Fields of Layout from "NAME=VALUE" each; UserError for what is not of that form."""
    fixed: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise UserError(f"--fix {text}: write --fix NAME=VALUE, such as --fix stage=4")
        fixed[name.removeprefix("Layout.")] = int(value) if value.isdigit() else value
    return fixed


def _own(model: PlannedModel, topology: Topology, layout: Any) -> Prediction | None:
    """What is expected of the recipe's own layout; None where it is for other chips."""
    try:
        return predictions.predict(model, topology, layout) if layout else None
    except UserError:
        return None
