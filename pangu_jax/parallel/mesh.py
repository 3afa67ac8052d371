"""A mesh of devices for a layout."""

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from pangu_jax.parallel.layout import MESH_AXES, Layout


def make_mesh(layout: Layout, devices: list[jax.Device] | None = None) -> Mesh:
    """The mesh (stage, data, fsdp, model, sequence) over all devices, axes next to each other on torus rings.

    Raises UserError where the layout does not fit the devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = tuple(layout.on(len(devices)).axis_sizes().values())
    grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    return Mesh(grid, MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES))
