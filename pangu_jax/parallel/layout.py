"""The layout: how a run is spread over devices, as data.

A recipe holds it, a planner prints it, a checkpoint restores onto any of it.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import gin

from pangu_jax.errors import UserError

AXES = ("stage", "data", "fsdp", "expert", "model", "sequence")

# What a layout must divide: logical axis -> mesh axis, as the rules have it for weights and activations. A
# model's dimension is named by its logical axis, or by TOWER_AXIS where towers differ: "decoder_length".
DIVIDED_BY = {
    "heads": "model",
    "kv_heads": "model",
    "mlp": "model",
    "vocab": "model",
    "embed": "fsdp",
    "layers": "stage",
    "length": "sequence",
    "window": "sequence",
    "longitude": "sequence",
    "expert": "expert",
}


@gin.configurable
@dataclass(frozen=True)
class Layout:
    """Axis sizes of the mesh and how the step is carried out on it.

    Args:
      stage: pipeline stages.
      data: data parallelism; -1 takes the devices that the other axes leave.
      fsdp: data parallelism that also shards parameters and optimizer state.
      expert: experts are split, and examples as by `data`: tokens are brought to their experts.
      model: tensor parallelism: heads, feed-forward and vocabulary are split.
      sequence: activations split along the sequence; each device gathers keys and values.
      schedule: of a pipeline: "gpipe" takes one tower after the other; "circular" takes all towers as rounds
        of one ring, with fewer bubbles; "1f1b" alternates forward and backward work, so that memory does not
        grow with microbatches, and recomputes each stage once.
      repeats: rounds around the stages: of each tower for "gpipe", of all towers together for the others,
        where 1 is one per tower.
      microbatches: pieces of the batch, one after the other, gradients added up.
      remat: what the backward pass recomputes: nothing ("none"), all but products ("dots"), or whole layers
        ("full"); "offload" keeps what "dots" keeps in the host's memory.
      zero: 3 gathers a layer's weights over `fsdp` when they are used; 1 gathers all of them (in a pipeline
        a stage's) once per step.
      streams: parts of a microbatch that each layer works on side by side, so that collectives of one run
        while another computes; with partitioning "manual".
      partitioning: "auto": the compiler places collectives from annotations; "manual": the step does.
      compute_dtype: dtype of activations and products; "auto" is bfloat16 on accelerators, float32 on CPU.
      attention: "flash" by a fused kernel, whose scores are never in memory, "plain" by products; "auto" is
        "flash" where the backend has a kernel for the compute dtype.
    """

    stage: int = 1
    data: int = -1
    fsdp: int = 1
    expert: int = 1
    model: int = 1
    sequence: int = 1
    schedule: Literal["none", "gpipe", "circular", "1f1b"] = "none"
    repeats: int = 1
    microbatches: int = 1
    remat: Literal["none", "dots", "full", "offload"] = "none"
    zero: Literal[1, 3] = 3
    streams: int = 1
    partitioning: Literal["auto", "manual"] = "auto"
    compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    attention: Literal["auto", "plain", "flash"] = "auto"

    def axis_sizes(self) -> dict[str, int]:
        """Mesh axis -> size, in mesh order; data may still be -1."""
        return {axis: getattr(self, axis) for axis in AXES}

    def on(self, devices: int) -> "Layout":
        """This layout with `data` settled for a number of devices; UserError where it does not fit them."""
        sizes = self.axis_sizes()
        for axis, size in sizes.items():
            if size < 1 and not (axis == "data" and size == -1):
                raise UserError(f"Layout.{axis} = {size}: an axis has at least one device (data may be -1)")
        taken = math.prod(size for size in sizes.values() if size > 0)
        if self.data == -1:
            if devices % taken:
                there = f"{devices} device" + ("s" if devices > 1 else "")
                raise UserError(
                    f"the layout {self.describe()} does not fit {there}: its other axes take "
                    f"{taken}, which does not divide {devices}; change Layout.* or the backend"
                )
            return dataclasses.replace(self, data=devices // taken)
        if taken != devices:
            raise UserError(
                f"the layout {self.describe()} needs {taken} devices and there are {devices}; "
                f"change Layout.* or the backend (data = -1 takes what is left)"
            )
        return self

    def describe(self) -> str:
        """The axes that are not 1, such as `data 2 x model 4`; `one device` when there is none."""
        named = [f"{axis} {size}" for axis, size in self.axis_sizes().items() if size != 1]
        return " x ".join(named) or "one device"

    def rounds(self, towers: int) -> int:
        """Rounds that each of a model's towers makes around the stages."""
        return self.repeats if self.schedule == "gpipe" else max(1, self.repeats // max(1, towers))

    @property
    def batch_shards(self) -> int:
        """Parts into which a batch's examples are split."""
        return self.data * self.fsdp * self.expert


def divided_by(dimensions: Iterable[str]) -> list[tuple[str, str]]:
    """(dimension, mesh axis that must divide it), in the order of `DIVIDED_BY`."""
    names = list(dimensions)
    return [
        (name, mesh_axis)
        for logical, mesh_axis in DIVIDED_BY.items()
        for name in names
        if name == logical or (name not in DIVIDED_BY and name.endswith(f"_{logical}"))
    ]


def widths(dimensions: Mapping[str, int]) -> set[int]:
    """Of a model's towers."""
    return {size for name, size in dimensions.items() if name == "embed" or name.endswith("_embed")}


def gathers_by_hand(layout: Layout, dimensions: Mapping[str, int]) -> bool:
    """Whether a manual step knows whole weights from shards over `fsdp` by their width: none of a tower's is
    as wide as another tower."""
    whole = widths(dimensions)
    return layout.fsdp == 1 or not whole & {width // layout.fsdp for width in whole}


def check(layout: Layout, batch_size: int, dimensions: Mapping[str, int]) -> list[tuple[str, str]]:
    """What contradicts what, as pairs of the name to change and the two numbers; empty when all is well.

    Touches no device. What depends on `data = -1` is known once `Layout.on` has settled it.

    Args:
      layout: the layout.
      batch_size: examples per step, over all devices.
      dimensions: a model's sizes by logical axis, see `DIVIDED_BY`.
    """
    problems = _pipeline_problems(layout, dimensions)
    for dimension, axis in divided_by(dimensions):
        size, parts = dimensions[dimension], getattr(layout, axis)
        if axis != "stage" and size % parts:
            name = dimension.replace("_", " ")
            what = f"{name} {size} is not divisible by {axis} {parts}"
            problems.append((f"Layout.{axis}", what + _what_would(dimension, axis, parts, dimensions)))
    if layout.expert > 1 and "embed" in dimensions and "expert" not in dimensions:
        what = f"expert {layout.expert} splits experts, and the model has none"
        problems.append(("Layout.expert", f"{what}: use Layout.data or Layout.fsdp"))
    problems += _row_problems(layout, batch_size, dimensions)
    if layout.streams > 1 and layout.partitioning != "manual":
        problems.append(("Layout.streams", f"streams {layout.streams} needs Layout.partitioning = 'manual'"))
    if layout.partitioning == "manual" and not gathers_by_hand(layout, dimensions):
        sizes = ", ".join(map(str, sorted(widths(dimensions))))
        what = f"'manual' with fsdp {layout.fsdp}: a shard of one of the widths {sizes} is as wide as another"
        problems.append(("Layout.partitioning", f"{what}; use 'auto'"))
    parts = (
        layout.microbatches
        * layout.streams
        * (layout.batch_shards if layout.data > 0 else layout.fsdp * layout.expert)
    )
    if parts < 1 or batch_size % parts:
        named = {
            "microbatches": layout.microbatches,
            "streams": layout.streams,
            "data": layout.data,
            "fsdp": layout.fsdp,
            "expert": layout.expert,
        }
        product = " x ".join(f"{name} {size}" for name, size in named.items() if size > 1) or "microbatches 0"
        problems.append(("train.batch_size", f"batch_size {batch_size} is not divisible by {product}"))
    return problems


def _what_would(dimension: str, axis: str, parts: int, dimensions: Mapping[str, int]) -> str:
    """The sizes of an axis next to one that does not divide, in words, where few do."""
    if axis != "expert" and dimension != "kv_heads":
        return ""
    shared = math.gcd(*(dimensions[name] for name, divided in divided_by(dimensions) if divided == axis))
    fit = [size for size in range(1, shared + 1) if shared % size == 0]
    near = [size for size in fit if size < parts][-1:] + [size for size in fit if size > parts][:1]
    return f"; {' or '.join(map(str, near))} would do"


def _pipeline_problems(layout: Layout, dimensions: Mapping[str, int]) -> list[tuple[str, str]]:
    towers = {name: size for name, size in dimensions.items() if name.endswith("layers")}
    if layout.schedule == "none":
        found = []
        if layout.stage > 1:
            found.append(
                ("Layout.schedule", f"stage {layout.stage} needs a schedule: gpipe, circular or 1f1b")
            )
        if layout.repeats > 1:
            found.append(("Layout.repeats", f"repeats {layout.repeats} needs a schedule"))
        return found
    found = []
    if layout.schedule != "gpipe" and layout.repeats > 1 and towers and layout.repeats % len(towers):
        what = f"repeats {layout.repeats} of '{layout.schedule}' is not divisible by the {len(towers)} towers"
        found.append(("Layout.repeats", what))
    rounds = layout.rounds(len(towers) or 1)
    if layout.microbatches % layout.stage:
        what = f"microbatches {layout.microbatches} is not divisible by stage {layout.stage}"
        found.append(("Layout.microbatches", what))
    for name, size in towers.items():
        if size % (layout.stage * rounds):
            what = f"{name.replace('_', ' ')} {size} is not divisible by stage {layout.stage}"
            found.append(("Layout.stage", what + (f" x {rounds} rounds" if rounds > 1 else "")))
    return found


def _row_problems(layout: Layout, batch_size: int, dimensions: Mapping[str, int]) -> list[tuple[str, str]]:
    """The manual residual stream is split over `model` by rows: examples x positions of a device."""
    if layout.partitioning != "manual" or layout.data < 1:
        return []
    examples = batch_size // (layout.microbatches * layout.batch_shards * layout.streams)
    found = []
    for name, size in dimensions.items():
        rows = examples * size // layout.sequence
        if name.endswith("length") and rows % layout.model:
            per_device = f"{examples} examples x {name.replace('_', ' ')} {size} per device ({rows} rows)"
            found.append(("Layout.model", f"{per_device} is not divisible by model {layout.model}"))
    return found
