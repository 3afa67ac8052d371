"""What the loop needs to know of a run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh

from pangu_jax.parallel.layout import Layout
from pangu_jax.training.selection import Selection
from pangu_jax.training.step import TrainState
from pangu_jax.workloads import Batch, RunContext, TrainStream, Tree, Workload
from pangu_jax.workloads.evaluator import Evaluator
from tpu_npu_backends.selection import Backend


@dataclass(frozen=True)
class LoopConfig:
    """All that the loop needs to know; see `train` for the meaning of each."""

    workload: Workload
    run: RunContext
    layout: Layout
    mesh: Mesh
    source: TrainStream
    train_step: Callable[[TrainState, Batch, int], tuple[TrainState, dict[str, jax.Array]]]
    constants: Tree
    backend: Backend
    batch_size: int
    shift: int
    steps: int
    log_every: int
    validate_every: int
    evaluators: Sequence[Evaluator]
    selection: Selection | None
    checkpoint_every: int
    watchdog_seconds: float
    watchdog_abort_seconds: float
    manifest: dict[str, Any]

    def examples_read(self, step: int) -> int:
        """Examples of the run's data that steps up to `step` have taken, whatever batch sizes it had."""
        return step * self.batch_size + self.shift
