"""The seam: what the trainer needs from a model family, and nothing else.

The trainer knows no tokens, no text and no layers. A new family is one file with a subclass of `Workload` and
a recipe that names it; docs/adding_a_workload.md builds one.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.models.placement import Placement
from pangu_jax.models.stack import Remat
from pangu_jax.recipes import Recipe, Reference, make
from pangu_jax.workloads.exhibits import Exhibit

Tree = Any  # a pytree of arrays, nested dicts as a rule
Batch = Mapping[str, Any]
Params = Tree
NOTHING: Tree = {}  # a tree without arrays


class Variables(NamedTuple):
    """The arrays of a model, by who changes them.

    Attributes:
      params: trained by gradient, fp32.
      extra: changed once per step by `Workload.after_step`: averaged teachers, queues, running statistics. In
        checkpoints.
      constants: never changed, and not in checkpoints: a frozen base that lies in another run directory.
    """

    params: Tree
    extra: Tree = NOTHING
    constants: Tree = NOTHING


class Updates(NamedTuple):
    """What a loss hands to `after_step`, and an evaluator to its `finish`.

    Attributes:
      totals: a tree of arrays that add up over examples.
      rows: a tree of arrays [examples, ...], one row per example, collected in the order of the batch.
    """

    totals: Tree = NOTHING
    rows: Tree = NOTHING


class Sums(NamedTuple):
    """What a loss adds up over examples, so that splitting a batch in any way changes nothing.

    Attributes:
      loss: fp32 scalar with gradients: the weighted sum that is minimised.
      weight: fp32 scalar: what to divide the sum by.
      metrics: name -> (sum, weight), fp32 scalars, reported as sum / weight.
      updates: for `after_step`; nothing where there is no extra state.
    """

    loss: jax.Array
    weight: jax.Array
    metrics: dict[str, tuple[jax.Array, jax.Array]]
    updates: Updates = Updates()


class Source(Protocol):
    """Batches by step: resuming is arithmetic."""

    def __len__(self) -> int:
        """Batches of a finite source (validation); endless sources do not have it."""
        ...

    def batch(self, step: int, rows: slice | None = None) -> dict[str, np.ndarray]:
        """The batch of a step: all global rows, or one host's slice of them."""
        ...

    def iterator(self, start_step: int, rows: slice | None = None) -> Iterator[dict[str, np.ndarray]]:
        """batch(start_step), batch(start_step + 1), ... read ahead of their use."""
        ...

    def identity(self, step: int) -> list[str]:
        """Names of the examples of a step, for messages and for tests."""
        ...


class TrainStream(Source, Protocol):
    """Endless examples in one order, whatever the batch size.

    A batch is a pure function of recipe, seed and the count of examples read before it.
    """

    def epochs(self, step: int) -> dict[str, int]:
        """Source of examples -> how often all of them have been read when the batch of `step` is done.

        {} where none comes twice.
        """
        ...


class RunContext(NamedTuple):
    """How this run carries a loss out, from its layout: nothing that changes what is computed, but `phase`.

    Attributes:
      placement: the placement points of the mesh.
      remat: "none", "dots", "full" or "offload".
      dtype: dtype of activations and products.
      kernel: "plain" attention, or "flash" where the backend has a kernel.
      streams: parts of a (micro)batch that a layer works on side by side.
      phase: what `Workload.phase` says of this step.
    """

    placement: Placement
    remat: Remat = "none"
    dtype: Any = jnp.float32
    kernel: Literal["plain", "flash"] = "plain"
    streams: int = 1
    phase: int = 0


class Microbatch(NamedTuple):
    """Some examples of a batch on their way through a pipeline: their arrays, and one PRNG key each."""

    batch: Batch
    keys: jax.Array | None


class Workload(ABC):
    """A model family under training.

    Its loss calls the placement points of `run` wherever a tensor changes where it lives: that is all that a
    layout can rely on. With partitioning "manual" the arrays that it sees are one device's parts.

    A class may also have `shape()`, the model in numbers (`pangu_jax.workloads.shape.Shape`): then layouts
    can be planned for it. And `recipe_dimensions(recipe, reference)`, a static method that reads `dimensions`
    from a recipe, so that `pangu config check` finds a misfit before anything is made.

    Attributes:
      name: of the family.
      loss_unit: of the loss and its parts, such as "nats per token"; "" where it has none.
      throughput_unit: what `tokens_per_step` counts: "tokens", "pixels", "cells".
    """

    name: str
    loss_unit: str = ""
    throughput_unit: str = "tokens"

    @abstractmethod
    def init(self, key: jax.Array) -> Variables:
        """Fresh parameters, fp32, as a nested dict, and extra state; jitted by the trainer."""

    @abstractmethod
    def logical_axes(self) -> Variables:
        """For each array a tuple with the logical axis of each dimension, in the structure of `init`."""

    @abstractmethod
    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide (heads, mlp, vocab, embed)."""

    @abstractmethod
    def loss(self, variables: Variables, batch: Batch, keys: jax.Array | None, run: RunContext) -> Sums:
        """Loss and metrics of a batch, or of a part of it; `keys` [examples] are for what is random.

        Differentiated with respect to `variables.params`.
        """

    @abstractmethod
    def batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """A batch's arrays without their contents, to compile for devices that are not there."""

    @abstractmethod
    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """Endless batches of `batch_size` global examples.

        Batch `step` begins at example step * batch_size + shift of the stream. `shift` is not 0 where a run
        was resumed with another batch size, and may be negative; no step is asked for that begins before 0.
        """

    @abstractmethod
    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """A finite source for each held-out task; may be empty."""

    @abstractmethod
    def flops_per_step(self, batch_size: int) -> float:
        """Model FLOPs of a step, forward and backward, without recomputation."""

    @abstractmethod
    def tokens_per_step(self, batch_size: int) -> int:
        """What throughput counts: positions of all windows of a batch (or pixels, cells, ...)."""

    @classmethod
    def from_run(cls, recipe: Recipe, reference: Reference, directory: Path) -> "Workload":
        """The workload of a finished run, from `@reference()` of its recipe and its directory.

        Made whole; what a family overrides whose data need not be there for its models to be used.
        """
        del directory
        return make(recipe, reference)

    @classmethod
    def with_data(cls, recipe: Recipe, reference: Reference, directory: Path) -> "Workload":
        """The same with its data, to be measured again; made whole, as `from_run`."""
        del directory
        return make(recipe, reference)

    def after_step(self, variables: Variables, updates: Updates) -> Tree:
        """The next `extra`, from the updated parameters and what the step's losses handed up; jitted.

        Called once per optimizer step, whatever the number of microbatches, devices and pipeline stages. The
        trainer stops at numbers that are not finite: a checkpoint holds none.
        """
        del updates
        return variables.extra

    def evaluated(self, variables: Variables) -> Variables:
        """What evaluation reads: an averaged teacher in place of the parameters, say."""
        return variables

    def given(self) -> Tree:
        """What `start` makes variables of and no key gives: shapes and dtypes of a base's parameters, say."""
        return {}

    def given_axes(self) -> Tree:
        """Logical axes of `given`, in its structure."""
        return {}

    def restore_given(self, shardings: Tree) -> Tree:
        """The arrays of `given`, where they are to be; nobody changes them."""
        del shardings
        return {}

    def start(self, key: jax.Array, given: Tree) -> Variables:
        """The variables before the first step; what a workload overrides that starts from a base. Jitted."""
        del given
        return self.init(key)

    def phase(self, step: int) -> int:
        """Which program a step (from 0) takes, as `run.phase`: each value is compiled once, so there are few.

        For what must be known when a step is compiled: where a backward pass ends, how many steps a forecast
        is rolled out.
        """
        del step
        return 0

    def batch_axes(self) -> Mapping[str, tuple[str | None, ...]]:
        """Logical axes of a batch's arrays; those left out are split over examples, their first dimension."""
        return {}

    def fingerprint(self) -> dict[str, str]:
        """What a checkpoint of this workload depends on besides shapes, such as the vocabulary's hash."""
        return {}

    def order(self) -> dict[str, str]:
        """What decides the training stream besides its seed, in words: its text by its hash, its weights, ...

        A checkpoint keeps it. Where a run is resumed and it has changed, that is said, with what follows.
        """
        return {}

    def manifest(self) -> dict[str, Any]:
        """What else a checkpoint says of itself, as JSON can hold it: how to make a model of its arrays."""
        return {}

    def files(self) -> dict[str, bytes]:
        """Name -> content of what a run keeps beside its checkpoints, so that it can be used without data."""
        return {}

    def notices(self) -> Sequence[str]:
        """What a person must be told of the data, a line each, such as how much of it was left out."""
        return ()

    def exhibits(self, variables: Variables, run: RunContext) -> Sequence[Exhibit]:
        """What a finished run shows in its report: texts, pictures and tables.

        What needs decoding, or anything else above the workloads, is in `pangu_jax.apps.families`.

        Args:
          variables: as `evaluated` gives them, on the mesh; one process has all of them.
          run: how the loss was carried out.
        """
        del variables, run
        return ()

    def baselines(self) -> dict[str, dict[str, float]]:
        """Held-out task -> name -> loss of predictors that are no model, such as n-grams."""
        return {}


class PipelinedWorkload(Workload):
    """A family that can also run as pipeline stages."""

    @abstractmethod
    def program(self, run: RunContext, extra: Tree, constants: Tree) -> Any:
        """Its towers of equal layers and what is around them: a `pangu_jax.parallel.stage.Program`.

        The parameters of each tower are the subtree of its name, stacked along a first axis `layers`. `extra`
        and `constants` are whole over the stages.
        """
