"""A mesh of devices for a layout."""

import math
from collections import defaultdict

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.torus import axis_inside, take

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
    grid, inside = torus(devices), devices_of_a_chip(devices)
    sizes = layout.axis_sizes() | dict(zip(RINGS, rings(layout, grid, inside), strict=True))
    axis = axis_inside(layout.axis_sizes(), grid, inside) if inside > 1 else None
    if axis == "fsdp":
        axis = [ring for ring in RINGS if sizes[ring] % inside == 0][-1]
    shape = [sizes[axis] for axis in MESH_AXES]
    placed = _of_several(shape, devices, MESH_AXES.index(axis)) if axis else _placed(shape, devices)
    return Mesh(placed, MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES))


def torus(devices: list[jax.Device]) -> tuple[int, ...]:
    """Devices along each dimension of a TPU's torus, those of a chip first where it is several; () for other
    devices."""
    if devices[0].platform != "tpu":
        return ()
    sides = tuple(max(line) + 1 for line in zip(*(device.coords for device in devices), strict=True))
    inside = devices_of_a_chip(devices)
    return (inside, *sides) if inside > 1 else sides


def devices_of_a_chip(devices: list[jax.Device]) -> int:
    """How many devices of each chip are there; 1 where that is not the same for all."""
    if devices[0].platform != "tpu":
        return 1
    chips = len({tuple(device.coords) for device in devices})
    return len(devices) // chips if len(devices) % chips == 0 else 1


def rings(layout: Layout, grid: tuple[int, ...], inside: int = 1) -> tuple[int, int, int]:
    """`fsdp` as a product of three, each along one torus dimension that the other axes leave free.

    What is left of it, such as the devices of a chip, is a ring of its own or goes with the last.
    """
    free = take(layout.axis_sizes(), grid, inside)[1]
    factors, rest = [], layout.fsdp
    for dimension in sorted(free, reverse=True):
        if (shared := math.gcd(dimension, rest)) > 1 and len(factors) < len(RINGS):
            factors.append(shared)
            rest //= shared
    factors = factors or [1]
    factors[-1] *= rest
    return tuple(factors + [1] * (len(RINGS) - len(factors)))


def _placed(shape: list[int], devices: list[jax.Device]) -> np.ndarray:
    return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)


def _of_several(shape: list[int], devices: list[jax.Device], axis: int) -> np.ndarray:
    """Chips as on any torus, and the devices of each next to each other along one axis."""
    of_chip: dict[tuple[int, ...], list[jax.Device]] = defaultdict(list)
    for device in sorted(devices, key=lambda device: device.core_on_chip):
        of_chip[tuple(device.coords)].append(device)
    inside = len(devices) // len(of_chip)
    chips = [device for device in devices if device is of_chip[tuple(device.coords)][0]]
    of_chips = _placed([size // inside if at == axis else size for at, size in enumerate(shape)], chips)
    placed = np.empty((inside, *of_chips.shape), object)
    for place, chip in np.ndenumerate(of_chips):
        placed[:, *place] = of_chip[tuple(chip.coords)]
    return np.moveaxis(placed, 0, axis + 1).reshape(shape)
