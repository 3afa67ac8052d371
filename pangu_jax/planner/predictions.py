"""What is expected of a layout: memory item by item, time, and how much of the chips that uses."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel.layout import Layout
from pangu_jax.planner.candidates import Candidates, Mesh
from pangu_jax.planner.memory_estimate import memory
from pangu_jax.planner.search_context import SearchContext
from pangu_jax.planner.time_estimate import Times, times
from pangu_jax.workloads.shape import Shape
from tpu_npu_backends.topologies import Topology


class PlannedModel(NamedTuple):
    """What is planned for.

    Attributes:
      name: for messages.
      shape: the model in numbers.
      dimensions: sizes by logical axis, that a layout must divide.
      flops: model FLOPs per step, whole mesh.
      batch_size: examples per step, over all devices.
      optimizer_bytes: of the optimizer's state per parameter.
      compute_dtype, attention: as in a layout.
    """

    name: str
    shape: Shape
    dimensions: Mapping[str, int]
    flops: float
    batch_size: int
    optimizer_bytes: float = 8.0
    compute_dtype: str = "auto"
    attention: str = "auto"


def describe(
    workload: Any,
    batch_size: int,
    optimizer_bytes: float,
    compute_dtype: str = "auto",
    attention: str = "auto",
) -> PlannedModel:
    """What a search needs of a workload; UserError where it has no shape."""
    if not hasattr(workload, "shape"):
        raise UserError(
            f"the workload '{workload.name}' has no shape(), so no layout can be planned: give it one, or "
            "bind Layout.* yourself"
        )
    return PlannedModel(
        workload.name,
        workload.shape(),
        workload.dimensions(),
        workload.flops_per_step(batch_size),
        batch_size,
        optimizer_bytes,
        compute_dtype,
        attention,
    )


@dataclass(frozen=True)
class Prediction:
    """A layout, and what is expected of it.

    Attributes:
      layout: complete: `data` is a number.
      memory: item -> bytes per device.
      step_s: seconds per step.
      compute_s: of them, without communication.
      collectives: mesh axis -> seconds of communication, hidden or not; axes of size 1 are left out.
      bubble: part of the pipeline's slots without work.
      mfu: model FLOPs over what the devices could do in that time.
    """

    layout: Layout
    memory: dict[str, float]
    step_s: float
    compute_s: float
    collectives: dict[str, float]
    bubble: float
    mfu: float

    @property
    def bytes_per_device(self) -> float:
        """All items of memory together."""
        return sum(self.memory.values())


def predict(model: PlannedModel, topology: Topology, layout: Layout) -> Prediction:
    """What is expected of one layout, whether it fits or not; UserError where it does not divide."""
    layout = layout.on(topology.device_count)
    if problems := layouts.check(layout, model.batch_size, model.dimensions):
        raise UserError("; ".join(f"{name}: {what}" for name, what in problems))
    model = model._replace(attention=layout.attention)
    context = search_context(model, topology, [layout.axis_sizes()])
    context = dataclasses.replace(context, by_hand=layout.partitioning == "manual")
    candidates = Candidates.of(layout, len(model.shape.staged))
    items, seconds = memory(context, candidates), times(context, candidates)
    return prediction(model, topology, layout, items, seconds, 0)


def prediction(
    model: PlannedModel,
    topology: Topology,
    layout: Layout,
    items: Mapping[str, np.ndarray],
    seconds: Times,
    row: int,
) -> Prediction:
    """One row of the arrays of candidates, in plain numbers."""
    step = float(seconds.step[row])
    return Prediction(
        layout=layout,
        memory={name: float(item[row]) for name, item in items.items()},
        step_s=step,
        compute_s=float(seconds.compute[row]),
        collectives={
            axis: float(spent[row])
            for axis, spent in seconds.collectives.items()
            if getattr(layout, axis) > 1
        },
        bubble=float(seconds.bubble[row]),
        mfu=model.flops / step / (topology.device_count * topology.chip.peak_flops),
    )


def search_context(model: PlannedModel, topology: Topology, meshes: Sequence[Mesh]) -> SearchContext:
    """What candidates on these meshes share."""
    width = bytes_of_a_number(topology, model.compute_dtype)
    return SearchContext(
        model.shape, model.batch_size, topology, meshes, width, model.optimizer_bytes, model.attention
    )


def bytes_of_a_number(topology: Topology, compute_dtype: str) -> int:
    """Of activations and products in a layout's `compute_dtype`; what is simulated is planned as real."""
    automatic = "float32" if topology.chip.platform == "cpu" else "bfloat16"
    return {"float32": 4, "bfloat16": 2}[automatic if compute_dtype == "auto" else compute_dtype]
