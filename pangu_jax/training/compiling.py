"""The train step lowered for devices that need not exist: what planning and the scaling study compile."""

from collections.abc import Sequence

import jax
from jax.sharding import NamedSharding

from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel import rules
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.parallel.numbers import numbers as numbers_of
from pangu_jax.training import step
from pangu_jax.training.optimizers import Optimizer
from pangu_jax.workloads import RunContext, Workload
from tpu_npu_backends import gpu_numbers


def lower_step(
    workload: Workload,
    optimizer: Optimizer,
    layout: Layout,
    batch_size: int,
    devices: Sequence[jax.Device],
    platform: str,
) -> jax.stages.Lowered:
    """The whole optimizer step over abstract arrays, as `train` would compile it on those devices.

    Args:
      workload: what is trained; no data is read.
      optimizer: its update is part of the step.
      layout: how it is spread over the devices.
      batch_size: examples per step, over all devices.
      devices: real ones, or those of a topology.
      platform: the backend: its compute dtype and its kernel of attention, unless the layout says otherwise.

    Raises:
      UserError: the layout does not fit the devices, the model or the batch.
    """
    layout = layout.on(len(devices))
    if problems := layouts.check(layout, batch_size, workload.dimensions()):
        raise UserError("; ".join(f"{name}: {what}" for name, what in problems))
    mesh = make_mesh(layout, list(devices))
    numbers = numbers_of(layout, platform)
    run = RunContext(OneDevice(), layout.remat, numbers.dtype, numbers.kernel)
    train_step = step.make_train_step(workload, optimizer, run, layout, mesh, batch_size=batch_size, seed=0)
    shapes = workload.batch_shapes(batch_size)
    specs = rules.batch_specs(workload.batch_axes(), shapes)
    batch = {
        name: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=NamedSharding(mesh, specs[name]))
        for name, shape in shapes.items()
    }
    start = step.abstract_start(workload, optimizer, mesh)
    with gpu_numbers.as_on(platform):
        return train_step.lower(start.state, batch, start.constants, workload.phase(0))
