"""Tuning as a workload: a base model, of which a method says what learns, on labelled examples of a task."""

import dataclasses
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.apps.language.decoding import trie_forward
from pangu_jax.apps.language.decoding.trie_forward import TrieForward
from pangu_jax.apps.language.tuning import axes, losses
from pangu_jax.apps.language.tuning.base import Base
from pangu_jax.apps.language.tuning.examples import TaskRows
from pangu_jax.apps.language.tuning.freezing import DepthAndSteps, Freezing, FreezingContext, wrap
from pangu_jax.apps.language.tuning.settings import Tuning
from pangu_jax.apps.language.tuning.sources import HeldOutSource, TrainSource
from pangu_jax.models.placement import OneDevice
from pangu_jax.training.optimizers import Optimizer
from pangu_jax.workloads import Batch, RunContext, Source, Sums, TrainStream, Tree, Variables, Workload
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.model.architecture import Architecture
from pangu_jax.workloads.language.shapes import shape_of
from pangu_jax.workloads.shape import Shape


class TunedLanguageModel(Workload):
    """A language model under tuning.

    Its variables: `params` is what learns, and all that has optimizer state. `constants` are "frozen", the
    rest of the base, and for those modes of freezing that ask for them "start", what learnt as it began, and
    "key". `extra` is "chosen", the weights that a mode picked by their Fisher information.

    Args:
      base: the model.
      tuning: what learns, and by which loss.
      rows: the examples.
      steps: of the whole run, in which freezing counts.
      batch_size: examples per step, over all devices.
      about: what a checkpoint's manifest says of it as "tuning".
    """

    name = "language, tuned"

    def __init__(
        self,
        base: Base,
        tuning: Tuning,
        rows: TaskRows,
        steps: int,
        batch_size: int,
        about: Mapping[str, Any] | None = None,
    ):
        self.base, self.tuning, self.rows = base, tuning, rows
        self.steps, self.batch_size, self.about = steps, batch_size, about
        of_choice = tuning.method.pool is not None or tuning.objective.kind == "choice"
        self.loss_unit = "nats per example" if of_choice else "nats per token"

    @property
    def config(self) -> Architecture:
        """The base's."""
        return self.base.config

    @property
    def extent(self) -> DepthAndSteps:
        """What freezing counts in; a classifier on the encoder leaves the decoder out."""
        config = self.config
        decoder = config.decoder_layers - config.query_layer  # a query layer is above the last norm
        decoder = 0 if self.tuning.method.pool == "encoder" else decoder
        return DepthAndSteps(config.encoder_layers, decoder, self.steps)

    def optimizer(self, optimizer: Optimizer) -> Optimizer:
        """An optimizer, with its updates masked by the mode of freezing."""
        freezing = self.tuning.freezing
        return optimizer if type(freezing) is Freezing else wrap(optimizer, freezing, self.extent)

    def given(self) -> Tree:
        """The base's parameters; and where a mode picks weights by their Fisher information, all examples."""
        batches = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), self._fisher_batches)
        return {"base": self.base.shapes, "batches": batches}

    def given_axes(self) -> Tree:
        """Logical axes of `given`; every device has all examples."""
        whole = jax.tree.map(lambda x: (None,) * x.ndim, self._fisher_batches)
        return {"base": axes.of(self.config, self.base.shapes), "batches": whole}

    def restore_given(self, shardings: Tree) -> Tree:
        """The arrays of `given`."""
        return {
            "base": self.base.restore(shardings["base"]),
            "batches": jax.device_put(self._fisher_batches, shardings["batches"]),
        }

    def init(self, key: jax.Array) -> Variables:
        """As `start`, from a base that has learnt nothing."""
        base = architecture.init(self.config, key)
        return self.start(key, {"base": base, "batches": self._fisher_batches})

    def start(self, key: jax.Array, given: Tree) -> Variables:
        """What the method makes of the base; its draws and those of freezing are those of version 0.1."""
        method, freezing = self.tuning.method, self.tuning.freezing
        fresh, masks, _ = jax.random.split(key, 3)
        params, frozen = method.prepare(self.config, given["base"], fresh, self.rows.classes)
        constants: dict[str, Any] = {"frozen": frozen}
        extra: dict[str, Any] = {}
        if freezing.needs_key:
            constants["key"] = masks
        if freezing.needs_start:
            constants["start"] = params
        if freezing.needs_fisher:
            extra["chosen"] = freezing.choose(self._fisher(params, frozen, given["batches"]))
        return Variables(params, extra, constants)

    def logical_axes(self) -> Variables:
        """The model's own; what a method adds by name."""
        params, extra, constants = jax.eval_shape(self.start, jax.random.key(0), self.given())
        of = partial(axes.of, self.config)
        keys = {"key": ()} if "key" in constants else {}
        trees = {name: of(tree) for name, tree in constants.items() if name != "key"}
        return Variables(of(params), {name: of(tree) for name, tree in extra.items()}, trees | keys)

    def dimensions(self) -> dict[str, int]:
        """What a layout must divide."""
        return self.config.dimensions()

    def loss(self, variables: Variables, batch: Batch, keys: jax.Array | None, run: RunContext) -> Sums:
        """The objective over a batch; without `keys` nothing is dropped, perturbed or smoothed."""
        tuning, config = self.tuning, self.config
        if keys is None:
            params = tuning.method.merge(config, variables.params, variables.constants["frozen"])
            found = trie_forward.scores(_forward(config, run), params, batch, tuning.method.pool)
            return losses.sums(found, batch, tuning.objective)
        context, step = FreezingContext.of(self.extent, variables), batch["step"][0]
        trainable = tuning.freezing.perturbed(variables.params, step, context)
        params = tuning.method.merge(config, trainable, variables.constants["frozen"])
        params = tuning.freezing.drop_layers(params, step, context)
        regularisation = tuning.regularisation
        if regularisation.r_drop:  # next to each other, so that both are on the device that has the example
            batch = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0), dict(batch))
            keys = jax.vmap(partial(jax.random.split, num=2))(keys).reshape(-1)
        config = dataclasses.replace(config, dropout=regularisation.dropout)
        found = trie_forward.scores(
            _forward(config, run),
            params,
            batch,
            tuning.method.pool,
            keys if regularisation.dropout else None,
            run.phase,
        )
        return losses.sums(found, batch, tuning.objective, regularisation)

    def phase(self, step: int) -> int:
        """The height below which nothing is differentiated (see `Freezing.lowest`)."""
        if self.tuning.method.from_below:
            return 0
        return min(self.tuning.freezing.lowest(step, self.extent), self.extent.top)

    def batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Rows of the task's shape."""
        batch = self.train_source(batch_size, 0).batch(0)
        return {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in batch.items()}

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """The examples to learn, over and over."""
        return TrainSource(self.rows.train, batch_size, seed, self.rows.names[0], shift)

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """The dev split, where there is one."""
        if self.rows.dev is None:
            return {}
        name = self.rows.names[1]
        return {name: HeldOutSource(self.rows.dev, batch_size, name)}

    def order(self) -> dict[str, str]:
        """A hash of the examples to learn."""
        return {"examples": f"sha256 {self.rows.train.digest()[:12]}"}

    def fingerprint(self) -> dict[str, str]:
        """The base's."""
        return self.base.fingerprint

    def files(self) -> dict[str, bytes]:
        """The base's."""
        return self.base.files

    def manifest(self) -> dict[str, Any]:
        """How it was tuned, by which `pangu_jax.apps.language.tuning.stored` makes a model of it again."""
        return {} if self.about is None else {"tuning": dict(self.about)}

    def tokens_per_step(self, batch_size: int) -> int:
        """Positions of encoder and decoder, padding included."""
        return batch_size * sum(self._lengths)

    def flops_per_step(self, batch_size: int) -> float:
        """As if all weights learnt; where the base stays, the products that would give its gradients are left
        out."""
        whole = self.shape().flops(batch_size)
        return whole if "embedding" in self._trainable else whole * 2 / 3

    def shape(self) -> Shape:
        """The base in numbers, for rows of this shape; a classifier on the encoder leaves the decoder out."""
        shape = shape_of(self.config, *self._lengths)
        return Shape(shape.towers[:1], shape.ends[:1]) if self.tuning.method.pool == "encoder" else shape

    @property
    def _lengths(self) -> tuple[int, int]:
        train = self.rows.train
        return train.inputs_NxS.shape[1], train.width()

    @cached_property
    def _trainable(self) -> Tree:
        return jax.eval_shape(self.start, jax.random.key(0), self.given()).params

    @cached_property
    def _fisher_batches(self) -> dict[str, np.ndarray]:
        """All examples as batches [batches, batch size, ...], the last filled up; none where no mode asks."""
        if not self.tuning.freezing.needs_fisher:
            return {}
        rows, size = self.rows.train, self.batch_size
        count = len(rows.answer_N)
        numbers = np.resize(np.arange(count), -(-count // size) * size)
        batch = rows.batch(numbers) | {"counted": np.ones(len(numbers), np.float32)}
        return {name: x.reshape(-1, size, *x.shape[1:]) for name, x in batch.items()}

    def _fisher(self, params: Tree, frozen: Tree, batches: dict[str, jax.Array]) -> Tree:
        """Squared gradients of the plain loss, added up over batches."""
        forward = _forward(self.config, RunContext(OneDevice()))

        def loss(params: Tree, batch: Batch) -> jax.Array:
            complete = self.tuning.method.merge(self.config, params, frozen)
            found = trie_forward.scores(forward, complete, batch, self.tuning.method.pool)
            sums = losses.sums(found, batch, self.tuning.objective)
            return sums.loss / sums.weight

        def add(total: Tree, batch: Batch) -> tuple[Tree, None]:
            return jax.tree.map(lambda t, g: t + jnp.square(g), total, jax.grad(loss)(params, batch)), None

        return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), batches)[0]


def _forward(config: Architecture, run: RunContext) -> TrieForward:
    return TrieForward(config, run.placement, run.remat, run.dtype, run.kernel)
