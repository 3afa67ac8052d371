"""What all candidates of one search share: the model in numbers, the batch, the topology."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pangu_jax.parallel.layout import AXES
from pangu_jax.planner.axis_costs import AxisCost, axis_costs
from pangu_jax.planner.candidates import Candidates, Mesh
from pangu_jax.planner.efficiency import Efficiency, efficiency
from pangu_jax.workloads.shape import Shape
from tpu_npu_backends.topologies import Topology


@dataclass(frozen=True)
class SearchContext:
    """The fixed part of a search.

    Attributes:
      shape: the model.
      batch_size: examples per step, over all devices.
      topology: the chips.
      meshes: the axis sizes that candidates number.
      activation_bytes: per number of an activation: 2 for bfloat16.
      optimizer_bytes: of the optimizer's state per parameter: 8 for AdamW in fp32.
      attention: as in a layout.
    """

    shape: Shape
    batch_size: int
    topology: Topology
    meshes: Sequence[Mesh]
    activation_bytes: int
    optimizer_bytes: float
    attention: str = "auto"

    @property
    def efficiency(self) -> Efficiency:
        """What programs reach on these chips."""
        return efficiency(self.topology.chip)

    @property
    def kernels(self) -> bool:
        """Whether attention goes through a kernel without T x S matrices."""
        platform = self.topology.chip.platform
        there = platform != "cpu" and (platform != "cuda" or self.activation_bytes == 2)
        return there and self.attention != "plain"

    @property
    def forgets_attention(self) -> bool:
        """Whether what a kernel finds is not kept for the backward pass: cuDNN's runs once more."""
        return self.topology.chip.platform == "cuda" and self.kernels

    def examples(self, c: Candidates) -> np.ndarray:
        """Of a microbatch, on a device's row of the mesh."""
        return self.batch_size / (c.data * c.fsdp * c.expert * c.microbatches)

    @cached_property
    def _costs(self) -> dict[str, np.ndarray]:
        each = [axis_costs(self.topology, mesh) for mesh in self.meshes]
        return {axis: np.array([costs[axis] for costs in each]).reshape(-1, 3) for axis in AXES}

    def cost(self, c: Candidates, axis: str) -> AxisCost:
        """What collectives over an axis cost, for each candidate."""
        return AxisCost(*self._costs[axis][c.mesh].T)
