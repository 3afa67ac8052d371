"""Clusters by name: what a name means, what does not exist, and devices that are not there."""

import importlib.util
import itertools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tpu_npu_backends import attached, chips, compiling, topologies, tpu
from tpu_npu_backends.descriptions import BACKENDS
from tpu_npu_backends.errors import BackendError

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: pip install 'pangu-jax[tpu]'"
)


@pytest.mark.parametrize(
    ("text", "count", "analytic"),
    [
        ("v5p:8x8x8", 512, False),
        ("v5p:1x1x1", 1, False),
        ("v6e:1x1", 1, False),
        ("v6e:2x4", 8, False),
        ("v6e:8x16", 128, False),
        ("v6e:16x16", 256, False),
        ("tpu7x:1x1x1", 1, False),
        ("tpu7x:4x4x8", 128, False),
        ("tpu7x:16x24x24", 9216, False),
        ("v4:2x2x4", 16, False),
        ("cpu:8", 8, False),
        ("ascend910b:512", 512, True),
        ("a100-40:1x4", 4, False),
        ("h100:8x8", 64, False),
        ("gb200:1x72", 72, False),
    ],
)
def test_a_name_stands_for_chips(text, count, analytic):
    topology = topologies.parse(text)
    assert (topology.name, topology.chips, topology.analytic) == (text, count, analytic)
    assert topologies.parse(topology.name) == topology
    assert str(count) in topology.describe()


def test_a_chip_may_be_several_devices():
    topology = topologies.parse("tpu7x:4x4x4")
    assert (topology.chips, topology.device_count, topology.grid) == (64, 128, (2, 4, 4, 4))
    assert topology.describe() == "64 x tpu7x as 4x4x4 (128 devices)"
    chip = topology.chip
    assert 2 * chip.peak_flops == 2307e12 and 2 * chip.hbm_bytes_per_s == 7380e9
    # Half of a link is a device's: those of a chip use it at once. Among themselves they have other wires.
    assert topology.links.link_bytes_per_s == (chip.inside_bytes_per_s, *(chip.link_bytes_per_s / 2,) * 3)
    assert topology.links.wraps == (False, True, True, True)
    plain = topologies.parse("v5p:4x4x4")
    assert plain.device_count == plain.chips and plain.grid == plain.shape


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("v5p:3x3x3", "hosts of 2x2 chips; nearby: v5p:2x4x4"),
        ("v5p:8x8", "3-D torus; nearby: v5p:4x4x4"),
        ("v5e:32x32", "largest slice is 16x16; nearby: v5e:16x16"),
        ("v5p:0x2x2", "nearby: v5p:2x2x2"),
        ("v9:2x2", "chips known: v4, v5e, v5p"),
        ("v6e:1x2", "hosts of 2x2 chips; nearby: v6e:2x2"),
        ("v6e:16x32", "largest slice is 16x16; nearby: v6e:16x16"),
        ("v7x:2x2x1", "did you mean 'tpu7x'?"),
        ("v7:2x2x1", "did you mean 'tpu7x'?"),
        ("Ironwood:2x2x1", "did you mean 'tpu7x'?"),
        ("tpu7x:2x2", "3-D torus; nearby: tpu7x:2x2x2"),
        ("tpu7x:2x1x1", "hosts of 2x2 chips; nearby: tpu7x:2x2x2"),
        ("tpu7x:24x24x24", "largest slice is 16x24x24; nearby: tpu7x:"),
        ("v5p", "CHIP:SHAPE"),
        ("h100:12", "nodes x GPUs of each, at most 8 h100 a node; nearest: h100:2x8, h100:3x4"),
        ("h100:8", "nearest: h100:1x8"),
        ("h100", "nearest: h100:1x8"),
        ("h100:2x16", "nearest: h100:4x8"),
        ("h100-pci:2x8", "did you mean 'h100-pcie'?"),
        ("H100:2x8", "did you mean 'h100'?"),
        ("gb200:2x80", "at most 72 gb200 a node; nearest: gb200:3x72, gb200:40x4"),
        ("ascend910b:12", "whole nodes of 8, at most 131072; nearby: ascend910b:16"),
        ("ascend910b:8x8", "nearby: ascend910b:64"),
        ("cpu:0", "nearby: cpu:1"),
    ],
)
def test_what_does_not_exist_is_refused_in_one_line(text, says):
    with pytest.raises(BackendError) as refused:
        topologies.parse(text)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_devices_that_are_there_are_whole_chips():
    """Of Ironwood both devices of each; fake ones, by what JAX says of them."""
    places = itertools.product([0], range(2), range(2), range(2))
    devices = [
        SimpleNamespace(platform="tpu", device_kind="TPU7x", coords=(x, y, z), core_on_chip=core)
        for z, y, x, core in places
    ]
    assert attached.topology(devices) == topologies.parse("tpu7x:2x2x1")
    with pytest.raises(
        BackendError, match=r"1 devices of 1 x tpu7x as 1x1x1 \(2 devices\): take all of its 2"
    ):
        attached.topology(devices[:1])


def test_rings_close_where_whole_cubes_or_pods_are():
    def wraps(name):
        return topologies.parse(name).links.wraps

    assert wraps("v5p:4x4x8") == (True, True, True)
    assert wraps("v5p:2x4x4") == (False, False, False)
    assert wraps("v5e:8x16") == (False, True)


def test_analytic_clusters_and_absent_devices_are_not_compiled_for():
    with pytest.raises(BackendError, match="analytic only"):
        topologies.devices(topologies.parse("ascend910b:64"))
    with pytest.raises(BackendError, match="xla_force_host_platform_device_count=4096"):
        topologies.devices(topologies.parse("cpu:4096"))
    assert topologies.devices(topologies.parse("cpu:4")) == jax.devices("cpu")[:4]


def test_without_a_compiler_names_are_read_and_compiling_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)
    topology = topologies.parse("v5p:8x8x8")
    with pytest.raises(BackendError, match=r"pip install 'pangu-jax\[tpu\]'"):
        topologies.devices(topology)
    with pytest.raises(BackendError, match=r"pip install 'pangu-jax\[cuda-compile\]'"):
        topologies.devices(topologies.parse("h100:8x8"))


@needs_libtpu
@pytest.mark.parametrize(
    "name", ["v4:2x2x1", "v5e:1x1", "v5p:2x2x2", "v6e:1x1", "v6e:4x4", "tpu7x:1x1x1", "tpu7x:2x2x2"]
)
def test_libtpu_makes_the_devices(name):
    topology = topologies.parse(name)
    devices = topologies.devices(topology)
    corner = [size - 1 for size in topology.shape] + [0] * (3 - len(topology.shape))
    assert len(devices) == topology.device_count
    assert max(device.coords for device in devices) == corner
    assert tpu.CHIP_OF_KIND[devices[0].device_kind] == topology.chip.name
    assert attached.topology(devices) == topology
    within = ([device.core_on_chip] if topology.chip.devices > 1 else [] for device in devices)
    places = [(*core, *device.coords) for core, device in zip(within, devices, strict=True)]
    by_id = np.unravel_index([device.id for device in devices], topology.grid, order="F")
    assert places == [(*place, *(0,) * (3 - len(topology.shape))) for place in zip(*by_id, strict=True)]


@needs_libtpu
@pytest.mark.parametrize("name", ["v4", "v5e", "v5p", "v6e", "tpu7x"])
def test_the_compiler_takes_the_options_and_has_the_memory_we_say(name):
    topology = topologies.parse(f"{name}:{'2x2x1' if chips.CHIPS[name].torus_dims == 3 else '2x2'}")
    on = jax.sharding.SingleDeviceSharding(topologies.devices(topology)[0])
    too_much = jax.ShapeDtypeStruct((2**37,), jnp.int8, sharding=on)
    lowered = jax.jit(jnp.negative).lower(too_much)
    with pytest.raises(BackendError) as refused:
        compiling.compile_for(topology, lowered)
    assert f"does not fit a {topology.chip.unit} of {topology.name}" in str(refused.value)
    assert f"exceeds available HBM ({topology.chip.hbm_bytes / 2**30:.2f}G)" in str(refused.value)


def test_a_tpu_is_selected_with_the_options_of_its_chip():
    assert BACKENDS["tpu"].compiler_options("TPU v5 lite") == tpu.COMPILER_OPTIONS
    assert BACKENDS["tpu"].compiler_options("TPU v99") == {}
    assert BACKENDS["tpu"].compiler_options("TPU v6 lite").keys() >= tpu.SPARSE_CORE_OPTIONS.keys()


def test_options_for_tpus_can_be_told(monkeypatch):
    monkeypatch.setenv(tpu.VARIABLE, " xla_tpu_scoped_vmem_limit_kib=32768, xla_x = auto,")
    found = compiling.compiler_options(topologies.parse("v5p:2x2x1"))
    assert found["xla_tpu_scoped_vmem_limit_kib"] == "32768"
    assert found["xla_x"] == "auto"
    assert found.keys() >= tpu.SPARSE_CORE_OPTIONS.keys()
    assert tpu.VARIABLE not in str(compiling.compiler_options(topologies.parse("cpu:8")))


@pytest.mark.parametrize("wrong", ["32768", "xla_x", "xla_x=", "vmem=3", "=1"])
def test_what_is_no_option_is_one_line(monkeypatch, wrong):
    monkeypatch.setenv(tpu.VARIABLE, f"xla_y=1,{wrong}")
    with pytest.raises(BackendError, match="is no option of XLA; say NAME=VALUE") as caught:
        tpu.told()
    assert "\n" not in str(caught.value)
