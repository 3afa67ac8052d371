"""Operators of equations under the trainer: a field in, the field one lead later out."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import gin
import jax
import jax.numpy as jnp

from pangu_jax.errors import UserError
from pangu_jax.recipes import Recipe, Reference, make
from pangu_jax.workloads import Batch, RunContext, Source, Sums, TrainStream, Variables, Workload
from pangu_jax.workloads.exhibits import Exhibit
from pangu_jax.workloads.science.operators import showing, solution_data
from pangu_jax.workloads.science.operators.fourier import FourierConfig
from pangu_jax.workloads.science.operators.patched import PatchedConfig
from pangu_jax.workloads.science.operators.solution_data import SolutionData

register = partial(gin.external_configurable, module="pangu_jax.workloads.science.operators")
register(FourierConfig, "FourierOperator")
register(PatchedConfig, "OperatorTransformer")


@gin.configurable(module="pangu_jax.workloads.science.operators")
class OperatorModel(Workload):
    """A network that maps a field on a periodic grid to what an equation makes of it.

    Args:
      model: the network's shape, @FourierOperator() or @OperatorTransformer().
      data: where pairs of fields come from, @burgers() or @navier_stokes().
      targets: what the network gives: the field one lead later ("state"), or what is added to the first one
        ("increment").
    """

    name = "science"
    loss_unit = "relative L2"
    throughput_unit = "points"

    def __init__(
        self,
        model: FourierConfig | PatchedConfig = gin.REQUIRED,
        data: SolutionData = gin.REQUIRED,
        targets: Literal["state", "increment"] = "increment",
    ):
        self.model, self.data, self.targets = model, data, targets
        if model.space != len(data.points):
            raise UserError(
                f"the model's space = {model.space}, and fields have {len(data.points)} dimensions: set it "
                "to that"
            )
        if isinstance(model, PatchedConfig) and any(side % model.patch for side in data.points):
            raise UserError(
                f"{data.points[0]} points a side are no multiple of OperatorTransformer.patch = {model.patch}"
            )
        if targets not in ("state", "increment"):
            raise UserError(f"OperatorModel.targets = {targets!r}: it is 'state' or 'increment'")

    @staticmethod
    def recipe_dimensions(recipe: Recipe, reference: Reference) -> dict[str, int]:
        """`dimensions`, from a recipe; ValueError where the shape contradicts itself."""
        return make(recipe, recipe.arguments(reference).get("model"), reference.scope).dimensions()

    @classmethod
    def from_run(cls, recipe: Recipe, reference: Reference, directory: Path) -> "OperatorModel":
        """The workload of a finished run, its solutions apart: they need not be there."""
        given = recipe.arguments(reference)
        made = {
            name: make(recipe, given[name], reference.scope) for name in ("model", "targets") if name in given
        }
        return cls(data=solution_data.opened(directory), **made)

    def init(self, key: jax.Array) -> Variables:
        """Fresh fp32 parameters."""
        return Variables(self.model.init(key))

    def logical_axes(self) -> Variables:
        """Logical axes of every parameter."""
        return Variables(self.model.axes())

    def dimensions(self) -> dict[str, int]:
        """What a layout must divide: examples and parameters are split, fields are not."""
        return self.model.dimensions()

    def step(self, variables: Variables, field_BxSxC: jax.Array, run: RunContext) -> jax.Array:
        """Fields [B, *points, 1] one lead later, fp32, in the units of the data; on any grid that the model
        reads."""
        scaled = field_BxSxC / self.data.deviation
        made = self.model.forward(variables.params, scaled, run.placement, run.remat, run.dtype)
        return (made + scaled if self.targets == "increment" else made) * self.data.deviation

    def errors(self, variables: Variables, batch: Batch, run: RunContext) -> jax.Array:
        """|found - truth| / |truth| of each example, [B]."""
        truth, rows = batch["target"], batch["target"].shape[0]
        difference = (self.step(variables, batch["input"], run) - truth).reshape(rows, -1)
        squares_B = jnp.sum(jnp.square(difference), -1) / jnp.sum(jnp.square(truth.reshape(rows, -1)), -1)
        return jnp.sqrt(squares_B + 1e-14)  # the root's slope at 0 is infinite

    def loss(self, variables: Variables, batch: Batch, keys: jax.Array | None, run: RunContext) -> Sums:
        """The mean of each example's relative error."""
        del keys
        weight_B = batch["weight"].astype(jnp.float32)
        total, count = jnp.sum(self.errors(variables, batch, run) * weight_B), jnp.sum(weight_B)
        return Sums(total, count, jax.lax.stop_gradient({"loss/operator": (total, count)}))

    def batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Pairs of fields."""
        field = jax.ShapeDtypeStruct((batch_size, *self.data.points, 1), jnp.float32)
        return {
            "input": field,
            "target": field,
            "weight": jax.ShapeDtypeStruct((batch_size,), jnp.float32),
            "task_id": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        }

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """Endless pairs."""
        return self.data.train_source(batch_size, seed, shift)

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """Pairs that are held out."""
        return self.data.validation_sources(batch_size)

    def order(self) -> dict[str, str]:
        """The solutions, and how they are shown."""
        return self.data.order()

    def files(self) -> dict[str, bytes]:
        """Grid and scale: what `from_run` reads."""
        return solution_data.files(self.data)

    def notices(self) -> Sequence[str]:
        """Where the grid hardly resolves the solutions."""
        return self.data.notices()

    def baselines(self) -> dict[str, dict[str, float]]:
        """Of what is held out: standing still, and a linear map."""
        return showing.baselines(self.data)

    def exhibits(self, variables: Variables, run: RunContext) -> Sequence[Exhibit]:
        """Errors beside those of controls and the floor of a cut spectrum; held-out fields."""
        step = jax.jit(lambda field: self.step(variables, field, run))
        modes = self.model.modes if isinstance(self.model, FourierConfig) else 0
        return showing.exhibits(self.data, step, modes)

    def tokens_per_step(self, batch_size: int) -> int:
        """Points of all fields."""
        return batch_size * math.prod(self.data.points)

    def flops_per_step(self, batch_size: int) -> float:
        """Matrix products forward and backward (3x forward)."""
        return 3.0 * batch_size * self.model.flops(self.data.points)
