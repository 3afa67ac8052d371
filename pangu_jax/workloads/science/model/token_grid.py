"""Tokens of a field on their grid: padding, windows of levels x latitudes x longitudes, rolls and what a roll
must not bring together.

A state's tokens are one row, longitude by longitude, level by level in it, latitude by latitude in that: so a
device that has a run of the row has whole meridians, and a window, which is short in all three, crosses few
devices. Where no state is split, they can also be level by level, latitude by latitude, and longitude by
longitude last, as a TPU's kernel has them. Everything about shapes is known when a step is compiled.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class TokenGrid:
    """Tokens of one state, and the windows in which they look at each other.

    Args:
      levels: of tokens, the surface among them (Z).
      latitudes: of tokens (H).
      longitudes: of tokens (W).
      window: levels, latitudes and longitudes of a window.
      periodic: whether the last longitude is beside the first.
      centred: whether what a window lacks is added on both sides, half and half; else at the end, as in
        Pangu-Weather.
      by_level: whether a state's tokens are one row level by level, and longitude by longitude last.
    """

    levels: int
    latitudes: int
    longitudes: int
    window: tuple[int, int, int]
    periodic: bool = True
    centred: bool = False
    by_level: bool = False

    @property
    def tokens(self) -> int:
        """Of a state (T)."""
        return self.levels * self.latitudes * self.longitudes

    @property
    def padded(self) -> tuple[int, int, int]:
        """Levels, latitudes and longitudes in whole windows."""
        z, h, w = self.window
        return -(-self.levels // z) * z, -(-self.latitudes // h) * h, -(-self.longitudes // w) * w

    @property
    def counts(self) -> tuple[int, int, int]:
        """Windows along levels, latitudes and longitudes."""
        levels, latitudes, longitudes = (
            size // side for size, side in zip(self.padded, self.window, strict=True)
        )
        return levels, latitudes, longitudes

    @property
    def kinds(self) -> int:
        """Windows that are apart in level or latitude (G): each has a bias of its own."""
        return self.counts[0] * self.counts[1]

    @property
    def in_window(self) -> int:
        """Tokens of a window (N): by level, latitude and longitude."""
        return math.prod(self.window)

    def placed(self, x_BxTxD: jax.Array) -> jax.Array:
        """Tokens on their grid, [B, W, Z, Y, D]."""
        width = x_BxTxD.shape[-1]
        if self.by_level:
            x = x_BxTxD.reshape(-1, self.levels, self.latitudes, self.longitudes, width)
            return x.transpose(0, 3, 1, 2, 4)
        return x_BxTxD.reshape(-1, self.longitudes, self.levels, self.latitudes, width)

    def in_a_row(self, x_BxWxZxYxD: jax.Array) -> jax.Array:
        """The inverse of `placed`, [B, T, D]."""
        x = x_BxWxZxYxD.transpose(0, 2, 3, 1, 4) if self.by_level else x_BxWxZxYxD
        return x.reshape(x.shape[0], self.tokens, x.shape[-1])

    def filled(self, x_BxTxD: jax.Array) -> jax.Array:
        """Tokens on their grid, by longitude, level and latitude, in whole windows: [B, W, Z, Y, D]. What is
        added is 0."""
        x = x_BxTxD.reshape(-1, self.longitudes, self.levels, self.latitudes, x_BxTxD.shape[-1])
        before, after = self.lacking()
        if not any(before + after):
            return x
        return jnp.pad(x, [(0, 0), *((before[i], after[i]) for i in (2, 0, 1)), (0, 0)])

    def cropped(self, x_BxWxZxYxD: jax.Array) -> jax.Array:
        """The inverse of `filled`, [B, T, D]."""
        z, h, w = self.lacking()[0]
        x = x_BxWxZxYxD[:, w : w + self.longitudes, z : z + self.levels, h : h + self.latitudes]
        return x.reshape(-1, self.tokens, x.shape[-1])

    def windows(self, x_BxWxZxYxD: jax.Array, roll: bool) -> jax.Array:
        """Tokens by window, [B, P, G, N, D]: P windows of longitudes, G of level and latitude.

        Args:
          x_BxWxZxYxD: of `filled`.
          roll: whether windows begin half a window further on.
        """
        x, (levels, latitudes, longitudes), (z, h, w) = x_BxWxZxYxD, self.counts, self.window
        if roll:
            x = jnp.roll(x, (-w // 2, -z // 2, -h // 2), (1, 2, 3))
        x = x.reshape(-1, longitudes, w, levels, z, latitudes, h, x.shape[-1]).transpose(
            0, 1, 3, 5, 4, 6, 2, 7
        )
        return x.reshape(-1, longitudes, self.kinds, self.in_window, x.shape[-1])

    def joined(self, x_BxPxGxNxD: jax.Array, roll: bool) -> jax.Array:
        """The inverse of `windows`, [B, W, Z, Y, D]."""
        x, (levels, latitudes, longitudes), (z, h, w) = x_BxPxGxNxD, self.counts, self.window
        x = x.reshape(-1, longitudes, levels, latitudes, z, h, w, x.shape[-1]).transpose(
            0, 1, 6, 2, 4, 3, 5, 7
        )
        x = x.reshape(-1, longitudes * w, levels * z, latitudes * h, x.shape[-1])
        return jnp.roll(x, (w // 2, z // 2, h // 2), (1, 2, 3)) if roll else x

    def seen(self, roll: bool) -> np.ndarray | None:
        """Which tokens of a window may look at which, bool [P or 1, G, N, N]; None where all may.

        A roll brings the first levels beside the last ones and one pole beside the other: those do not look
        at each other. Longitudes do, but where the field is a part of the globe.
        """
        if not roll:
            return None
        regions = [self._regions(axis) for axis in range(3)]
        if self.periodic:
            regions[2] = np.zeros((1, self.window[2]), int)
        z, h, w = regions  # windows x places in one
        region = 4 * z[None, None, :, :, None, None] + 2 * h[None, None, None, None] + 0
        region = region + w[:, :, None, None, None, None]  # [P, w, levels, z, latitudes, h]
        region = region.transpose(0, 2, 4, 3, 5, 1).reshape(len(w), self.kinds, self.in_window)
        return region[..., :, None] == region[..., None, :]

    def _regions(self, axis: int) -> np.ndarray:
        """0, and 1 for what a roll brought to the end from the other side; windows x places in one."""
        size, side = self.padded[axis], self.window[axis]
        return (np.arange(size) >= size - side // 2).astype(int).reshape(-1, side)

    def lacking(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of padding: before the first and after the last level, latitude and longitude."""
        sizes = (self.levels, self.latitudes, self.longitudes)
        return added(sizes, self.padded, self.centred)


def added(
    sizes: tuple[int, ...], padded: tuple[int, ...], centred: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What is added before the first and after the last of each: at the end, or half and half."""
    lacking = [whole - size for size, whole in zip(sizes, padded, strict=True)]
    before = tuple(lack // 2 if centred else 0 for lack in lacking)
    return before, tuple(lack - first for lack, first in zip(lacking, before, strict=True))
