"""A block: attention in windows and a perceptron, each added to the residual stream."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from pangu_jax.models import native, native_blocks
from pangu_jax.models.activations import gelu
from pangu_jax.models.native_blocks import Linear
from pangu_jax.models.normalization import biased, layer_norm
from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import Placement
from pangu_jax.models.projection import project, project_back
from pangu_jax.workloads.science.model import earth_bias, windows_on_tpu
from pangu_jax.workloads.science.model.token_grid import TokenGrid
from pangu_jax.workloads.science.model.window_attention import window_attention

Branch = Callable[[Mapping[str, Any], jax.Array], jax.Array]

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
            kept = jax.random.bernoulli(key, 1 - self.rate.astype(jnp.float32))
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

    def __call__(self, params: Mapping[str, Any], x_BxTxD: jax.Array, drop: Drop | None) -> jax.Array:
        """The residual stream after the block, by one block's parameters."""
        x_BxTxD = self._added(x_BxTxD, self._attention, params, params["norm"], drop, 0)
        return self._added(x_BxTxD, self._perceptron, params, params["second_norm"], drop, 1)

    def _added(
        self,
        x_BxTxD: jax.Array,
        branch: Branch,
        params: Mapping[str, Any],
        norm: Tree,
        drop: Drop | None,
        half: int,
    ) -> jax.Array:
        y, beside = (x_BxTxD, x_BxTxD) if self.norm == "post" else self._normed(x_BxTxD, norm)
        y = branch(params, y)
        if self.norm == "post":
            y, _ = self._normed(y, norm)
        if drop is not None:
            y = drop(y, half, self.grid.tokens, self.placement)
        return checkpoint_name(beside + y, "residual")

    def _normed(self, x_BxTxD: jax.Array, norm: Tree) -> tuple[jax.Array, jax.Array]:
        """LayerNorm of x, and x as it is."""
        if native.takes(self.placement, x_BxTxD):
            return native_blocks.normed(x_BxTxD, norm, EPSILON)
        return layer_norm(x_BxTxD, norm, EPSILON), x_BxTxD

    def _attention(self, params: Mapping[str, Any], x_BxTxD: jax.Array) -> jax.Array:
        """What each window makes of its tokens. Padding has keys too, of zeros, as published."""
        grid, place = self.grid, self.placement
        qkv, out = (Linear(params[name], params[f"{name}_bias"]) for name in ("qkv", "out"))
        bias_GxHxMxN = earth_bias.spread(params["earth_bias"], grid.window)
        if grid.by_level:
            y_BxTxD = windows_on_tpu.attention(
                place.enter(x_BxTxD),
                params["qkv"],
                params["qkv_bias"],
                params["out"],
                bias_GxHxMxN,
                grid,
                self.roll,
                place,
            )
            return biased(place.leave(y_BxTxD), out.bias)
        x = grid.filled(place.enter(x_BxTxD))
        heads = window_attention(x, qkv, bias_GxHxMxN, grid, self.roll, place)
        if native.takes(place, heads, out.weight):
            return grid.cropped(native_blocks.linear_back(heads, out, None))
        return biased(place.leave(grid.cropped(project_back(heads, out.weight))), out.bias)

    def _perceptron(self, params: Mapping[str, Any], x_BxTxD: jax.Array) -> jax.Array:
        place = self.placement
        up, down = (Linear(params[name], params[f"{name}_bias"]) for name in ("up", "down"))
        if native.takes(place, x_BxTxD, up.weight):
            return native_blocks.perceptron(x_BxTxD, up, down, None, by_tanh=False)
        hidden = checkpoint_name(biased(project(place.enter(x_BxTxD), up.weight), up.bias), "up")
        hidden = place.inside(gelu(hidden), ("batch", "length", "mlp"))
        return biased(place.leave(project_back(hidden, down.weight)), down.bias)
