"""The layout: how a run is spread over devices, as data.

A recipe holds it, a planner prints it, a checkpoint restores onto any of it.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import gin

from pangu_jax.errors import UserError

MESH_AXES = ("stage", "data", "fsdp", "model", "sequence")


@gin.configurable
@dataclass(frozen=True)
class Layout:
    """Axis sizes of the mesh and how the step is carried out on it.

    Args:
      stage: pipeline stages.
      data: data parallelism; -1 takes the devices that the other axes leave.
      fsdp: data parallelism that also shards parameters and optimizer state (ZeRO-3).
      model: tensor parallelism: heads, feed-forward and vocabulary are split.
      sequence: activations split along the sequence.
      schedule: pipeline schedule.
      repeats: rounds of a circular pipeline.
      microbatches: pieces of the batch, one after the other, gradients added up.
      remat: what the backward pass recomputes: "none", all but weight products ("dots"), or "full" layers.
      partitioning: "auto": the compiler places collectives from annotations; "manual": the step does.
      compute_dtype: dtype of activations and products; "auto" is bfloat16 on accelerators, float32 on CPU.
    """

    stage: int = 1
    data: int = -1
    fsdp: int = 1
    model: int = 1
    sequence: int = 1
    schedule: Literal["none", "gpipe", "circular", "1f1b"] = "none"
    repeats: int = 1
    microbatches: int = 1
    remat: Literal["none", "dots", "full"] = "none"
    partitioning: Literal["auto", "manual"] = "auto"
    compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto"

    def axis_sizes(self) -> dict[str, int]:
        """Mesh axis -> size, in mesh order; data may still be -1."""
        return {axis: getattr(self, axis) for axis in MESH_AXES}

    def on(self, devices: int) -> "Layout":
        """This layout with `data` settled for a number of devices; UserError where it does not fit them."""
        sizes = self.axis_sizes()
        for axis, size in sizes.items():
            if size < 1 and not (axis == "data" and size == -1):
                raise UserError(f"Layout.{axis} = {size}: an axis has at least one device (data may be -1)")
        taken = math.prod(size for size in sizes.values() if size > 0)
        if self.data == -1:
            if devices % taken:
                raise UserError(
                    f"the layout {self.describe()} does not fit {devices} devices: its other axes take "
                    f"{taken}, which does not divide {devices}; change Layout.* or train.backend"
                )
            return dataclasses.replace(self, data=devices // taken)
        if taken != devices:
            raise UserError(
                f"the layout {self.describe()} needs {taken} devices and there are {devices}; "
                f"change Layout.* or train.backend (data = -1 takes what is left)"
            )
        return self

    def describe(self) -> str:
        """The axes that are not 1, such as `data 2 x model 4`; `one device` when there is none."""
        named = [f"{axis} {size}" for axis, size in self.axis_sizes().items() if size != 1]
        return " x ".join(named) or "one device"

    @property
    def batch_shards(self) -> int:
        """Parts into which a batch's examples are split."""
        return self.data * self.fsdp


def check(layout: Layout, batch_size: int, dimensions: Mapping[str, int]) -> list[tuple[str, str]]:
    """What contradicts what, as pairs of the name to mend and the two numbers; empty when all is well.

    Touches no device. What depends on `data = -1` is known once `Layout.on` has settled it.

    Args:
      layout: the layout.
      batch_size: examples a step, over all devices.
      dimensions: a model's sizes by logical axis.
    """
    problems = []
    if layout.stage > 1 or layout.schedule != "none" or layout.repeats > 1:
        problems.append(
            ("Layout.stage", "pipelines are not in this version: stage 1, schedule 'none', repeats 1")
        )
    if layout.sequence > 1:
        problems.append(("Layout.sequence", "splitting sequences is not in this version: leave it at 1"))
    if layout.partitioning != "auto":
        problems.append(("Layout.partitioning", "'manual' is not in this version: use 'auto'"))
    divided = [("heads", "model"), ("mlp", "model"), ("vocab", "model"), ("embed", "fsdp")]
    for dimension, axis in divided:
        size, parts = dimensions.get(dimension, 0), getattr(layout, axis)
        if size % parts:
            problems.append((f"Layout.{axis}", f"{dimension} {size} is not divisible by {axis} {parts}"))
    parts = layout.microbatches * (layout.batch_shards if layout.data > 0 else layout.fsdp)
    if parts < 1 or batch_size % parts:
        named = {"microbatches": layout.microbatches, "data": layout.data, "fsdp": layout.fsdp}
        product = " x ".join(f"{name} {size}" for name, size in named.items() if size > 1) or "microbatches 0"
        problems.append(("train.batch_size", f"batch_size {batch_size} is not divisible by {product}"))
    return problems
