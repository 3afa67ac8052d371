"""Where the devices of a mesh lie on a torus, those of a chip included. Fake devices: no TPU, no libtpu."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest

from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import MESH_AXES, make_mesh, rings, torus
from pangu_jax.parallel.torus import axis_inside, take


@dataclass(frozen=True)
class _FakeTPU:
    """What a mesh reads of a device."""

    id: int
    coords: tuple[int, int, int]
    core_on_chip: int
    device_kind: str
    process_index: int = 0
    platform: str = "tpu"


def slice_of(kind: str, shape: tuple[int, int, int], inside: int) -> list[_FakeTPU]:
    """Devices by id, the devices of a chip first, then along the first dimension."""
    z_y_x = itertools.product(*map(range, reversed(shape)))
    places = [(place[::-1], core) for place in z_y_x for core in range(inside)]
    return [_FakeTPU(number, coords, core, kind) for number, (coords, core) in enumerate(places)]


def extent(placed: np.ndarray, axis: str) -> set[str]:
    """Along what the devices of an axis differ: "chip", "x", "y", "z"."""
    lines = np.moveaxis(placed, MESH_AXES.index(axis), -1).reshape(-1, placed.shape[MESH_AXES.index(axis)])
    found = set()
    for line in lines:
        places = [(device.core_on_chip, *device.coords) for device in line]
        found |= {
            name
            for name, values in zip(("chip", "x", "y", "z"), zip(*places, strict=True), strict=True)
            if len(set(values)) > 1
        }
    return found


@pytest.mark.parametrize(
    ("layout", "shape", "lies"),
    [
        (Layout(fsdp=64, model=2), (4, 4, 4), {"model": {"chip"}, "fsdp": 1, "fsdp_y": 1, "fsdp_z": 1}),
        (Layout(fsdp=32, model=2), (2, 4, 4), {"model": {"chip"}, "fsdp": 1, "fsdp_y": 1, "fsdp_z": 1}),
        (Layout(fsdp=32, model=4), (4, 4, 4), {"model": 1, "fsdp": 1, "fsdp_y": 1, "fsdp_z": {"chip"}}),
        (Layout(fsdp=16, model=8), (4, 4, 4), {"model": 2, "fsdp": 1, "fsdp_y": 1}),
        (Layout(fsdp=32, model=8), (4, 4, 8), {"model": 2, "fsdp": 1, "fsdp_y": 1}),
        (Layout(fsdp=128), (4, 4, 4), {"fsdp": 1, "fsdp_y": 1, "fsdp_z": 2}),
        (Layout(data=2, fsdp=16, model=8), (4, 4, 8), {"model": 2, "fsdp": 1}),
        (Layout(data=8), (2, 2, 1), {"data": 3}),
    ],
)
def test_an_axis_takes_a_line_of_chips_or_all_devices_of_each(monkeypatch, layout, shape, lies):
    monkeypatch.setattr("pangu_jax.parallel.mesh.Mesh", lambda placed, *_, **__: placed)
    devices = slice_of("TPU7x", shape, 2)
    assert torus(devices) == (2, *shape)
    placed = make_mesh(layout, devices)
    assert sorted(device.id for device in placed.flat) == list(range(len(devices)))
    for axis, wanted in lies.items():
        found = extent(placed, axis)
        assert found == wanted if isinstance(wanted, set) else len(found) == wanted, (axis, found)
    if lies.get("model") == 2:
        assert "chip" in extent(placed, "model")


def test_one_device_a_chip_lies_as_before():
    devices = slice_of("TPU v5", (8, 8, 8), 1)
    assert torus(devices) == (8, 8, 8)
    assert rings(Layout(fsdp=64, model=8), (8, 8, 8)) == (8, 8, 1)
    assert rings(Layout(fsdp=128, model=4), (8, 8, 8)) == (8, 8, 2)
    sizes = Layout(stage=2, fsdp=64, model=4).axis_sizes()
    taken, free = take(sizes, (8, 8, 8))
    assert (taken["model"], taken["stage"], free) == ([(0, 4)], [(0, 2)], [1, 8, 8])


def test_some_axis_always_has_the_devices_of_a_chip():
    for sizes in itertools.product((1, 2, 3, 4), repeat=3):
        layout = Layout(data=sizes[0], fsdp=sizes[1], model=sizes[2])
        axis = axis_inside(layout.axis_sizes(), (2, 2, 2, 1), 2)
        assert (axis is None) == all(size % 2 for size in sizes)
