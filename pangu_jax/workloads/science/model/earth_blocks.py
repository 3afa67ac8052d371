"""A block: attention in windows and a perceptron, each added to the residual stream."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from pangu_jax.models.normalization import biased, layer_norm
from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import Placement
from pangu_jax.models.projection import project, project_back
from pangu_jax.workloads.science.model import earth_bias
from pangu_jax.workloads.science.model.token_grid import TokenGrid
from pangu_jax.workloads.science.model.window_attention import window_attention
from pangu_jax.workloads.vision.model.blocks import gelu

EPSILON = 1e-5  # beside a variance: PyTorch's, with which the released weights were made


class Drop(NamedTuple):
    """What drop path draws in a block.

    Attributes:
      keys_B: one key an example.
      rate: share of examples that an addition is left out of.
      number: of the block.
    """

    keys_B: jax.Array
    rate: jax.Array
    number: jax.Array

    @classmethod
    def of(cls, keys_B: jax.Array | None, rate: jax.Array, number: jax.Array) -> "Drop | None":
        """None where nothing is drawn."""
        return None if keys_B is None else cls(keys_B, rate, number)

    def __call__(self, y_BxTxD: jax.Array, half: int, tokens: int, placement: Placement) -> jax.Array:
        """y, or 0, of an example; the others are scaled up."""

        def share(key: jax.Array) -> jax.Array:
            key = jax.random.fold_in(jax.random.fold_in(key, self.number), half)
            kept = jax.random.bernoulli(key, 1 - self.rate)
            return jnp.broadcast_to((kept / (1 - self.rate)).astype(y_BxTxD.dtype), (tokens, 1))

        return y_BxTxD * placement.draw(share, self.keys_B)


@dataclass(frozen=True)
class WindowedBlock:
    """x + norm(attention(x)), x + norm(perceptron(x)); or with norms before both.

    Attributes:
      grid: where tokens are.
      roll: whether its windows begin half a window further on.
      norm: "post" or "pre".
      placement: the placement points.
    """

    grid: TokenGrid
    roll: bool
    norm: Literal["post", "pre"]
    placement: Placement

    def __call__(self, params: Tree, x_BxTxD: jax.Array, drop: Drop | None) -> jax.Array:
        """The residual stream after the block, by one block's parameters."""
        x_BxTxD = self._added(x_BxTxD, self._attention, params, params["norm"], drop, 0)
        return self._added(x_BxTxD, self._perceptron, params, params["second_norm"], drop, 1)

    def _added(self, x_BxTxD: jax.Array, branch, params: Tree, norm: Tree, drop: Drop | None, half: int) -> jax.Array:
        after = self.norm == "post"
        y = branch(params, x_BxTxD if after else layer_norm(x_BxTxD, norm, EPSILON))
        if after:
            y = layer_norm(y, norm, EPSILON)
        if drop is not None:
            y = drop(y, half, self.grid.tokens, self.placement)
        return checkpoint_name(x_BxTxD + y, "residual")

    def _attention(self, params: Tree, x_BxTxD: jax.Array) -> jax.Array:
        """What each window makes of its tokens. Padding has keys too, of zeros, as in the released weights."""
        grid, place = self.grid, self.placement
        x = grid.windows(place.enter(x_BxTxD), self.roll)
        projected = biased(project(x, params["qkv"]), params["qkv_bias"])
        bias_GxHxNxN = earth_bias.spread(params["earth_bias"], grid.window)
        heads = window_attention(projected, bias_GxHxNxN, grid.seen(self.roll), place)
        y_BxTxD = place.leave(grid.joined(project_back(heads, params["out"]), self.roll))
        return biased(y_BxTxD, params["out_bias"])

    def _perceptron(self, params: Tree, x_BxTxD: jax.Array) -> jax.Array:
        place = self.placement
        hidden = checkpoint_name(biased(project(place.enter(x_BxTxD), params["up"]), params["up_bias"]), "up")
        hidden = place.inside(gelu(hidden), ("batch", "length", "mlp"))
        return biased(place.leave(project_back(hidden, params["down"])), params["down_bias"])
