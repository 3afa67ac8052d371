"""A mesh of devices for a layout."""

import math

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from pangu_jax.parallel.layout import Layout

# FSDP is up to three mesh axes, one for each dimension of a torus: a gather over a line of chips uses the
# links of that line in both directions, where one over a plane is carried out as an all-reduce of zeros.
RINGS = ("fsdp", "fsdp_y", "fsdp_z")
MESH_AXES = ("stage", "data", *RINGS, "expert", "model", "sequence")


def make_mesh(layout: Layout, devices: list[jax.Device] | None = None) -> Mesh:
    """The mesh over all devices, `fsdp` as rings, axes next to each other on a torus.

    Raises UserError where the layout does not fit the devices.
    """
    devices = jax.devices() if devices is None else devices
    layout = layout.on(len(devices))
    sizes = layout.axis_sizes() | dict(zip(RINGS, rings(layout, torus(devices)), strict=True))
    shape = [sizes[axis] for axis in MESH_AXES]
    grid = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return Mesh(grid, MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES))


def torus(devices: list[jax.Device]) -> tuple[int, ...]:
    """Chips along each dimension of a TPU's torus; () for other devices."""
    if devices[0].platform != "tpu":
        return ()
    return tuple(max(line) + 1 for line in zip(*(device.coords for device in devices), strict=True))


def rings(layout: Layout, dimensions: tuple[int, ...]) -> tuple[int, int, int]:
    """`fsdp` as a product of three, each along one torus dimension that the other axes leave free.

    The other axes take whole dimensions where they can, the tensor axis first, then that of experts: their
    collectives are the most urgent.
    """
    free = list(dimensions)
    for size in (layout.model, layout.expert, layout.sequence, layout.stage, layout.data):
        for dimension in sorted(free, key=lambda d: (d != size, d)):
            if size > 1 and dimension % size == 0:
                free[free.index(dimension)] = dimension // size
                break
    factors, rest = [], layout.fsdp
    for dimension in sorted(free, reverse=True):
        if (shared := math.gcd(dimension, rest)) > 1 and len(factors) < len(RINGS):
            factors.append(shared)
            rest //= shared
    factors = factors or [1]
    factors[-1] *= rest
    return tuple(factors + [1] * (len(RINGS) - len(factors)))
