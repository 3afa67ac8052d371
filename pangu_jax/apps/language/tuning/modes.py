"""The modes of dynamic freezing."""

import math
import zlib
from dataclasses import dataclass
from typing import Any

import gin
import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.apps.language.tuning.freezing import (
    DepthAndSteps,
    Freezing,
    FreezingContext,
    Path,
    look_up,
    over_layers,
    path_names,
)
from pangu_jax.errors import UserError
from pangu_jax.models.parameters import Tree

RESIDUAL_OUTPUTS = ("out", "down")  # what a block adds to the residual stream; without it there is no block


def _require_share(name: str, value: float, most: float = 1.0) -> None:
    if not 0.0 < value <= most:
        raise UserError(f"{name} = {value}: give a share above 0 and at most {most:g}")


def _at_rank(tree: Tree, rank: int) -> jax.Array:
    """The value number `rank`, from 1 for the largest, of all numbers of a tree, none of them negative.

    By bisection over the bits of fp32, which are in the order of the numbers: 31 counts, each of them sharded
    as the tree is, and nothing is gathered or sorted.
    """

    def tighten(bit: jax.Array, least: jax.Array) -> jax.Array:
        higher = least | (jnp.int32(1) << (30 - bit))
        value = jax.lax.bitcast_convert_type(higher, jnp.float32)
        count = sum(jnp.sum(leaf >= value).astype(jnp.float32) for leaf in jax.tree.leaves(tree))
        return jnp.where(count >= rank, higher, least)

    bits = jax.lax.fori_loop(0, 31, tighten, jnp.int32(0))
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


@gin.configurable
@dataclass(frozen=True)
class GradualUnfreezing(Freezing):
    """Top first: every so many steps one more layer moves (ULMFiT; Howard & Ruder, arXiv 1801.06146).

    Args:
      until: share of the run after which all layers move.
      cut: end the backward pass at the lowest layer that moves. It saves time in a long run, and costs a
        compilation for each layer.
    """

    until: float = 0.5
    cut: bool = False

    def __post_init__(self):
        _require_share("GradualUnfreezing.until", self.until)

    def _lowest(self, step: Any, extent: DepthAndSteps) -> Any:
        return extent.top - step // max(1, math.ceil(self.until * extent.steps / extent.top))

    def lowest(self, step: int, extent: DepthAndSteps) -> int:
        return max(self._lowest(step, extent), 0) if self.cut else 0

    def freeze_mask(self, step: jax.Array, path: Path, gradient: jax.Array, context: FreezingContext) -> Any:
        height = over_layers(context.extent.height(path), gradient)
        return (height >= self._lowest(step, context.extent)).astype(gradient.dtype)


@gin.configurable
@dataclass(frozen=True)
class FreezeOut(Freezing):
    """Each layer's learning rate falls to zero by a cosine, the lowest layer's first; then the layer is out
    of the backward pass (Brock et al., arXiv 1706.04983).

    Args:
      first: share of the run after which the embeddings are out; layers above follow evenly, the top last.
      scaled: a layer that has less time starts with a larger rate, so that all travel as far.
    """

    first: float = 0.5
    scaled: bool = False

    def __post_init__(self):
        _require_share("FreezeOut.first", self.first)

    def _end(self, height: Any, extent: DepthAndSteps) -> Any:
        """The step at which a height is out."""
        return extent.steps * (self.first + (1 - self.first) * height / extent.top)

    def _steps(self, height: Any, extent: DepthAndSteps) -> Any:
        """The steps in which a height moves, from the first. Whole: a step takes its end as float32, and the
        program that it runs is chosen by float64."""
        return np.ceil(self._end(height, extent))

    def lowest(self, step: int, extent: DepthAndSteps) -> int:
        return int(sum(self._steps(height, extent) <= step for height in range(extent.top)))

    def freeze_mask(self, step: jax.Array, path: Path, gradient: jax.Array, context: FreezingContext) -> Any:
        steps = over_layers(self._steps(context.extent.height(path), context.extent), gradient)
        return (step < steps).astype(gradient.dtype)

    def rate(self, step: jax.Array, path: Path, context: FreezingContext) -> Any:
        end = self._end(context.extent.height(path), context.extent)
        cosine = 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(step / end, 1.0)))
        return cosine * context.extent.steps / end if self.scaled else cosine


@gin.configurable
@dataclass(frozen=True)
class ChildTuningF(Freezing):
    """At each step a random share of all weights moves (Xu et al., arXiv 2109.05687).

    The paper divides gradients by the share, which Adam cancels; updates are not divided.

    Args:
      share: of the weights; the paper has .2 to .4.
    """

    share: float = 0.3

    needs_key = True

    def __post_init__(self):
        _require_share("ChildTuningF.share", self.share)

    def freeze_mask(self, step: jax.Array, path: Path, gradient: jax.Array, context: FreezingContext) -> Any:
        key = jax.random.fold_in(context.key_of(step), zlib.crc32("/".join(path).encode()))
        return jax.random.bernoulli(key, self.share, gradient.shape).astype(gradient.dtype)


@gin.configurable
@dataclass(frozen=True)
class ChildTuningD(Freezing):
    """The share of weights with the largest Fisher information moves, the same all along (arXiv 2109.05687).

    Fisher information is estimated by the squared gradients of the training batches before the first step.

    Args:
      share: of the weights; the paper has .1 to .3.
    """

    share: float = 0.2

    needs_fisher = True

    def __post_init__(self):
        _require_share("ChildTuningD.share", self.share)

    def choose(self, fisher: Tree) -> Tree:
        least = _at_rank(
            fisher, max(1, round(self.share * sum(leaf.size for leaf in jax.tree.leaves(fisher))))
        )
        return jax.tree.map(lambda leaf: leaf >= least, fisher)

    def freeze_mask(self, step: jax.Array, path: Path, gradient: jax.Array, context: FreezingContext) -> Any:
        assert context.chosen is not None
        return look_up(context.chosen, path).astype(gradient.dtype)


@gin.configurable
@dataclass(frozen=True)
class Mixout(Freezing):
    """The loss sees each weight, by chance, as it was before training (Lee et al., arXiv 1909.11299).

    What it sees is scaled so that its mean is the weight; a weight that was put back has no gradient.

    Args:
      share: of the weights put back at each step.
    """

    share: float = 0.3

    needs_key = True
    needs_start = True

    def __post_init__(self):
        _require_share("Mixout.share", self.share, most=0.99)

    def perturbed(self, trainable: Tree, step: jax.Array, context: FreezingContext) -> Tree:
        key = context.key_of(step)

        def mixed(path, weight: jax.Array, start: jax.Array) -> jax.Array:
            own = jax.random.fold_in(key, zlib.crc32("/".join(path_names(path)).encode()))
            back = jax.random.bernoulli(own, self.share, weight.shape)
            return start + jnp.where(back, 0.0, weight - start) / (1 - self.share)

        return jax.tree_util.tree_map_with_path(mixed, trainable, context.start)


@gin.configurable
@dataclass(frozen=True)
class RecAdam(Freezing):
    """First the weights are held where they were, then the task takes over (Chen et al., arXiv 2004.12651).

    An update is l * update - (1 - l) * rate * strength * (weight - start), where l rises from 0 to 1 by a
    sigmoid: the quadratic penalty is outside of Adam's moments, as in the paper's algorithm.

    Args:
      strength: of the penalty.
      middle: share of the run at which l is one half.
      steepness: of the sigmoid, for the whole run: l = sigmoid(steepness * (step / steps - middle)).
    """

    strength: float = 10.0
    middle: float = 0.25
    steepness: float = 30.0

    needs_start = True

    def pull(
        self,
        update: jax.Array,
        weight: jax.Array,
        start: jax.Array,
        step: jax.Array,
        rate: Any,
        context: FreezingContext,
    ) -> jax.Array:
        task = jax.nn.sigmoid(self.steepness * (step / context.extent.steps - self.middle))
        return task * update - (1 - task) * rate * self.strength * (weight - start)


@gin.configurable
@dataclass(frozen=True)
class LayerDrop(Freezing):
    """At each step some layers are left out, and do not move (Fan et al., arXiv 1909.11556).

    Left out is what the layer adds to the residual stream.

    Args:
      share: of the layers.
    """

    share: float = 0.2

    needs_key = True

    def __post_init__(self):
        _require_share("LayerDrop.share", self.share, most=0.99)

    def _kept(self, step: jax.Array, path: Path, context: FreezingContext) -> Any:
        """1 for layers that stay in, one per layer; 1.0 off the towers."""
        height = context.extent.height(path)
        if not isinstance(height, np.ndarray):
            return 1.0
        key = context.key_of(step)
        kept_T = jax.random.bernoulli(key, 1 - self.share, (context.extent.top + 1,))
        return kept_T[height].astype(jnp.float32)

    def drop_layers(self, params: Tree, step: jax.Array, context: FreezingContext) -> Tree:
        def without(path, weight: jax.Array) -> jax.Array:
            names = path_names(path)
            if names[-1] not in RESIDUAL_OUTPUTS:
                return weight
            return weight * over_layers(self._kept(step, names, context), weight)

        return jax.tree_util.tree_map_with_path(without, params)

    def freeze_mask(self, step: jax.Array, path: Path, gradient: jax.Array, context: FreezingContext) -> Any:
        return over_layers(self._kept(step, path, context), gradient)
