"""Who talks to whom: the three printed forms of replica groups, mesh axes, and what links carry."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pangu_jax.planner.device_groups import axes_of, expand_groups
from pangu_jax.planner.hlo import HloError
from pangu_jax.planner.links import Links
from tpu_npu_backends import topologies

NAMES = ("a", "b", "c")


@st.composite
def meshes(draw):
    """A mesh of up to three axes, and which of them a collective runs over, in some order."""
    sizes = draw(st.lists(st.integers(2, 4), min_size=1, max_size=3))
    mesh = dict(zip(NAMES, sizes, strict=False))
    return mesh, draw(
        st.permutations(list(mesh)).flatmap(
            lambda names: st.sampled_from([names[:count] for count in range(1, len(names) + 1)])
        )
    )


@given(meshes())
def test_the_three_forms_name_the_same_groups(drawn):
    mesh, over = drawn
    axes = list(mesh)
    order = [axes.index(a) for a in axes if a not in over] + [axes.index(a) for a in over]
    sizes = [mesh[axis] for axis in over]
    devices = np.arange(math.prod(mesh.values())).reshape(*mesh.values())
    wanted = devices.transpose(order).reshape(-1, math.prod(sizes))

    explicit = "{" + ",".join("{" + ",".join(map(str, row)) + "}" for row in wanted) + "}"
    iota = f"{list(wanted.shape)}<={list(mesh.values())}T({','.join(map(str, order))})".replace(" ", "")
    named = f"mesh[{','.join(f'{a!r}={n}' for a, n in mesh.items())}] {{{','.join(map(repr, over))}}}"
    # The same devices named by a mesh in another order: axes turned round, and their order with them.
    turned = dict(reversed(mesh.items()))
    order_back = ",".join(map(str, reversed(range(len(mesh)))))
    ids = f"[{','.join(map(str, mesh.values()))}]T({order_back})"
    reordered = (
        f"mesh[{','.join(f'{a!r}={n}' for a, n in turned.items())}], device_ids=({ids}) "
        f"{{{','.join(map(repr, over))}}}"
    )
    assert sorted(map(sorted, expand_groups(reordered, devices.size))) == sorted(map(sorted, wanted))
    for text in (explicit, iota, named):
        np.testing.assert_array_equal(expand_groups(text, devices.size), wanted)
    assert axes_of(wanted, mesh) == tuple(axis for axis in mesh if axis in over)
    assert sorted(wanted.ravel()) == list(range(devices.size))


def test_other_forms():
    np.testing.assert_array_equal(expand_groups("{}", 4), [[0, 1, 2, 3]])
    np.testing.assert_array_equal(expand_groups("[2,2]<=[4]", 4), [[0, 1], [2, 3]])
    np.testing.assert_array_equal(expand_groups("mesh['a'=4] {'a':(1)2}", 4), [[0, 2], [1, 3]])
    listed = "mesh['a'=2,'b'=2], device_ids=(0,2,1,3) {'a'}"
    np.testing.assert_array_equal(expand_groups(listed, 4), [[0, 1], [2, 3]])
    assert axes_of([[3], [1]], {"a": 2, "b": 2}) == ()
    with pytest.raises(HloError, match="talks to device 4 and the mesh has 4"):
        axes_of([[0, 4]], {"a": 2, "b": 2})
    with pytest.raises(HloError, match="form that is not known"):
        expand_groups("v9(0,1)", 4)


def test_links_of_a_torus():
    links = Links(topologies.parse("v5p:4x4x8"))
    row = [0, 8, 16, 24]  # the second dimension, all of it: a ring
    assert links.collective("all-gather", 4e9, row).seconds == pytest.approx(3e9 / 180e9 + 2e-6)
    assert links.collective("all-reduce", 4e9, row).seconds == pytest.approx(6e9 / 180e9 + 4e-6)
    part = [0, 1, 2, 3]  # half of the third
    assert links.collective("reduce-scatter", 4e9, part).seconds == pytest.approx(3e9 / 90e9 + 3e-6)
    assert links.collective("all-to-all", 4e9, row).seconds == pytest.approx(2e9 / 90e9 + 2e-6)
    assert links.collective("all-gather", 4e9, [5]).seconds == 0
    assert links.permute(90e9, np.array([[0, 7], [1, 1]])).seconds == pytest.approx(1 + 1e-6)
    assert links.permute(90e9, np.array([[0, 2]])).seconds == pytest.approx(1 + 2e-6)
    by_three = np.array([[k, (k + 3) % 8] for k in range(8)])
    assert links.permute(90e9, by_three).seconds == pytest.approx(3 + 3e-6)
    # Where a line does not close, the last one's way back takes the other direction of each link.
    line = Links(topologies.parse("v5p:2x2x2"))
    swap = np.array([[0, 1], [1, 0]])
    assert line.permute(90e9, swap).seconds == pytest.approx(1 + 1e-6)


def test_links_follow_the_devices_not_their_places_in_the_mesh():
    """Ids count along the first torus dimension first: a mesh in order of ids has that ring last."""
    topology = topologies.parse("v5p:4x4x8")
    by_id = Links(topology, range(128))
    assert by_id.collective("all-gather", 4e9, [0, 1, 2, 3]).seconds == pytest.approx(3e9 / 180e9 + 2e-6)


def test_links_of_chips_that_are_two_devices():
    """A device has half of each link of its chip, and the other device of it beside that."""
    topology = topologies.parse("tpu7x:4x4x4")
    links = Links(topology, range(128))  # in order of ids: the two devices of a chip, then the next chip
    assert links.collective("all-gather", 6e9, [0, 1]).seconds == pytest.approx(3e9 / 600e9 + 1e-6)
    row = [0, 2, 4, 6]  # one device of each chip along a ring
    assert links.collective("all-gather", 4e9, row).seconds == pytest.approx(3e9 / 100e9 + 2e-6)
    both = links.collective("all-gather", 4e9, range(8))
    assert both.bytes == 3.5e9
    assert both.seconds == pytest.approx(2e9 / 600e9 + 1.5e9 / 100e9 + 3e-6)
    assert links.collective("all-to-all", 4e9, range(8)).seconds == pytest.approx(2e9 / 50e9 + 3e-6)
    assert links.permute(60e9, np.array([[0, 1], [1, 0]])).seconds == pytest.approx(0.1 + 1e-6)
    assert links.permute(60e9, np.array([[0, 2], [1, 3]])).seconds == pytest.approx(1.2 + 1e-6)
    sorted_places = Links(topology)
    assert sorted_places.collective("all-gather", 6e9, [0, 1]).seconds == pytest.approx(3e9 / 600e9 + 1e-6)


def test_links_of_nodes():
    """8 chips per node: inside by NVLink, between nodes each chip by its own card, as far as NCCL reaches."""
    links, inside, between = Links(topologies.parse("h100:2x8")), 0.75 * 450e9, 0.65 * 50e9
    assert links.collective("all-gather", 8e9, range(8)).seconds == pytest.approx(7e9 / inside + 25e-6)
    both = links.collective("all-gather", 16e9, range(16))
    assert both.bytes == 15e9
    assert both.seconds == pytest.approx(14e9 / inside + 105e-6)  # 8e9 over the 8 cards take less
    across = links.collective("all-gather", 2e9, [0, 8])
    assert across.seconds == pytest.approx(1e9 / between + 105e-6)
    assert links.permute(between, np.array([[7, 8]])).seconds == pytest.approx(1 + 65e-6)
