"""Forecasts of the atmosphere under the trainer: a state in, the state one lead later out."""

import functools
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gin
import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.recipes import Recipe, Reference, make
from pangu_jax.workloads import Batch, RunContext, Source, Sums, TrainStream, Variables, Workload
from pangu_jax.workloads.science import losses, planning, scales, shapes, stored_fields
from pangu_jax.workloads.science.data import FieldData
from pangu_jax.workloads.science.losses import FieldLoss, Kind
from pangu_jax.workloads.science.model.earth import EarthConfig
from pangu_jax.workloads.science.scales import Scales, State
from pangu_jax.workloads.shape import Shape

register = partial(gin.external_configurable, module="pangu_jax.workloads.science")
register(EarthConfig, "EarthTransformer")

ALONG = ("batch", None, None, None, "longitude", None)  # a batch's upper air: its longitudes are split


@gin.configurable(module="pangu_jax.workloads.science")
class ForecastModel(Workload):
    """A network that steps states of the atmosphere by one lead.

    Args:
      model: the network's shape, @EarthTransformer().
      data: where states come from, @fields().
      targets: what the network gives: the next "state", as Pangu-Weather, or its "increment" over this one in
        units of that increment's deviation.
      loss: "mae" or "mse", of differences in the units that the network gives.
      variable_weights: name -> weight of a variable in the loss; 1 for those left out.
      surface_share: weight of the surface's mean loss beside the upper air's.
      latitude_weights: whether a cell counts by its area; as published it does not.
      rollout: steps that a forecast goes on in training, each by the one before; fields.steps must reach as
        far.
    """

    name = "science"
    throughput_unit = "cells"
    OF_MODEL: tuple[str, ...] = (
        "model", "targets", "loss", "variable_weights", "surface_share", "latitude_weights", "rollout",
    )  # fmt: skip

    def __init__(
        self,
        model: EarthConfig = gin.REQUIRED,
        data: FieldData = gin.REQUIRED,
        targets: Literal["state", "increment"] = "state",
        loss: Kind = "mae",
        variable_weights: dict[str, float] | None = None,
        surface_share: float = 0.25,
        latitude_weights: bool = False,
        rollout: int = 1,
    ):
        self.model, self.targets, self.rollout = model, targets, rollout
        self.data = data if planning.is_there(data) else planning.fields(model, data)
        self.loss_kind, self.surface_share, self.latitude_weights = loss, surface_share, latitude_weights
        self.variable_weights = dict(variable_weights or {})
        self._require_fit()
        kind = "absolute" if loss == "mae" else "squared"
        self.loss_unit = f"{kind} deviation{'s of the change' if targets == 'increment' else 's'}"

    @functools.cached_property
    def scales(self) -> Scales:
        """From physical units to what the network reads; counting increments takes a while."""
        return Scales.of(self.data.statistics, self.data.increments)

    @functools.cached_property
    def constants_HxWxK(self) -> np.ndarray:
        """Fields that do not change, as the network reads them, fp32."""
        if getattr(self.data, "constants_as_read", False):
            return np.asarray(self.data.constants_HxWxK, np.float32)
        return scales.constants(self.data.constants_HxWxK)

    @functools.cached_property
    def height_L(self) -> np.ndarray:
        """The height channel of each level, as the network reads it, fp32."""
        own = getattr(self.data, "height_L", None)
        return scales.heights(self.data.grid.level_L, self.data.grid.level_units) if own is None else own

    @functools.cached_property
    def field_loss(self) -> FieldLoss:
        """Of a forecast's difference from the truth."""
        upper, surface = (
            losses.weights_of(names, self.variable_weights)
            for names in (self.data.names.upper, self.data.names.surface)
        )
        rows_H = self.data.grid.weights_H if self.latitude_weights else None
        return FieldLoss(self.loss_kind, upper, surface, self.surface_share, rows_H)

    def _require_fit(self) -> None:
        model, data = self.model, self.data
        losses.require_known(self.variable_weights, (*data.names.upper, *data.names.surface))
        found = (
            *data.grid.shape, len(data.names.upper), len(data.names.surface), len(data.names.constants),
        )  # fmt: skip
        names = ("levels", "latitude", "longitude", "upper", "surface", "constants")
        for name, size in zip(names, found, strict=True):
            if getattr(model, name) != size:
                raise UserError(
                    f"EarthTransformer.{name} = {getattr(model, name)}, and the fields have {size}: set it so"
                )
        if model.periodic != data.grid.periodic:
            raise UserError(
                f"EarthTransformer.periodic = {model.periodic}, and the longitudes of the fields "
                f"{'go' if data.grid.periodic else 'do not go'} around the globe: set both alike"
            )
        if not 1 <= self.rollout <= data.steps:
            raise UserError(
                f"ForecastModel.rollout = {self.rollout}, and fields.steps = {data.steps}: it is 1 to that"
            )

    @staticmethod
    def recipe_dimensions(recipe: Recipe, reference: Reference) -> dict[str, int]:
        """`dimensions`, from a recipe; ValueError where the shape contradicts itself."""
        return make(recipe, recipe.arguments(reference).get("model"), reference.scope).dimensions()

    @classmethod
    def from_run(cls, recipe: Recipe, reference: Reference, directory: Path) -> "ForecastModel":
        """The workload of a finished run, its fields apart: they need not be there."""
        return cls(data=stored_fields.opened(directory), **cls._of_model(recipe, reference))

    @classmethod
    def with_data(cls, recipe: Recipe, reference: Reference, directory: Path) -> "ForecastModel":
        """The same with windows of the recipe's fields, measured in what the run was trained with."""
        source = make(recipe, recipe.arguments(reference)["data"], reference.scope)
        data = stored_fields.with_windows(stored_fields.opened(directory), source)
        return cls(data=data, **cls._of_model(recipe, reference))

    @classmethod
    def _of_model(cls, recipe: Recipe, reference: Reference) -> dict[str, Any]:
        given = recipe.arguments(reference)
        return {name: make(recipe, given[name], reference.scope) for name in cls.OF_MODEL if name in given}

    def init(self, key: jax.Array) -> Variables:
        """Fresh fp32 parameters."""
        return Variables(self.model.init(key))

    def logical_axes(self) -> Variables:
        """Logical axes of every parameter."""
        return Variables(self.model.axes())

    def dimensions(self) -> dict[str, int]:
        """What a layout must divide."""
        return self.model.dimensions()

    def step(
        self, variables: Variables, upper_BxLxHxWxU: jax.Array, surface_BxHxWxS: jax.Array, run: RunContext
    ) -> State:
        """One lead ahead, in physical units, fp32; what is missing in a state is read as its mean.

        Args:
          variables: as `evaluated` gives them.
          upper_BxLxHxWxU: upper air, physical units.
          surface_BxHxWxS: surface, physical units.
          run: how it is carried out.
        """
        state = self.scales.normalised(upper_BxLxHxWxU, surface_BxHxWxS)
        return self.scales.physical(*self.advanced(variables, state, None, run))

    def advanced(self, variables: Variables, state: State, keys: jax.Array | None, run: RunContext) -> State:
        """The next normalised state of a normalised one, fp32."""
        upper, surface = (jnp.where(jnp.isfinite(part), part, 0.0) for part in state)
        if upper.shape[-2] != self.model.longitude:
            raise UserError(
                f"{upper.shape[-2]} of {self.model.longitude} longitudes are here: windows that roll "
                "cross devices, and only the compiler exchanges them; set Layout.partitioning = 'auto', "
                "or Layout.sequence = 1"
            )
        read = upper
        if self.model.height_channel:
            height = jnp.broadcast_to(self.height_L[:, None, None, None], (*upper.shape[:-1], 1))
            read = jnp.concatenate([upper, height], -1)
        forward = self.model.forward(run.placement, run.remat, run.dtype)
        made = forward(variables.params, read, surface, jnp.asarray(self.constants_HxWxK), keys)
        if self.targets == "state":
            return made
        more_upper, more_surface = self.scales.change(*made)
        return upper + more_upper, surface + more_surface

    def loss(self, variables: Variables, batch: Batch, keys: jax.Array | None, run: RunContext) -> Sums:
        """The mean over `rollout` steps of each example's loss; what the truth lacks does not count."""
        weight_B = batch["weight"].astype(jnp.float32)
        upper, surface = self.scales.normalised(batch["upper"], batch["surface"])
        state, totals = (upper[:, 0], surface[:, 0]), []
        for lead in range(1, self.rollout + 1):
            own = None if keys is None else jax.vmap(jax.random.fold_in, (0, None))(keys, lead)
            state = self.advanced(variables, state, own, run)
            difference = state[0] - upper[:, lead], state[1] - surface[:, lead]
            if self.targets == "increment":
                difference = self.scales.in_changes(*difference)
            totals.append(self.field_loss(difference))
        loss_B, upper_BxU, surface_BxS = (
            sum(parts[1:], parts[0]) / self.rollout for parts in zip(*totals, strict=True)
        )
        count, summed = jnp.sum(weight_B), jnp.sum(loss_B * weight_B)
        metrics = {"loss/forecast": (summed, count)}
        for names, errors in ((self.data.names.upper, upper_BxU), (self.data.names.surface, surface_BxS)):
            for at, name in enumerate(names):
                metrics[f"error/{name}"] = jnp.sum(errors[:, at] * weight_B), count
        return Sums(summed, count, jax.lax.stop_gradient(metrics))

    def batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Windows of states, and what is known of each."""
        levels, latitudes, longitudes = self.data.grid.shape
        leading, names = (batch_size, self.data.steps + 1), self.data.names
        numbers = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
        return {
            "upper": jax.ShapeDtypeStruct(
                (*leading, levels, latitudes, longitudes, len(names.upper)), jnp.float32
            ),
            "surface": jax.ShapeDtypeStruct(
                (*leading, latitudes, longitudes, len(names.surface)), jnp.float32
            ),
            "time": numbers,
            "place": numbers,
            "weight": jax.ShapeDtypeStruct((batch_size,), jnp.float32),
            "task_id": numbers,
        }

    def batch_axes(self) -> Mapping[str, tuple[str | None, ...]]:
        """States are split by longitude, as their tokens are."""
        return {"upper": ALONG, "surface": (*ALONG[:2], *ALONG[3:])}

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """Endless windows of states."""
        return self.data.train_source(batch_size, seed, shift)

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """Windows that are held out, once."""
        return self.data.validation_sources(batch_size)

    def order(self) -> dict[str, str]:
        """The fields, and how they are drawn."""
        return self.data.order()

    def files(self) -> dict[str, bytes]:
        """Grid, names, scales and constants: what `from_run` reads."""
        return stored_fields.files(self.data)

    def notices(self) -> Sequence[str]:
        """What was left out of the fields."""
        return self.data.notices()

    def tokens_per_step(self, batch_size: int) -> int:
        """Cells of the states that are forecast: a place on the grid in every variable."""
        levels, latitudes, longitudes = self.data.grid.shape
        names = self.data.names
        return (
            batch_size
            * self.rollout
            * latitudes
            * longitudes
            * (levels * len(names.upper) + len(names.surface))
        )

    def flops_per_step(self, batch_size: int) -> float:
        """Matrix products forward and backward (3x forward)."""
        return self.rollout * self.shape().flops(batch_size)

    def shape(self) -> Shape:
        """The model in numbers, for the planner."""
        return shapes.shape_of(self.model)
