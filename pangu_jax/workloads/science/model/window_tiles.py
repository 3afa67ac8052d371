"""How windows of a grid lie in the tiles of a TPU's kernel: rows of lanes, heads that share one, queries."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

LANES = 128  # of a row
ROWS = 16  # of a tile of bfloat16
PACKED = 2  # rows of bfloat16 that are one of 32 bits


class Tile(NamedTuple):
    """Some queries of a window.

    Attributes:
      row: which row of lanes the heads share.
      lanes: of it, those that are a head's.
      heads: that share it.
      head: whose first queries these are; None for the last queries of all of them.
    """

    row: int
    lanes: int
    heads: range
    head: int | None


@dataclass(frozen=True)
class WindowTiles:
    """Windows of one shape with all their heads.

    Queries, keys and values lie in rows of 128 lanes: of each group of heads that fills one, a row each.
    Heads that fill half a row have queries and keys side by side, and values in a row that is half empty.

    Attributes:
      window: levels, latitudes and longitudes.
      heads: how many.
      per_head: width of one.
    """

    window: tuple[int, int, int]
    heads: int
    per_head: int

    def fit(self) -> bool:
        """Whether the kernels take such windows, in bfloat16."""
        width = self.heads * self.per_head
        return (
            LANES % self.per_head == 0
            and width % (LANES // 2) == 0
            and self.window[2] % (2 * PACKED) == 0  # half a window is whole words
            and LANES <= self.length < 2 * LANES
            and self.rest % ROWS == 0
            and 0 < self.rest * self.per_row <= LANES
        )

    @property
    def length(self) -> int:
        """Tokens of a window."""
        return math.prod(self.window)

    @property
    def per_row(self) -> int:
        """Heads that share a row of lanes."""
        return LANES // self.per_head

    @property
    def rows(self) -> int:
        """Of heads' results."""
        return -(-self.heads // self.per_row)

    @property
    def projected(self) -> int:
        """Of queries, keys and values."""
        return 3 * (self.heads // self.per_row) + (2 if self.heads % self.per_row else 0)

    @property
    def whole(self) -> int:
        """Queries that fill a row of scores."""
        return self.length // LANES * LANES

    @property
    def rest(self) -> int:
        """Queries that are left."""
        return self.length - self.whole

    def tiles(self) -> list[Tile]:
        """In the order in which they are worked on."""
        found = []
        for row in range(self.rows):
            heads = range(row * self.per_row, min((row + 1) * self.per_row, self.heads))
            found += [Tile(row, len(heads) * self.per_head, heads, head) for head in (None, *heads)]
        return found

    def part(self, at: int, tile: Tile) -> tuple[int, int]:
        """Where a tile's queries (0), keys (1) or values (2) are: the row, and the first of its lanes."""
        if tile.lanes == LANES:
            return 3 * tile.row + at, 0
        return (3 * tile.row, at * tile.lanes) if at < 2 else (3 * tile.row + 1, 0)

    def laid_out(self, x: jax.Array) -> jax.Array:
        """Weights or biases of a projection [..., heads, 3, per head] for the kernel: [..., C, 128]."""
        return jnp.stack(list(self._rows_of(x)), -2)

    def _rows_of(self, x: jax.Array) -> Iterator[jax.Array]:
        leading = x.shape[:-3]
        for row in range(self.rows):
            own = x[..., row * self.per_row : (row + 1) * self.per_row, :, :]
            q, k, v = (own[..., at, :].reshape(*leading, -1) for at in range(3))
            if q.shape[-1] == LANES:
                yield from (q, k, v)
            else:
                yield jnp.concatenate([q, k], -1)
                yield jnp.concatenate([v, jnp.zeros_like(v)], -1)

    def back(self, weight_DxHxK: jax.Array) -> jax.Array:
        """The weight of the results' projection, [rows, 128, D]; zeros for lanes that are no head's."""
        flat_NxD = weight_DxHxK.reshape(weight_DxHxK.shape[0], -1).T
        padded = jnp.pad(flat_NxD, ((0, self.rows * LANES - flat_NxD.shape[0]), (0, 0)))
        return padded.reshape(self.rows, LANES, -1)

    def split(self, bias_GxHxMxN: jax.Array) -> tuple[jax.Array, jax.Array]:
        """A bias as tiles have it: [G, H, M, whole], and [G, rows, M, per_row * rest]."""
        kinds, heads, keys, _ = bias_GxHxMxN.shape
        rest = jnp.pad(
            bias_GxHxMxN[..., self.whole :], ((0, 0), (0, self.rows * self.per_row - heads), (0, 0), (0, 0))
        )
        rest = rest.reshape(kinds, self.rows, self.per_row, keys, self.rest).transpose(0, 1, 3, 2, 4)
        return bias_GxHxMxN[..., : self.whole], rest.reshape(kinds, self.rows, keys, -1)

    def scale(self) -> np.ndarray:
        """What projections are multiplied with: queries by 1 / sqrt(per head); fp32 [C, 128]."""
        own = np.ones((self.heads, 3, self.per_head), np.float32)
        own[:, 0] = self.per_head**-0.5
        with jax.ensure_compile_time_eval():
            return np.asarray(self.laid_out(jnp.asarray(own)))
