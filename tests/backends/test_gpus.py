"""NVIDIA's cards: those that are not there, by name, and those of a run, by what they say of themselves."""

import importlib.util
import types

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding

from tpu_npu_backends import attached, chips, compiling, gpu, gpu_clusters, larger_topologies, topologies
from tpu_npu_backends.errors import BackendError
from tpu_npu_backends.gpu_cards import CARD_OF_KIND, CARDS

needs_plugin = pytest.mark.skipif(
    gpu.plugin() is None, reason=f"JAX's plugin for CUDA is not installed: {gpu.INSTALL}"
)


def cards(kind, nodes, each, **said):
    """Devices as JAX gives them: of `nodes` machines, all seen by one process a machine."""
    return [
        types.SimpleNamespace(
            platform="gpu", device_kind=kind, process_index=node, slice_index=node, memory_stats=lambda: said
        )
        for node in range(nodes)
        for _ in range(each)
    ]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("NVIDIA A100-SXM4-40GB", "a100-40"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H100 NVL", "h100-nvl"),
        ("NVIDIA GH200 480GB", "gh200"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
    ],
)
def test_a_card_is_what_it_says_to_the_letter(kind, name):
    assert attached.topology(cards(kind, 1, 2)) == topologies.parse(f"{name}:1x2")


def test_every_card_is_in_the_table_of_chips_and_no_kind_is_of_two():
    assert {name for name, chip in chips.CHIPS.items() if chip.platform == "cuda"} == set(CARDS)
    assert len(CARD_OF_KIND) == sum(len(card.kinds) for card in CARDS.values())


def test_a_card_that_is_not_in_the_table_is_refused_with_what_to_do():
    for kind in ("NVIDIA H100 80GB HBM3e", "NVIDIA A100", "NVIDIA H20"):
        with pytest.raises(
            BackendError, match=r"no layout can be planned for .*; give train.layout = @Layout"
        ):
            attached.topology(cards(kind, 1, 8))


def test_nodes_are_slices_or_else_processes():
    kind = "NVIDIA H100 80GB HBM3"
    assert attached.topology(cards(kind, 4, 8)).name == "h100:4x8"
    one_process_a_card = cards(kind, 2, 4)
    for number, device in enumerate(one_process_a_card):
        device.process_index = number
    assert attached.topology(one_process_a_card).name == "h100:2x4"
    one_slice = cards(kind, 2, 8)
    for device in one_slice:
        device.slice_index = 0
    assert attached.topology(one_slice).name == "h100:2x8"


def test_memory_is_what_the_allocator_may_take(monkeypatch):
    for variable in gpu_clusters.MEMORY_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    limit = 60 * 2**30
    found = attached.topology(cards("NVIDIA H100 80GB HBM3", 1, 8, bytes_limit=limit))
    assert found.memory_bytes == limit
    card = CARDS["h100"].memory_bytes
    assert topologies.parse("h100:1x8").memory_bytes == 0.75 * card
    assert topologies.parse("h100:1x8", memory_fraction=0.9).memory_bytes == round(0.9 * card)
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", ".5")
    assert topologies.parse("h100:1x8").memory_bytes == 0.5 * card
    assert topologies.parse("v5p:2x2x1").memory_fraction == 1
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "half")
    with pytest.raises(BackendError, match="MEM_FRACTION half: it is a fraction"):
        topologies.parse("h100:1x8")
    with pytest.raises(BackendError, match=r"--memory_fraction 1\.5: it is a fraction"):
        topologies.parse("h100:1x8", memory_fraction=1.5)
    with pytest.raises(BackendError, match="is for GPUs"):
        topologies.parse("v5p:2x2x1", memory_fraction=0.5)


def test_links_are_of_nvlink_domains_and_of_pcie():
    assert topologies.parse("gb200:1x72").links.size == 72
    assert topologies.parse("gb200:36x4").links.size == 72  # two domains of 18 machines
    assert "NVLink over 72" in topologies.parse("gb200:36x4").describe()
    assert topologies.parse("gb200:2x4").links.size == 8
    assert topologies.parse("h100:2x8").links.size == 8
    slow, fast = topologies.parse("h100-pcie:1x8").links, topologies.parse("h100:1x8").links
    assert slow.intra_bytes_per_s < fast.intra_bytes_per_s / 5


def test_larger_clusters_fill_a_node_before_they_take_another():
    names = [one.name for one in larger_topologies.larger(topologies.parse("h100:1x3", memory_fraction=0.9))]
    assert names[:4] == ["h100:1x6", "h100:1x8", "h100:2x8", "h100:4x8"]
    assert next(larger_topologies.larger(topologies.parse("h100:1x8", 0.9))).memory_fraction == 0.9
    assert next(larger_topologies.larger(topologies.parse("gb200:1x64"))).name == "gb200:1x72"


def test_a_missing_plugin_and_one_of_another_jax_are_said(monkeypatch):
    topology = topologies.parse("h100:1x8")
    monkeypatch.setattr(gpu, "plugin", lambda: ("jax_cuda13_plugin", "0.4.1"))
    with pytest.raises(BackendError, match=r"jax_cuda13_plugin 0\.4\.1 does not go with jaxlib") as refused:
        topologies.devices(topology)
    assert gpu.INSTALL in str(refused.value) and "\n" not in str(refused.value)
    monkeypatch.undo()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"pip install 'pangu-jax\[cuda-compile\]'"):
        topologies.devices(topology)


@needs_plugin
@pytest.mark.parametrize("name", CARDS)
def test_the_compiler_takes_every_card(name):
    topology = topologies.parse(f"{name}:2x{CARDS[name].domain}")
    devices = topologies.devices(topology)
    assert len(devices) == topology.chips
    assert [device.process_index for device in devices] == sorted([0, 1] * CARDS[name].domain)
    x = jax.ShapeDtypeStruct((256, 256), jnp.float16, sharding=SingleDeviceSharding(devices[0]))
    program = compiling.compile_for(topology, jax.jit(lambda x: jnp.tanh(x @ x)).lower(x))
    assert "__cublas$lt$matmul" in program.as_text()
