"""What all candidates of one search share: the model in numbers, the batch, the topology."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from pangu_jax.parallel.layout import AXES
from pangu_jax.planner.axis_costs import AxisCost, axis_costs
from pangu_jax.planner.candidates import Candidates, Mesh
from pangu_jax.planner.efficiency import Efficiency, efficiency
from tpu_npu_backends.topologies import Topology


class Product(Protocol):
    """A weight matrix of one layer (see the workload's `shape`)."""

    rows: int
    columns: int
    tokens: int
    split: str
    saved: bool
    parameters: int


class Attention(Protocol):
    """Scores between queries and keys."""

    heads: int
    width: int
    queries: int
    keys: int
    causal: bool
    plain: bool
    flops: float


class Tower(Protocol):
    """Equal layers, one after the other."""

    name: str
    layers: int
    tokens: int
    width: int
    products: Sequence[Product]
    attentions: Sequence[Attention]
    blocks: int
    memory_tokens: int
    parameters: int


class Shape(Protocol):
    """A model in numbers."""

    towers: Sequence[Tower]
    vocabulary: int
    width: int
    tables: int
    head_tokens: int
    loss_chunks: int
    parameters: int


@dataclass(frozen=True)
class Setting:
    """A search.

    Attributes:
      shape: the model.
      batch_size: examples a step, over all devices.
      topology: the chips.
      meshes: the axis sizes that candidates number.
      activation_bytes: of one number of an activation: 2 for bfloat16.
      optimizer_bytes: of the optimizer's state a parameter: 8 for AdamW in fp32.
    """

    shape: Shape
    batch_size: int
    topology: Topology
    meshes: Sequence[Mesh]
    activation_bytes: int
    optimizer_bytes: float

    @property
    def efficiency(self) -> Efficiency:
        """What programs reach on these chips."""
        return efficiency(self.topology.chip.platform, self.topology.chip.sparse_cores)

    @property
    def kernels(self) -> bool:
        """Whether attention goes through a kernel without T x S matrices."""
        return self.topology.chip.platform != "cpu"

    def examples(self, c: Candidates) -> np.ndarray:
        """Of a microbatch, on a device's row of the mesh."""
        return self.batch_size / (c.data * c.fsdp * c.microbatches)

    @cached_property
    def _costs(self) -> dict[str, np.ndarray]:
        each = [axis_costs(self.topology, mesh) for mesh in self.meshes]
        return {axis: np.array([costs[axis] for costs in each]).reshape(-1, 3) for axis in AXES}

    def cost(self, c: Candidates, axis: str) -> AxisCost:
        """What collectives over an axis cost, for each candidate."""
        return AxisCost(*self._costs[axis][c.mesh].T)
