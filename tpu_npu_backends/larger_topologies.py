"""Where to look for room: the clusters above one that is too small."""

from collections.abc import Iterator
from dataclasses import replace

from tpu_npu_backends import gpu_clusters
from tpu_npu_backends.errors import BackendError
from tpu_npu_backends.gpu_cards import CARDS
from tpu_npu_backends.topologies import Nodes, Topology, parse


def larger(topology: Topology) -> Iterator[Topology]:
    """Topologies of the same chip, each about twice as large as the one before, up to the largest."""
    while topology.chips < gpu_clusters.MOST:
        links, shape = topology.links, sorted(topology.shape)
        if topology.chip.platform == "cuda" and isinstance(links, Nodes):
            name = gpu_clusters.larger(CARDS[topology.chip.name], links.hosts, topology.chips // links.hosts)
        else:
            shape[0] *= 2
            name = f"{topology.chip.name}:{'x'.join(map(str, sorted(shape)))}"
        try:
            topology = replace(parse(name), memory_fraction=topology.memory_fraction)
        except BackendError:
            return
        yield topology
