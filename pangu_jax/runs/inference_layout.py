"""Where a finished run is opened: which devices, and how its weights and batches are spread over them.

What was trained on eight devices is used on eight, by the layout that its recipe holds. Using a model needs
less than training it: no pipeline, no microbatches, nothing remembered. Where the layout has stages or splits
sequences, those devices shard weights or examples instead.
"""

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, PartitionSpec, SingleDeviceSharding

from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel import rules
from pangu_jax.parallel.constraints import ConstraintPlacement
from pangu_jax.parallel.layout import AXES, Layout
from pangu_jax.parallel.mesh import RINGS, make_mesh
from pangu_jax.parallel.numbers import numbers
from pangu_jax.parallel.rules import LogicalAxes
from pangu_jax.workloads import RunContext, Tree
from tpu_npu_backends import compilation_cache, selection
from tpu_npu_backends.selection import Backend

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Devices:
    """What a caller asks for.

    Attributes:
      backend: as in `train`: "auto", "cpu", "cpu:8", "tpu", "cuda" or "npu".
      layout: a layout, or bindings "Layout.NAME=VALUE" over the run's own. With none of them the run's own is
        taken where it fits the devices, or else one device.
    """

    backend: str = "auto"
    layout: Layout | tuple[str, ...] = ()

    def select(self) -> Backend:
        """The devices, and where programs compiled for them are kept; before anything else touches JAX.

        Raises:
          BackendError: this machine does not have them.
        """
        compilation_cache.use()
        return selection.select(self.backend)


ANY = Devices()


class Spread(NamedTuple):
    """What came of it.

    Attributes:
      backend: the devices there are.
      layout: how they are used; `one device` uses the first.
      mesh: of the layout; None on one device.
      run: placement and dtype of the forward pass.
    """

    backend: Backend
    layout: Layout
    mesh: Mesh | None
    run: RunContext

    def shardings(self, axes: Any) -> Any:
        """Where each array of a tree of logical axes is kept."""
        if self.mesh is None:
            one = SingleDeviceSharding(self.backend.devices[0])
            return jax.tree.map(lambda _: one, axes, is_leaf=rules.is_axes)
        return rules.storage_shardings(self.mesh, axes)

    def fits(self, axes: LogicalAxes, shape: tuple[int, ...]) -> bool:
        """Whether an array of these axes can be split as the layout wants it."""
        if self.mesh is None:
            return True
        parts = (rules.axes_of(PartitionSpec(part)) for part in rules.storage_spec(axes))
        sizes = [math.prod(self.mesh.shape[axis] for axis in part) for part in parts]
        return not any(size % split for size, split in zip(shape, sizes, strict=True))

    def whole(self) -> jax.sharding.Sharding:
        """Of an array that every device keeps."""
        return rules.replicated(self.mesh) if self.mesh else SingleDeviceSharding(self.backend.devices[0])


def spread(
    backend: Backend, own: Layout, dimensions: Mapping[str, int], name: str, *, required: bool
) -> Spread:
    """A layout on devices, as it serves to use a model.

    Args:
      backend: the devices.
      own: the layout wanted.
      dimensions: the model's sizes by logical axis, which the layout must divide.
      name: of the run, for what is said.
      required: whether somebody asked for this layout, and one device is no substitute.

    Raises:
      UserError: it was asked for and does not fit.
    """
    layout = without_pipeline(own, dimensions)
    try:
        layout = _fitting(layout, len(backend.devices), dimensions)
    except UserError as error:
        if required:
            raise
        if _devices(layout) != 1:
            log.warning("%s is opened on one device: %s", name, error)
        layout = Layout(data=1, compute_dtype=layout.compute_dtype, attention=layout.attention)
    else:
        if _devices(layout) > 1 and (changed := _differences(own, layout)):
            log.warning("%s is opened with the layout %s: %s", name, layout.describe(), changed)
    dtype, kernel, _ = numbers(layout, backend.platform, backend.capability)
    if _devices(layout) == 1:
        one = OneDevice(backend.native, backend.devices[0].platform)
        return Spread(backend, layout, None, RunContext(one, dtype=dtype, kernel=kernel))
    mesh = make_mesh(layout, list(backend.devices))
    return Spread(backend, layout, mesh, RunContext(ConstraintPlacement(mesh), dtype=dtype, kernel=kernel))


def without_pipeline(own: Layout, dimensions: Mapping[str, int]) -> Layout:
    """A layout's devices for one pass after the other: stages and parts of sequences become shards of weights
    where the model's width can be split so far, or else of examples. A kernel of attention that training
    asked for is taken where it is."""
    folded = own.stage * own.sequence
    fsdp, data = own.fsdp, own.data
    if dimensions.get("embed", 0) % (fsdp * folded) == 0:
        fsdp *= folded
    elif data > 0:
        data *= folded
    return Layout(
        data=data,
        fsdp=fsdp,
        expert=own.expert,
        model=own.model,
        compute_dtype=own.compute_dtype,
        attention="plain" if own.attention == "plain" else "auto",
    )


def of_mesh(axes: Mapping[str, int]) -> Layout:
    """The layout of the mesh that a checkpoint was saved from, by the manifest's account of it."""
    sizes: dict[str, Any] = {axis: axes.get(axis, 1) for axis in AXES}
    return Layout(**sizes | {"fsdp": math.prod(axes.get(ring, 1) for ring in RINGS)})


def of_trained(
    params: Tree, axes: Tree, dimensions: Mapping[str, int], run: RunContext
) -> tuple[Tree, RunContext]:
    """Parameters as training leaves them, moved to where they serve to use the model, on the same devices.

    Args:
      params: on a mesh, or on one device.
      axes: their logical axes.
      dimensions: the model's sizes by logical axis.
      run: of the training: its dtype of products, and what attends.
    """
    first = jax.tree.leaves(params)[0]
    mesh = getattr(first.sharding, "mesh", None)
    if mesh is None or mesh.size == 1:
        (device,) = first.devices()
        return params, RunContext(OneDevice(platform=device.platform), dtype=run.dtype, kernel=run.kernel)
    mesh = make_mesh(without_pipeline(of_mesh(mesh.shape), dimensions), list(mesh.devices.flat))
    return jax.device_put(params, rules.storage_shardings(mesh, axes)), RunContext(
        ConstraintPlacement(mesh), dtype=run.dtype, kernel=run.kernel
    )


def _fitting(layout: Layout, devices: int, dimensions: Mapping[str, int]) -> Layout:
    if layout.data > 0 and _devices(layout) == 1:
        return layout  # the first device is used, however many there are
    layout = layout.on(devices)
    problems: Sequence[tuple[str, str]] = layouts.check(layout, layout.batch_shards, dimensions)
    if problems:
        raise UserError("; ".join(f"{name}: {what}" for name, what in problems))
    return layout


def _devices(layout: Layout) -> int:
    return layout.batch_shards * layout.model


def _differences(own: Layout, layout: Layout) -> str:
    """Half a sentence on what is not as it was in training; empty where nothing is."""
    parts = [f"{axis} {getattr(own, axis)}" for axis in ("stage", "sequence") if getattr(own, axis) > 1]
    if parts:
        return f"{' and '.join(parts)} of its training are for training alone"
    return "partitioning manual is for training alone" if own.partitioning == "manual" else ""
