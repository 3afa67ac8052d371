"""Seconds that a collective takes on the links of a topology.

A model, not a measurement: ring algorithms at the full rate of the links, in all torus dimensions of a
group at once, before or after the devices of a chip among themselves, and a microsecond per hop. Nothing else
is on the wire.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tpu_npu_backends.topologies import Nodes, Topology, Torus

# What NCCL reaches, by XLA's model of it. Inside of a node by its tables for H100: an all-gather over 8 of 1
# MiB takes 31 us, of 32 MiB 129, of 512 MiB 1,392. Between nodes by its network model, told of 50 GB/s a
# card: 512 MiB over 2 x 8 take 1,953 us, 4 x 4 3,391, 8 x 8 2,216 (here 1,500, 3,280, 2,150).
NCCL_INSIDE = 0.75  # of what a card sends to others of its node
NCCL_BETWEEN = 0.65  # of its network card
NCCL_S = 25e-6  # to start
NCCL_NODE_S = 40e-6  # for each node

# Seconds per hop, for the count of compiled programs and for predictions; assumed, not measured here.
HOP_S = 1e-6  # a neighbour of the torus, or of the node
NODE_HOP_S = 5e-6  # another node


@dataclass(frozen=True)
class Traffic:
    """What one device does for a collective.

    Attributes:
      bytes: what it sends.
      seconds: how long that takes, latency included.
    """

    bytes: float
    seconds: float


class Links:
    """The links between the devices of a mesh.

    Args:
      topology: what is linked.
      device_ids: id of the device at each position of the mesh, row-major. Ids count along the topology's
        grid with the first dimension fastest, as libtpu gives them; on clusters of nodes, node after node.
        None: positions in the order of sorted coordinates, a chip's devices next to each other.
    """

    def __init__(self, topology: Topology, device_ids: Sequence[int] | None = None):
        self.topology = topology
        grid, of_chip = topology.grid, len(topology.grid) - len(topology.shape)
        if device_ids is None:
            by_id = np.arange(topology.device_count).reshape(grid, order="F")
            ids = np.moveaxis(by_id, range(of_chip), range(-of_chip, 0)).ravel()
        else:
            ids = np.asarray(device_ids)
        places = np.unravel_index(ids, grid, order="F")
        self._places = np.stack(places, axis=-1)  # int [position, dimension]

    def collective(self, kind: str, payload: float, group: Sequence[int]) -> Traffic:
        """A collective among the devices of a group.

        Args:
          kind: "all-gather", "reduce-scatter", "all-reduce", "all-to-all" or "collective-broadcast".
          payload: bytes of the whole array: what a gather gives, what a scatter, reduction or exchange takes.
          group: positions in the mesh.
        """
        size = len(group)
        if size < 2 or not payload:
            return Traffic(0.0, 0.0)
        share = (size - 1) / size
        sent = payload * (2 * share if kind == "all-reduce" else 1.0 if "broadcast" in kind else share)
        rounds = 2 if kind == "all-reduce" else 1
        linked = self.topology.links
        if isinstance(linked, Nodes):
            return Traffic(sent, self._between_nodes(linked, payload, rounds, tuple(group)))
        rings = self._rings(tuple(group))
        hops = rounds * sum(size // 2 if links == 2 else size - 1 for size, links, _ in rings)
        if kind == "all-to-all":
            # Half the ring's links carry a quarter of all; a line's middle link carries half of all, halved.
            seconds = max(payload * size / (8 if links == 2 else 4) / rate for size, links, rate in rings)
            return Traffic(sent, seconds + hops * HOP_S)
        return Traffic(sent, self._along(rings, size, sent / share) + hops * HOP_S)

    def _along(self, rings: tuple[tuple[int, int, float], ...], size: int, whole: float) -> float:
        """Seconds of a collective of so many devices and bytes: all dimensions of one rate at once.

        The fastest, inside of chips, pass all of it, the next the part that one of their devices has.
        """
        seconds, part = 0.0, 1.0
        rates = sorted({rate for _, _, rate in rings}, reverse=True)
        for rate in rates:
            along = [(values, links) for values, links, of in rings if of == rate]
            # A group need not fill the box that it lies in: what faster dimensions leave of it.
            devices = round(size * part) if rate == rates[-1] else math.prod(values for values, _ in along)
            seconds += whole * part * (devices - 1) / devices / (rate * sum(links for _, links in along))
            part /= devices
        return seconds

    def permute(self, payload: float, pairs: np.ndarray) -> Traffic:
        """Every source sends `payload` bytes to its target, along one torus dimension after the other.

        The short way round, as long as the busiest link needs: a shift by three in a ring takes three times
        as long as by one.
        """
        moved = pairs[pairs[:, 0] != pairs[:, 1]]
        if not len(moved):
            return Traffic(0.0, 0.0)
        links = self.topology.links
        if isinstance(links, Nodes):
            node = self._places[:, 0] // links.size
            outside = bool((node[moved[:, 0]] != node[moved[:, 1]]).any())
            rate, hop = (links.inter_bytes_per_s, NODE_HOP_S) if outside else (links.intra_bytes_per_s, HOP_S)
            if self.topology.chip.platform == "cuda":
                rate, hop = rate * (NCCL_BETWEEN if outside else NCCL_INSIDE), NCCL_S + outside * NCCL_NODE_S
            return Traffic(payload, payload / rate + hop)
        per_byte, hops = self._busiest_link(links, moved)
        return Traffic(payload, payload * per_byte + hops * HOP_S)

    def _busiest_link(self, torus: Torus, pairs: np.ndarray) -> tuple[float, int]:
        """(seconds of the busiest directed link for a byte of each message, hops of the longest way)."""
        shape, wraps = self.topology.grid, torus.wraps
        at, target = self._places[pairs[:, 0]], self._places[pairs[:, 1]]
        load = np.zeros((*shape, 2), int)
        busiest, hops = 0.0, np.zeros(len(pairs), int)
        for dimension, size in enumerate(shape):
            way = target[:, dimension] - at[:, dimension]
            if wraps[dimension]:
                way = (way + size // 2) % size - size // 2
            load[:] = 0
            for hop in range(np.abs(way).max()):
                going = np.abs(way) > hop
                np.add.at(load, (*at[going].T, (way[going] > 0).astype(int)), 1)
                at[going, dimension] = (at[going, dimension] + np.sign(way[going])) % size
            busiest = max(busiest, int(load.max()) / torus.link_bytes_per_s[dimension])
            hops += np.abs(way)
        return busiest, int(hops.max())

    def inside_a_node(self, group: Sequence[int]) -> bool:
        """Whether all devices of a group are in one node."""
        links = self.topology.links
        if not isinstance(links, Nodes):
            return False
        return len(np.unique(self._places[list(group), 0] // links.size)) == 1

    @functools.lru_cache(maxsize=4096)  # noqa: B019 - lives as long as one report
    def _rings(self, group: tuple[int, ...]) -> tuple[tuple[int, int, float], ...]:
        """(devices, links one way, bytes/s of one) for each dimension in which the group extends.

        Two links where the group fills a dimension that closes to a ring, one where it does not.
        """
        torus = self.topology.links
        assert isinstance(torus, Torus)
        places = self._places[list(group)]
        rings = []
        for dimension, size in enumerate(self.topology.grid):
            values = len(np.unique(places[:, dimension]))
            if values > 1:
                # Two neighbours have one cable between them, ring or not.
                full = values == size and torus.wraps[dimension] and size > 2
                rings.append((values, 2 if full else 1, torus.link_bytes_per_s[dimension]))
        return tuple(rings)

    def _between_nodes(self, links: Nodes, payload: float, rounds: int, group: tuple[int, ...]) -> float:
        """Inside the nodes and between them at once, the slower counts."""
        nodes = len(np.unique(self._places[list(group), 0] // links.size))
        inside = len(group) / nodes
        if self.topology.chip.platform == "cuda":
            return rounds * nccl_seconds(links, payload, inside, nodes)
        seconds = payload * (inside - 1) / inside / links.intra_bytes_per_s
        latency = math.log2(max(inside, 1)) * HOP_S
        if nodes > 1:
            # Each of a node's chips carries its share over its own network link.
            seconds = max(seconds, payload * (nodes - 1) / nodes / inside / links.inter_bytes_per_s)
            latency += math.log2(nodes) * NODE_HOP_S
        return rounds * (seconds + latency)


def nccl_seconds(links: Nodes, payload: float, inside: float, nodes: float) -> float:
    """An all-gather or a reduce-scatter of `payload` bytes over so many nodes and cards of each, by NCCL.

    Inside nodes and between them at once, the slower counts.
    """
    seconds = payload * (inside - 1) / inside / (NCCL_INSIDE * links.intra_bytes_per_s)
    if nodes > 1:
        between = payload * (nodes - 1) / nodes / inside / (NCCL_BETWEEN * links.inter_bytes_per_s)
        seconds = max(seconds, between) + NCCL_NODE_S * nodes
    return seconds + NCCL_S
