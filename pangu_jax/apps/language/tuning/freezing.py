"""Dynamic freezing: which weights move at a step, as one interface, and its place around an optimizer.

A mode's `freeze_mask(step, path, gradient)` is 0 where a weight stays and 1 where it moves. It is applied to
the optimizer's *updates*: Adam divides gradients by their size, so a mask on gradients would leave moments,
weight decay and hence movement behind. Layers are stacked, so a mask has an axis of layers where the weight
has. The announced "dynamic freezing" has no public description; the modes are published ones.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pangu_jax.models.parameters import Tree
from pangu_jax.training.optimizers import Optimizer
from pangu_jax.workloads import Variables

Path = tuple[str, ...]  # names from the root to a weight, such as ("encoder", "attention", "qkv")


class DepthAndSteps(NamedTuple):
    """What freezing counts in: layers of both towers, one above the other, and steps of the run.

    Heights: 0 the embeddings, 1.. the encoder's layers, then the decoder's, and `top` for whatever is new or
    beside the words: a classifier, a soft prompt, the last norm.
    """

    encoder: int
    decoder: int
    steps: int

    @property
    def top(self) -> int:
        return self.encoder + self.decoder + 1

    def height(self, path: Path) -> int | np.ndarray:
        """Of the weight at a path; int [layers] where layers are stacked."""
        fixed = {
            "embedding": 0,
            "positions": 0,
            "encoder_bias": 1,
            "encoder_norm": self.encoder,
            "decoder_bias": self.encoder + 1,
        }
        if path[0] == "encoder":
            return 1 + np.arange(self.encoder)
        if path[0] == "decoder":
            return 1 + self.encoder + np.arange(self.decoder)
        return fixed.get(path[0], self.top)


class FreezingContext(NamedTuple):
    """What a mode may look at besides the step.

    Attributes:
      extent: layers and steps.
      key: PRNG key of the run; None for a mode that draws nothing.
      start: the trainable tree before the first step; None for a mode that does not ask for it.
      chosen: bool tree of the weights that a mode chose before the first step, or None.
    """

    extent: DepthAndSteps
    key: jax.Array | None = None
    start: Tree | None = None
    chosen: Tree | None = None

    def key_of(self, step: Any) -> jax.Array:
        """PRNG key of a step, for a mode that asked for one."""
        assert self.key is not None
        return jax.random.fold_in(self.key, step)

    @classmethod
    def of(cls, extent: DepthAndSteps, variables: Variables) -> "FreezingContext":
        """What the variables of a `TunedLanguageModel` hold for the mode."""
        constants = variables.constants
        return cls(extent, constants.get("key"), constants.get("start"), variables.extra.get("chosen"))


@dataclass(frozen=True)
class Freezing:
    """A mode; whatever it does not override leaves training as it is, so this one freezes nothing.

    `needs_key` and `needs_start` ask for `FreezingContext.key` and `.start`; `choose` is handed the squared
    gradients where `needs_fisher`.
    """

    needs_key = False
    needs_start = False
    needs_fisher = False

    def freeze_mask(self, step: jax.Array, path: Path, gradient: jax.Array, context: FreezingContext) -> Any:
        """0 where the weight stays at this step (from 0), 1 where it moves; broadcasts to the gradient."""
        del step, path, gradient, context
        return 1.0

    def rate(self, step: jax.Array, path: Path, context: FreezingContext) -> Any:
        """Factor on the learning rate of what moves; one, or one per layer."""
        del step, path, context
        return 1.0

    def pull(
        self,
        update: jax.Array,
        weight: jax.Array,
        start: jax.Array,
        step: jax.Array,
        rate: Any,
        context: FreezingContext,
    ) -> jax.Array:
        """The update with a pull towards the weight before training; asked where `needs_start`."""
        del weight, start, step, rate, context
        return update

    def perturbed(self, trainable: Tree, step: jax.Array, context: FreezingContext) -> Tree:
        """What learns, as the loss of this step sees it."""
        del step, context
        return trainable

    def drop_layers(self, params: Tree, step: jax.Array, context: FreezingContext) -> Tree:
        """The complete parameters, as the loss of this step sees them."""
        del step, context
        return params

    def lowest(self, step: int, extent: DepthAndSteps) -> int:
        """The height below which nothing moves from this step on, or until it is asked again: the backward
        pass ends there. A program is compiled for each value."""
        del step, extent
        return 0

    def choose(self, fisher: Tree) -> Tree:
        """The weights that may move at all, from the squared gradients before the first step; jitted."""
        return jax.tree.map(lambda leaf: jnp.ones(leaf.shape, bool), fisher)


def wrap(optimizer: Optimizer, freezing: Freezing, extent: DepthAndSteps) -> Optimizer:
    """The optimizer, with its updates masked by a freezing mode.

    Its state is the optimizer's own: the step comes from the trainer, and what the mode knows is in the
    variables (see `FreezingContext.of`).
    """
    inner = optax.with_extra_args_support(optimizer.transformation)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        gradients = updates
        updates, state = inner.update(gradients, state, params, **extra)
        step, context = extra["step"], FreezingContext.of(extent, extra["variables"])
        if freezing.needs_start:
            rate = optimizer.schedule(step)
            updates = jax.tree.map(
                lambda u, w, start: freezing.pull(u, w, start, step, rate, context),
                updates,
                params,
                context.start,
            )

        def masked(path, update: jax.Array, gradient: jax.Array) -> jax.Array:
            names = path_names(path)
            mask = freezing.freeze_mask(step, names, gradient, context)
            return update * mask * over_layers(freezing.rate(step, names, context), update)

        return jax.tree_util.tree_map_with_path(masked, updates, gradients), state

    transformation = optax.GradientTransformationExtraArgs(inner.init, update)
    return replace(optimizer, transformation=transformation)


def path_names(path: tuple) -> Path:
    """Names of a path of jax.tree_util."""
    return tuple(str(entry.key) for entry in path)


def over_layers(values: Any, like: jax.Array) -> jax.Array:
    """A value, or one per layer, as an array that broadcasts to a weight."""
    values = jnp.asarray(values)
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim)) if values.ndim else values


def look_up(tree: Tree, path: Path) -> Any:
    """The entry of a nested dict at a path."""
    for name in path:
        tree = tree[name]
    return tree
