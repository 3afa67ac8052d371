"""The seam: what the trainer needs from a model family, and nothing else.

The trainer knows no tokens, no text and no layers. A new family is one file with a class of this shape
and a recipe that names it.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.models.placement import Placement

Batch = Mapping[str, Any]
Params = Any


class Sums(NamedTuple):
    """What a loss adds up over examples, so that splitting a batch in any way changes nothing.

    Attributes:
      loss: fp32 scalar with gradients: the weighted sum that is minimised.
      weight: fp32 scalar: what to divide the sum by.
      metrics: name -> (sum, weight), fp32 scalars, reported as sum / weight.
    """

    loss: jax.Array
    weight: jax.Array
    metrics: dict[str, tuple[jax.Array, jax.Array]]


class Source(Protocol):
    """Batches as a pure function of the step: resuming is arithmetic."""

    def __len__(self) -> int:
        """Batches of a finite source (validation); endless sources do not have it."""

    def batch(self, step: int, rows: slice | None = None) -> dict[str, np.ndarray]:
        """The batch of a step: all global rows, or one host's slice of them."""

    def iterator(self, start_step: int, rows: slice | None = None) -> Iterator[dict[str, np.ndarray]]:
        """batch(start_step), batch(start_step + 1), ... read ahead of their use."""

    def identity(self, step: int) -> list[str]:
        """Names of the examples of a step, for messages and for tests."""


class Workload(Protocol):
    """A model family under training.

    Its loss calls the placement points of `run` wherever a tensor changes where it lives: that is all that a
    layout can rely on. With partitioning "manual" the arrays that it sees are one device's parts.
    """

    name: str

    def init(self, key: jax.Array) -> Params:
        """Fresh parameters, fp32, as a nested dict; jitted by the trainer."""

    def logical_axes(self) -> Any:
        """For each parameter a tuple with the logical axis of each dimension, in the structure of `init`."""

    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide (heads, mlp, vocab, embed).

        A class may also have `recipe_dimensions(recipe, reference)`, a static method that reads them from a
        recipe, so that `pangu config check` finds a misfit before anything is made.
        """

    def loss(self, params: Params, batch: Batch, keys: jax.Array | None, run: "Run") -> Sums:
        """Loss and metrics of a batch, or of a part of it; `keys` [examples] are for what is random."""

    def batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """A batch's arrays without their contents, to compile for devices that are not there."""

    def train_source(self, batch_size: int, seed: int) -> Source:
        """Endless batches of `batch_size` global examples."""

    def validation_sources(self, batch_size: int) -> dict[str, Source]:
        """A finite source for each held-out task; may be empty."""

    def fingerprint(self) -> dict[str, str]:
        """What a checkpoint of this workload depends on besides shapes, such as the vocabulary's hash."""

    def files(self) -> dict[str, bytes]:
        """Name -> content of what a run keeps beside its checkpoints, so that it can be used without data."""

    def flops_per_step(self, batch_size: int) -> float:
        """Model FLOPs of a step, forward and backward, without recomputation."""

    def tokens_per_step(self, batch_size: int) -> int:
        """What throughput counts: positions of all windows of a batch (or pixels, cells, ...).

        A class may also have `shape()`, the model in numbers (`pangu_jax.workloads.shape.Shape`): then
        layouts can be planned for it.
        """


class Run(NamedTuple):
    """How this run carries a loss out, from its layout: nothing that changes what is computed.

    Attributes:
      placement: the placement points of the mesh.
      remat: "none", "dots", "full" or "offload".
      dtype: dtype of activations and products.
      kernel: "plain" attention, or "flash" where the backend has a kernel.
      streams: parts of a (micro)batch that a layer works on side by side.
    """

    placement: Placement
    remat: str = "none"
    dtype: Any = jnp.float32
    kernel: str = "plain"
    streams: int = 1


class Part(NamedTuple):
    """Some examples of a batch on their way through a pipeline: their arrays, and one PRNG key each."""

    batch: Batch
    keys: jax.Array | None


class PipelinedWorkload(Workload, Protocol):
    """A family that can also run as pipeline stages."""

    def program(self, run: Run) -> Any:
        """Its towers of equal layers and what stands around them: a `pangu_jax.parallel.stage.Program`.

        The parameters of each tower are the subtree of its name, stacked along a first axis `layers`.
        """
