"""A forward pass of an Earth-specific transformer: patches, four layers of blocks, patches."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from pangu_jax.models import native
from pangu_jax.models.normalization import biased, layer_norm
from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import OneDevice, Placement
from pangu_jax.models.projection import project
from pangu_jax.models.stack import Remat, run_layers
from pangu_jax.workloads.science.model import patches, windows_on_tpu
from pangu_jax.workloads.science.model.earth_blocks import EPSILON, Drop, WindowedBlock
from pangu_jax.workloads.science.model.token_grid import TokenGrid
from pangu_jax.workloads.science.model.window_tiles import WindowTiles


@dataclass(frozen=True)
class EarthForward:
    """A forward pass: the configuration, and how this run places, rematerialises and rounds.

    Attributes:
      config: an `EarthConfig`.
      placement: the placement points.
      remat: what the backward pass finds.
      dtype: of activations and products.
    """

    config: Any
    placement: Placement = OneDevice()  # noqa: RUF009 - stateless
    remat: Remat = "none"
    dtype: DTypeLike = jnp.float32

    def __call__(
        self,
        params: Tree,
        upper_BxLxHxWxU: jax.Array,
        surface_BxHxWxS: jax.Array,
        constants_HxWxK: jax.Array,
        keys_B: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """What the network makes of normalised states: fp32 of the shapes of `upper` and `surface`.

        Args:
          params: of `EarthConfig.init`.
          upper_BxLxHxWxU: on levels, with the height as its last channel where the configuration has one.
          surface_BxHxWxS: on the surface.
          constants_HxWxK: joined to the surface.
          keys_B: of what drop path draws; None where nothing is dropped.
        """
        config = self.config
        x_BxTxD = self._embedded(params["embedding"], upper_BxLxHxWxU, surface_BxHxWxS, constants_HxWxK)
        first = self._layer(params, 0, x_BxTxD, keys_B)
        x = self._down(params["down"], first)
        x = self._layer(params, 1, x, keys_B)
        x = self._layer(params, 2, x, keys_B)
        x = self._up(params["up"], x)
        x = self._layer(params, 3, x, keys_B)
        both = (x, first) if config.skip_last else (first, x)
        joined = jnp.concatenate([self.placement.enter(part) for part in both], -1)
        return self._recovered(params["recovery"], joined)

    def _embedded(
        self, params: Tree, upper: jax.Array, surface: jax.Array, constants: jax.Array
    ) -> jax.Array:
        config = self.config
        own = self._gathered(params, "embedding")
        constants = jnp.broadcast_to(constants, (surface.shape[0], *constants.shape))
        surface = jnp.concatenate([surface, constants.astype(surface.dtype)], -1)
        above = patches.cut(upper.astype(self.dtype), config.patch, config.centred)
        below = patches.cut(surface.astype(self.dtype)[:, None], (1, *config.patch[1:]), config.centred)
        above, below = (
            biased(self._times(x, own[name]), own[f"{name}_bias"])
            for name, x in (("upper", above), ("surface", below))
        )
        x = jnp.concatenate([above, below] if config.surface_last else [below, above], 2)
        return self.placement.begin(self._grids[0].in_a_row(x))

    def _recovered(self, params: Tree, x_BxTxD: jax.Array) -> tuple[jax.Array, jax.Array]:
        config, own = self.config, self._gathered(params, "recovery")
        x = self._grids[0].placed(x_BxTxD)
        at = config.fine.levels - 1 if config.surface_last else 0
        below = x[:, :, at : at + 1]
        above = x[:, :, :-1] if config.surface_last else x[:, :, 1:]
        below, above = self._times(below, own["surface"]), self._times(above, own["upper"])
        if config.patch_bias:
            above, below = above + own["upper_bias"], below + own["surface_bias"]
        upper = patches.joined(above, config.patch, config.sides, config.centred)
        surface = patches.joined(below, (1, *config.patch[1:]), (1, *config.sides[1:]), config.centred)[:, 0]
        upper, surface = upper.astype(jnp.float32), surface.astype(jnp.float32)
        if config.patch_bias:
            return upper, surface
        return upper + params["upper_bias"], surface + params["surface_bias"]

    def _layer(self, params: Tree, layer: int, x_BxTxD: jax.Array, keys_B: jax.Array | None) -> jax.Array:
        """The blocks of a layer, two and two: in their place, and rolled."""
        config, name = self.config, f"layer{layer + 1}"
        rates = np.asarray(config.rates(layer), np.float32).reshape(-1, 2)
        stacked = jax.tree.map(lambda w: w.reshape(len(rates), 2, *w.shape[1:]), params[name])
        logical = jax.tree.map(
            lambda axes: axes[1:], config.axes()[name], is_leaf=lambda axes: isinstance(axes, tuple)
        )
        blocks = [
            WindowedBlock(self._grids[layer], roll, config.norm, self.placement)
            for roll in (False, config.roll)
        ]
        kept = {"weights": stacked, "rates": jnp.asarray(rates)}

        def body(x: jax.Array, pair: Tree, index: jax.Array) -> jax.Array:
            for half, block in enumerate(blocks):
                own = jax.tree.map(lambda w, half=half: w[half].astype(self.dtype), pair["weights"])
                drop = Drop.of(keys_B, pair["rates"][half], 100 * layer + 2 * index + half)
                x = block(self.placement.weights(own, logical), x, drop)
            return x

        return run_layers(body, kept, x_BxTxD, remat=self.remat, unroll=config.unroll)

    def _down(self, params: Tree, x_BxTxD: jax.Array) -> jax.Array:
        """2 x 2 places in one, in the order (row, column, channel), filled up with zeros."""
        config, own = self.config, self._gathered(params, "down")
        x = self._grids[0].placed(self.placement.enter(x_BxTxD))
        x = patches.cut(x.swapaxes(1, 2).swapaxes(2, 3), (1, 2, 2), config.centred)
        x = self._times(layer_norm(x, params["norm"], EPSILON), own["kernel"])
        return self.placement.begin(self._grids[1].in_a_row(x))

    def _up(self, params: Tree, x_BxTxD: jax.Array) -> jax.Array:
        """One place to 2 x 2: what is too much is cut off at the end, as it was added."""
        config, own = self.config, self._gathered(params, "up")
        x = self._times(self._grids[1].placed(self.placement.enter(x_BxTxD)), own["spread"])
        sides = (config.fine.levels, config.fine.latitudes, config.fine.longitudes)
        x = patches.joined(x, (1, 2, 2), sides, False)
        x = self._grids[0].in_a_row(x.swapaxes(2, 3).swapaxes(1, 2))
        return self.placement.begin(self._times(layer_norm(x, params["norm"], EPSILON), own["mix"]))

    def _times(self, x: jax.Array, weight: jax.Array) -> jax.Array:
        """x [..., K] times weight [K, N]."""
        return project(x, weight, native.takes(self.placement, x, weight))

    @functools.cached_property
    def _grids(self) -> tuple[TokenGrid, ...]:
        """Of the four layers: level by level where a TPU's kernel has all windows of a state."""
        config = self.config
        by_level = all(
            windows_on_tpu.takes(
                WindowTiles(config.window, heads, width // heads), grid, self.placement, self.dtype
            )
            for heads, width, grid in zip(config.heads, config.dims, config.grids, strict=False)
        )
        return tuple(dataclasses.replace(grid, by_level=by_level) for grid in config.grids)

    def _gathered(self, params: Tree, name: str, leave: Sequence[str] = ("norm",)) -> Mapping[str, Any]:
        """Parameters outside of blocks, brought to where they are used."""
        own = {key: w.astype(self.dtype) for key, w in params.items() if key not in leave}
        return self.placement.weights(own, {key: self.config.axes()[name][key] for key in own})
