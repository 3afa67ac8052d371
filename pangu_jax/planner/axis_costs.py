"""What collectives over a mesh axis cost, predicted from where the axis will lie on a topology's links.

A collective over an axis is carried out ring by ring: over each dimension of the torus that the axis takes
and inside of chips that are several devices, or inside nodes and then between them. Its time is latency +
bytes / bandwidth of each ring.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from pangu_jax.parallel.layout import AXES
from pangu_jax.parallel.torus import URGENT, take
from pangu_jax.planner.links import HOP_S, NCCL_BETWEEN, NCCL_INSIDE, NODE_HOP_S, nccl_seconds
from tpu_npu_backends.topologies import Nodes, Topology, Torus


class Ring(NamedTuple):
    """Devices of an axis that pass messages around: how many, bytes/s one way, and seconds per hop."""

    size: int
    bytes_per_s: float
    hop_s: float


class AxisCost(NamedTuple):
    """An all-gather (or a reduce-scatter) whose whole is V bytes takes latency_s + V * seconds_per_byte.

    Attributes:
      latency_s: hops of all rings.
      seconds_per_byte: of the gathered whole.
      neighbour_s_per_byte: of a message to the next device along the axis.
    """

    latency_s: float
    seconds_per_byte: float
    neighbour_s_per_byte: float


def axis_costs(topology: Topology, sizes: Mapping[str, int]) -> dict[str, AxisCost]:
    """The cost of each mesh axis of these sizes."""
    links = topology.links
    rings = _on_torus(topology, links, sizes) if isinstance(links, Torus) else _on_nodes(links, sizes)
    if isinstance(links, Nodes) and topology.chip.platform == "cuda":
        return {axis: _by_nccl(links, rings[axis]) for axis in AXES}
    return {axis: _cost(rings[axis]) for axis in AXES}


def on_one_dimension(topology: Topology, size: int) -> bool:
    """Whether an axis of that size stays on one dimension of the torus, with one or all devices of a chip, or
    within a node."""
    if isinstance(topology.links, Torus):
        inside = topology.chip.devices
        return size == 1 or any(inside * dimension % size == 0 for dimension in topology.shape)
    return topology.links.size % size == 0


def _cost(rings: list[Ring]) -> AxisCost:
    """Gathers go from the slowest ring, with the least data, to the fastest."""
    latency = seconds_per_byte = 0.0
    part = 1.0
    for ring in sorted(rings, key=lambda ring: -ring.bytes_per_s):
        latency += (ring.size - 1) * ring.hop_s
        seconds_per_byte += part * (ring.size - 1) / ring.size / ring.bytes_per_s
        part /= ring.size
    slowest = min((ring.bytes_per_s for ring in rings), default=math.inf)
    return AxisCost(latency, seconds_per_byte, 1 / slowest)


def _by_nccl(links: Nodes, rings: list[Ring]) -> AxisCost:
    """As the count of compiled programs prices it."""
    inside = next((ring.size for ring in rings if ring.bytes_per_s == links.intra_bytes_per_s), 1)
    nodes = math.prod(ring.size for ring in rings) // inside
    if not rings:
        return AxisCost(0.0, 0.0, 0.0)
    latency, gigabyte = (nccl_seconds(links, payload, inside, nodes) for payload in (0.0, 1e9))
    between = NCCL_BETWEEN * links.inter_bytes_per_s
    rate = between if nodes > 1 else NCCL_INSIDE * links.intra_bytes_per_s
    return AxisCost(latency, (gigabyte - latency) / 1e9, 1 / rate)


def _on_torus(topology: Topology, links: Torus, sizes: Mapping[str, int]) -> dict[str, list[Ring]]:
    def ring(size: int, index: int) -> Ring:
        whole = size == topology.grid[index] and links.wraps[index]
        return Ring(size, links.link_bytes_per_s[index] * (2 if whole and size > 2 else 1), HOP_S)

    taken, left = take(sizes, topology.grid, topology.chip.devices)
    free = [[size, index] for index, size in enumerate(left)]
    rings = {axis: [ring(size, index) for index, size in taken.get(axis, ())] for axis in AXES}
    rest = {axis: sizes[axis] // math.prod(size for _, size in taken.get(axis, ())) for axis in AXES}
    for axis in ("fsdp", *URGENT):  # over several dimensions
        for slot in sorted(free, reverse=True):
            shared = math.gcd(slot[0], rest[axis])
            if shared > 1:
                rings[axis].append(ring(shared, slot[1]))
                slot[0] //= shared
                rest[axis] //= shared
        if rest[axis] > 1:  # does not tile the torus: as if over a line of single links
            rings[axis].append(Ring(rest[axis], links.link_bytes_per_s[-1], HOP_S))
    return rings


def _on_nodes(links: Nodes, sizes: Mapping[str, int]) -> dict[str, list[Ring]]:
    """The last axis of the mesh has neighbouring devices, so it lies inside a node first."""
    rings: dict[str, list[Ring]] = {}
    room = links.size
    for axis in reversed(AXES):
        inside = math.gcd(sizes[axis], room)
        outside = sizes[axis] // inside
        room = room // inside if outside == 1 else 1
        rings[axis] = [Ring(inside, links.intra_bytes_per_s, HOP_S)] if inside > 1 else []
        if outside > 1:
            rings[axis].append(Ring(outside, links.inter_bytes_per_s, NODE_HOP_S))
    return rings
