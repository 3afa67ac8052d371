"""Vision models as the trainer sees them: one trunk, and what is learnt by it."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gin
import jax
import jax.numpy as jnp

from pangu_jax.errors import UserError
from pangu_jax.recipes import Recipe, Reference, make
from pangu_jax.workloads import (
    PipelinedWorkload,
    RunContext,
    Source,
    TrainStream,
    Tree,
    Updates,
    Variables,
)
from pangu_jax.workloads.exhibits import Exhibit
from pangu_jax.workloads.shape import Shape
from pangu_jax.workloads.vision import averaging, joint, shapes, showing
from pangu_jax.workloads.vision.data import NoPictures, PictureData
from pangu_jax.workloads.vision.model.contrast import NeighbourContrast
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.masked import MaskedPixels
from pangu_jax.workloads.vision.model.objective import PictureObjective
from pangu_jax.workloads.vision.model.plain import PlainConfig
from pangu_jax.workloads.vision.model.restoring import Restoration
from pangu_jax.workloads.vision.model.trunk import TrunkConfig
from pangu_jax.workloads.vision.program import VisionProgram
from pangu_jax.workloads.vision.side_by_side import SideBySide

register = partial(gin.external_configurable, module="pangu_jax.workloads.vision")
register(HierarchicalConfig, "HierarchicalTransformer")
register(PlainConfig, "VisionTransformer")
register(MaskedPixels)
register(NeighbourContrast)
register(Restoration)


@gin.configurable(module="pangu_jax.workloads.vision")
class VisionModel(SideBySide, PipelinedWorkload):
    """A trunk, and objectives that it serves together.

    Parameters are {"trunk": what comes before the main stage, "main": its layers, OBJECTIVE: its own}.

    Args:
      model: the trunk's shape, @HierarchicalTransformer() or @VisionTransformer(); None for an objective
        that needs none.
      data: where pictures come from, @images().
      objectives: what is learnt, such as [@NeighbourContrast(), @MaskedPixels()]; a joint loss divides each
        by its running size (`joint`). None, [], of a model that is used as it was imported.
      average: how much of the averaged parameters is kept in a step: contrast is with what they make, and
        they are what is evaluated. 0 for none.
    """

    name = "vision"
    throughput_unit = "pictures"

    def __init__(
        self,
        model: TrunkConfig | None = None,
        data: PictureData = gin.REQUIRED,
        objectives: Sequence[PictureObjective] = gin.REQUIRED,
        average: float = 0.0,
    ):
        super().__init__(model, tuple(objectives))
        self.data, self.average = data, average
        self.loss_unit = self.objectives[0].loss_unit if len(self.objectives) == 1 else ""
        self._require_fit()

    def _require_fit(self) -> None:
        names = [one.name for one in self.objectives]
        if len(set(names)) < len(names):
            raise UserError(f"VisionModel.objectives = {names}: give each once")
        model, data = self.model, self.data
        if model and (data.size, data.channels) != (model.size, model.channels):
            raise UserError(
                f"images gives pictures of {data.size} pixels and {data.channels} channels, and the model "
                f"has size {model.size} and channels {model.channels}: set both alike"
            )
        needed = max((one.views for one in self.objectives), default=0)
        if data.views != max(needed, 1):
            wants = ", ".join(one.name for one in self.objectives if one.views == needed)
            raise UserError(f"images.views = {data.views}: {wants} learns from {max(needed, 1)}")
        if data.plain and not needed:
            raise UserError(
                "images.plain_augment makes a second view, and nothing learns from the first: set its steps "
                "as images.augment"
            )
        for one in self.objectives:
            if one.needs_trunk and model is None:
                raise UserError(f"VisionModel.model is None, and {one.name} needs a trunk: name one")
            if one.needs_average and not self.average:
                raise UserError(
                    f"VisionModel.average = 0, and {one.name} needs averaged parameters: give .99"
                )
        if not 0 <= self.average < 1:
            raise UserError(f"VisionModel.average = {self.average} must be from 0 to below 1")

    @staticmethod
    def recipe_dimensions(recipe: Recipe, reference: Reference) -> dict[str, int]:
        """`dimensions`, from a recipe; ValueError where the shape contradicts itself."""
        arguments = recipe.arguments(reference)
        model = make(recipe, arguments.get("model"), reference.scope)
        objectives = make(recipe, arguments.get("objectives", ()), reference.scope)
        return SideBySide(model, tuple(objectives)).dimensions()

    @classmethod
    def from_run(cls, recipe: Recipe, reference: Reference, directory: Path) -> "VisionModel":
        """The workload of a finished run, its pictures apart: they need not be there."""
        arguments = recipe.arguments(reference)
        of_data = arguments.get("data")
        found = recipe.arguments(of_data) if isinstance(of_data, Reference) else {}
        channels = 1 if found.get("mode") == "L" else 3
        plain = found.get("plain_augment") is not None
        data = NoPictures(found.get("size", 32), channels, found.get("views", 1), plain)
        made: Any = {
            name: make(recipe, value, reference.scope) for name, value in arguments.items() if name != "data"
        }
        return cls(data=data, **made)

    def init(self, key: jax.Array) -> Variables:
        """Fresh fp32 parameters; averaged ones are the same, queues are random."""
        keys = jax.random.split(key, 1 + 2 * len(self.objectives))
        params = self.model.init(keys[0]) if self.model else {}
        for one, own in zip(self.objectives, keys[1::2], strict=True):
            params[one.name] = one.init(self.model, self.data.channels, own)
        states = {
            one.name: one.init_extra(self.model, own)
            for one, own in zip(self.objectives, keys[2::2], strict=True)
        }
        return Variables(params, self._extra(params, states, joint.init(self.objectives), jnp.float32(0)))

    def logical_axes(self) -> Variables:
        """Logical axes of every parameter, and of extra state."""
        params = dict(self.model.axes()) if self.model else {}
        for one in self.objectives:
            params[one.name] = one.axes(self.model, self.data.channels)
        states = {one.name: one.extra_axes(self.model) for one in self.objectives}
        return Variables(params, self._extra(params, states, joint.axes(self.objectives), ()))

    def _extra(self, averaged: Tree, states: Tree, running: Tree, steps: Any) -> Tree:
        """Extra state, without what is empty."""
        found = {"running": running, "objectives": {name: own for name, own in states.items() if own}}
        found = {name: tree for name, tree in found.items() if tree}
        if self.average:
            found["averaged"] = averaged
        return found | {"steps": steps} if found else {}

    def phase(self, step: int) -> int:
        """The tasks of a step: each objective takes its own in turns."""
        return step % math.lcm(*(len(one.turns) for one in self.objectives))

    def after_step(self, variables: Variables, updates: Updates) -> Tree:
        """Averages of parameters and of losses, and what objectives remember."""
        params, extra = variables.params, variables.extra
        if not extra:
            return extra
        steps = extra["steps"] + 1
        averaged = averaging.following(self.average, steps, extra["averaged"], params) if self.average else {}
        states = {
            one.name: one.next_extra(extra["objectives"][one.name], updates.rows[one.name])
            for one in self.objectives
            if one.name in extra.get("objectives", {})
        }
        return self._extra(averaged, states, joint.following(extra.get("running", {}), updates.totals), steps)

    def evaluated(self, variables: Variables) -> Variables:
        """With averaged parameters, where there are any."""
        return averaging.evaluated(variables)

    @property
    def trunk_entry(self) -> str:
        """Where a checkpoint has the trunk as it is evaluated."""
        return "extra/averaged" if self.average else "params"

    def complete(self, variables: Variables) -> Tree:
        """Parameters with the trunk's, of `evaluated` variables."""
        return variables.params

    def program(self, run: RunContext, extra: Tree, constants: Tree) -> VisionProgram:
        """The main stage as the tower of a pipeline; UserError where there is none."""
        if self.model is None:
            raise UserError(
                "VisionModel.model is None: there is no trunk to cut into stages; leave Layout.stage"
            )
        return VisionProgram(self, run, extra, constants)

    def batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Pictures as uint8, and what is known of each."""
        data = self.data
        sides = (batch_size, data.views + data.plain, data.size, data.size, data.channels)
        numbers = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
        return {
            "image": jax.ShapeDtypeStruct(sides, jnp.uint8),
            "label": numbers,
            "place": numbers,
            "weight": jax.ShapeDtypeStruct((batch_size,), jnp.float32),
            "task_id": numbers,
        }

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """Endless views of what is trained on."""
        if not self.objectives:
            raise UserError(
                "VisionModel.objectives = []: nothing is learnt; name one or more, such as [@MaskedPixels()]"
            )
        return self.data.train_source(batch_size, seed, shift)

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """What is held out, once."""
        return self.data.validation_sources(batch_size)

    def order(self) -> dict[str, str]:
        """The pictures and the steps that make views."""
        return self.data.order()

    def notices(self) -> Sequence[str]:
        """What was left out, and copies across sides."""
        return self.data.notices()

    def baselines(self) -> dict[str, dict[str, float]]:
        """Of masked pixels alone: the loss of painting in the mean colour of what is seen."""
        return showing.baselines(self, self.validation_sources(showing.COMPARED))

    def exhibits(self, variables: Variables, run: RunContext) -> Sequence[Exhibit]:
        """Held-out pictures, as each objective makes them."""
        return showing.exhibits(self, self.validation_sources(showing.SHOWN), variables, run)

    def tokens_per_step(self, batch_size: int) -> int:
        """Pictures."""
        return batch_size

    def flops_per_step(self, batch_size: int) -> float:
        """Matrix products forward and backward (3x forward) of what each objective shows the trunk."""
        of = (one.flops(self.model, self.data.size, self.data.channels) for one in self.objectives)
        return 3.0 * batch_size * sum(of)

    def shape(self) -> Shape:
        """The model in numbers, for the planner."""
        return shapes.shape_of(self.model, self.objectives, self.data.size, self.data.channels)
