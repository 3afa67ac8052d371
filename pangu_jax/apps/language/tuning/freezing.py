"""Dynamic freezing: which weights move at a step, as one interface, and its place around an optimizer.

A mode's `freeze_mask(step, path, gradient)` is 0 where a weight stays and 1 where it moves. It is applied to
the optimizer's *updates*: Adam divides gradients by their size, so a mask on gradients would leave moments,
weight decay and hence movement behind. Layers are stacked, so a mask has an axis of layers where the weight
has. The announced "dynamic freezing" has no public description; the modes are published ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pangu_jax.models.parameters import Tree

Path = tuple[str, ...]  # names from the root to a weight, such as ("encoder", "attention", "qkv")


class Extent(NamedTuple):
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
            "encoder_bias": 1,
            "encoder_norm": self.encoder,
            "decoder_bias": self.encoder + 1,
        }
        if path[0] == "encoder":
            return 1 + np.arange(self.encoder)
        if path[0] == "decoder":
            return 1 + self.encoder + np.arange(self.decoder)
        return fixed.get(path[0], self.top)


class Known(NamedTuple):
    """What a mode may look at besides the step: it is part of the optimizer's state.

    Attributes:
      extent: layers and steps.
      key: PRNG key of the run.
      start: the trainable tree before the first step; None for a mode that does not ask for it.
      chosen: bool tree of the weights that a mode chose before the first step, or None.
    """

    extent: Extent
    key: jax.Array
    start: Tree | None = None
    chosen: Tree | None = None


@dataclass(frozen=True)
class Freezing:
    """A mode; whatever it does not override leaves training as it is, so this one freezes nothing.

    `needs_start` asks for `Known.start`; `choose` is handed the mean squared gradients where `needs_fisher`.
    """

    needs_start = False
    needs_fisher = False

    def freeze_mask(self, step: jax.Array, path: Path, gradient: jax.Array, known: Known) -> Any:
        """0 where the weight stays at this step (from 0), 1 where it moves; broadcasts to the gradient."""
        del step, path, gradient, known
        return 1.0

    def rate(self, step: jax.Array, path: Path, known: Known) -> Any:
        """Factor on the learning rate of what moves; one, or one a layer."""
        del step, path, known
        return 1.0

    def pull(
        self, update: jax.Array, weight: jax.Array, start: jax.Array, step: jax.Array, rate: Any, known: Known
    ) -> jax.Array:
        """The update with a pull towards the weight before training; asked where `needs_start`."""
        del weight, start, step, rate, known
        return update

    def perturbed(self, trainable: Tree, step: jax.Array, known: Known) -> Tree:
        """What learns, as the loss of this step sees it."""
        del step, known
        return trainable

    def thinned(self, params: Tree, step: jax.Array, known: Known) -> Tree:
        """The complete parameters, as the loss of this step sees them."""
        del step, known
        return params

    def lowest(self, step: int, extent: Extent) -> int:
        """The height below which nothing moves from this step on, or until it is asked again: the backward
        pass ends there. A program is compiled for each value."""
        del step, extent
        return 0

    def choose(self, fisher: Tree) -> Tree | None:
        """The weights that may move at all, from the mean squared gradients before the first step."""
        del fisher
        return None


class FrozenState(NamedTuple):
    """State of the wrapped optimizer: steps done, the optimizer's own, and what the mode knows."""

    step: jax.Array
    inner: Any
    key: jax.Array
    start: Tree | None
    chosen: Tree | None


def wrap(
    transformation: optax.GradientTransformation,
    schedule: Callable[[jax.Array], Any],
    freezing: Freezing,
    extent: Extent,
    key: jax.Array,
    chosen: Tree | None = None,
) -> optax.GradientTransformation:
    """The optimizer, with its updates masked by a freezing mode.

    Args:
      transformation: gradients -> updates.
      schedule: step -> learning rate, for modes that pull.
      freezing: the mode.
      extent: layers and steps.
      key: of random masks; it is kept in the state.
      chosen: what `Freezing.choose` gave.
    """

    def init(params: Tree) -> FrozenState:
        start = jax.tree.map(jnp.copy, params) if freezing.needs_start else None
        return FrozenState(jnp.int32(0), transformation.init(params), key, start, chosen)

    def update(gradients: Tree, state: FrozenState, params: Tree) -> tuple[Tree, FrozenState]:
        updates, inner = transformation.update(gradients, state.inner, params)
        known = Known(extent, state.key, state.start, state.chosen)
        if freezing.needs_start:
            rate = schedule(state.step)
            updates = jax.tree.map(
                lambda u, w, start: freezing.pull(u, w, start, state.step, rate, known),
                updates,
                params,
                state.start,
            )

        def masked(path, update: jax.Array, gradient: jax.Array) -> jax.Array:
            names = path_names(path)
            mask = freezing.freeze_mask(state.step, names, gradient, known)
            return update * mask * over_layers(freezing.rate(state.step, names, known), update)

        updates = jax.tree_util.tree_map_with_path(masked, updates, gradients)
        return updates, state._replace(step=state.step + 1, inner=inner)

    return optax.GradientTransformation(init, update)


def path_names(path: tuple) -> Path:
    """Names of a path of jax.tree_util."""
    return tuple(str(entry.key) for entry in path)


def over_layers(values: Any, like: jax.Array) -> jax.Array:
    """A value, or one a layer, as an array that broadcasts to a weight."""
    values = jnp.asarray(values)
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim)) if values.ndim else values


def look_up(tree: Tree, path: Path) -> Any:
    """The entry of a nested dict at a path."""
    for name in path:
        tree = tree[name]
    return tree
