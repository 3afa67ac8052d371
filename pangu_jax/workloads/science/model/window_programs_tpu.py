"""What a TPU does with a ring of windows: collect one, make its scores, put its results back.

Longitudes lie below each other in memory, so the twelve of a window are a run of rows: a program collects
its runs itself, and no array is laid out anew by windows. Keys lie down a tile of scores and queries across
it, so sums over keys are additions of rows. Heads are narrower than a row of 128 lanes: those that share one
are told apart by zeros in their queries, at no price that the matrix unit does not have anyway. Of 144
queries 128 fill a row; the 16 that are left of each head in it are one tile together.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from pangu_jax.workloads.science.model.window_tiles import PACKED, Tile, WindowTiles

# Tiles that are begun before the first is gone on with: the matrix unit works on them meanwhile. Found by the
# compiler's schedule of Pangu-Weather's windows; with more, registers are not enough.
AHEAD, AHEAD_BACKWARD = 4, 2

Place = tuple[Any, Any]  # an array in memory, and a row of it


class _Runs:
    """The rows of a window in a ring: for each level and latitude a run of longitudes."""

    def __init__(self, shape: WindowTiles, roll: bool, interpret: bool):
        self.shape, self.roll, self.interpret = shape, roll, interpret

    def collect(self, ring_ref: Any, window: Any, to_ref: Any) -> None:
        """Copy a window [C, N, 128] out of a ring [z, y, C, W, 128]."""
        for (ring, at), (own, behind), count in self._pieces(ring_ref, window, to_ref):
            own[pl.ds(behind, count), :] = ring[pl.ds(at, count), :]

    def spread(self, from_ref: Any, window: Any, ring_ref: Any) -> None:
        """Copy it back to its place."""
        for (ring, at), (own, behind), count in self._pieces(ring_ref, window, from_ref):
            ring[pl.ds(at, count), :] = own[pl.ds(behind, count), :]

    def _pieces(self, ring_ref: Any, window: Any, own_ref: Any) -> Iterator[tuple[Place, Place, int]]:
        """Every run: where it begins in the ring, where in the window, how long it is; half runs where a
        window may go on at the ring's begin. In words of 32 bits, two rows each: those can begin anywhere."""
        levels, latitudes, rows, longitudes, _ = ring_ref.shape
        run, around = self.shape.window[2] // PACKED, longitudes // PACKED
        half, begins = run // 2, [(window * run, 0, run)]
        if self.roll:
            last = window * run + run
            begins = [(window * run + half, 0, half), (jnp.where(last == around, 0, last), half, half)]
        for place, row in itertools.product(range(levels * latitudes), range(rows)):
            for first, behind, count in begins:
                ring, own = ring_ref.at[divmod(place, latitudes)].at[row], own_ref.at[row]
                behind_all = place * run + behind
                if self.interpret:  # it has no views of other types
                    yield (ring, first * PACKED), (own, behind_all * PACKED), count * PACKED
                else:
                    yield (ring.bitcast(jnp.int32), first), (own.bitcast(jnp.int32), behind_all), count


def attend_ring(
    shape: WindowTiles,
    roll: bool,
    interpret: bool,
    ring_ref,
    whole_ref,
    rest_ref,
    out_ring_ref,
    sums_ref,
    rest_sums_ref,
    qkv_ref,
    out_ref,
):
    runs = _Runs(shape, roll, interpret)

    _clear_half(shape, out_ref)

    def attend_window(number, _):
        runs.collect(ring_ref, number, qkv_ref)
        _attend_window(
            shape, qkv_ref, whole_ref, rest_ref, out_ref, sums_ref.at[number], rest_sums_ref.at[number]
        )
        runs.spread(out_ref, number, out_ring_ref)
        return _

    jax.lax.fori_loop(0, sums_ref.shape[0], attend_window, 0)


def _attend_window(shape: WindowTiles, qkv_ref, whole_ref, rest_ref, out_ref, sums_ref, rest_sums_ref):
    window, outs = _Window(shape, qkv_ref), {}

    def scores(tile):
        return _scores(window, tile, whole_ref, rest_ref)

    def shares(tile, scores_MxN):
        most = jnp.max(scores_MxN, axis=0, keepdims=True)
        exp_MxN = jnp.exp(scores_MxN - most)
        total = jnp.sum(exp_MxN, axis=0, keepdims=True)
        window.put(tile, sums_ref, rest_sums_ref, most + jnp.log(total))
        return (exp_MxN * (1.0 / total)).astype(qkv_ref.dtype)

    def values(tile, shares_MxN):
        made = _product(shares_MxN, window.part(2, tile), 0, 0)
        if tile.head is None:
            window.set(out_ref, (tile.row, 0), tile, slice(shape.whole, None), window.unstacked(tile, made))
            return
        outs[tile.row] = window.merged(tile, outs.get(tile.row), made)
        if tile.head == tile.heads[-1]:
            window.set(out_ref, (tile.row, 0), tile, slice(0, shape.whole), outs.pop(tile.row))

    _in_turns(shape.tiles(), AHEAD, scores, shares, values)


def _clear_half(shape: WindowTiles, ref: Any) -> None:
    """Zeros for lanes that are no head's: they meet zeros of a weight, and must be numbers for that."""
    if shape.heads % shape.per_row:
        ref[ref.shape[0] - 1] = jnp.zeros(ref.shape[1:], ref.dtype)


def pull_ring(
    shape: WindowTiles, roll: bool, interpret: bool,
    ring_ref, whole_ref, rest_ref, out_ring_ref, sums_ref, rest_sums_ref, d_out_ring_ref,
    d_ring_ref, d_whole_ref, d_rest_ref, qkv_ref, out_ref, d_out_ref, d_ref,
):  # fmt: skip
    runs = _Runs(shape, roll, interpret)

    @pl.when(pl.program_id(2) == 0)
    def _():
        d_whole_ref[...] = jnp.zeros_like(d_whole_ref)
        d_rest_ref[...] = jnp.zeros_like(d_rest_ref)

    _clear_half(shape, d_ref)

    def pull_window(number, _):
        for ring, own in ((ring_ref, qkv_ref), (out_ring_ref, out_ref), (d_out_ring_ref, d_out_ref)):
            runs.collect(ring, number, own)
        sums = sums_ref.at[number], rest_sums_ref.at[number]
        _pull_window(
            shape, qkv_ref, whole_ref, rest_ref, out_ref, *sums, d_out_ref, d_ref, d_whole_ref, d_rest_ref
        )
        runs.spread(d_ref, number, d_ring_ref)
        return _

    jax.lax.fori_loop(0, sums_ref.shape[0], pull_window, 0)


def _pull_window(
    shape: WindowTiles, qkv_ref, whole_ref, rest_ref, out_ref, sums_ref, rest_sums_ref, d_out_ref,
    d_ref, d_whole_ref, d_rest_ref,
):  # fmt: skip
    window, gradients = _Window(shape, qkv_ref), {}

    def products(tile):
        d_out = window.own(tile, d_out_ref[tile.row, :, : tile.lanes])
        both = d_out.astype(jnp.float32) * window.own(tile, out_ref[tile.row, :, : tile.lanes]).astype(
            jnp.float32
        )
        row = _product(jnp.ones((8, both.shape[1]), jnp.float32), both, 1, 1)[:1]  # of each query
        d_shares = _product(window.part(2, tile), d_out, 1, 1)
        return _scores(window, tile, whole_ref, rest_ref), d_shares, row

    def differences(tile, made):
        scores_MxN, d_shares_MxN, row_1xN = made
        shares_MxN = jnp.exp(scores_MxN - window.get(tile, sums_ref, rest_sums_ref))
        d_scores_MxN = shares_MxN * (d_shares_MxN - row_1xN)
        if tile.head is None:
            d_rest_ref[tile.row, :, : d_scores_MxN.shape[1]] += d_scores_MxN
        else:
            d_whole_ref[tile.head] += d_scores_MxN
        return shares_MxN.astype(qkv_ref.dtype), d_scores_MxN.astype(qkv_ref.dtype)

    def results(tile, made):
        shares_MxN, d_scores_MxN = made
        q, d_out = (
            window.own(tile, window.part(0, tile)),
            window.own(tile, d_out_ref[tile.row, :, : tile.lanes]),
        )
        d_q = _product(d_scores_MxN, window.part(1, tile), 0, 0)
        d_k, d_v = _product(d_scores_MxN, q, 1, 0), _product(shares_MxN, d_out, 1, 0)
        if tile.head is None:
            window.set(
                d_ref, shape.part(0, tile), tile, slice(shape.whole, None), window.unstacked(tile, d_q)
            )
            gradients[tile.row] = None, d_k, d_v
            return
        had_q, had_k, had_v = gradients[tile.row]
        gradients[tile.row] = window.merged(tile, had_q, d_q), had_k + d_k, had_v + d_v
        if tile.head == tile.heads[-1]:
            d_q, d_k, d_v = gradients.pop(tile.row)
            window.set(d_ref, shape.part(0, tile), tile, slice(0, shape.whole), d_q)
            window.set(d_ref, shape.part(1, tile), tile, slice(None), d_k)
            window.set(d_ref, shape.part(2, tile), tile, slice(None), d_v)

    _in_turns(shape.tiles(), AHEAD_BACKWARD, products, differences, results)


class _Window:
    """What a program reads and writes of its window, tile by tile."""

    def __init__(self, shape: WindowTiles, qkv_ref: Any):
        self.shape, self.qkv_ref = shape, qkv_ref

    def part(self, at: int, tile: Tile) -> jax.Array:
        """A tile's queries, keys or values of all tokens, [N, lanes]."""
        row, first = self.shape.part(at, tile)
        return self.qkv_ref[row, :, first : first + tile.lanes]

    def set(self, ref: Any, where: tuple[int, int], tile: Tile, tokens: slice, made: jax.Array) -> None:
        """Put what was made of a tile's lanes there: the row, and the first of its lanes."""
        row, first = where
        ref[row, tokens, first : first + tile.lanes] = made.astype(ref.dtype)

    def own(self, tile: Tile, x_NxL: jax.Array) -> jax.Array:
        """A tile's queries of x, zeros in the lanes of other heads; of all heads one below the other."""
        if tile.head is not None:
            return _only(self._is(tile, tile.head, self.shape.whole), x_NxL[: self.shape.whole])
        rest = x_NxL[self.shape.whole :]
        each = [_only(self._is(tile, head, self.shape.rest), rest) for head in tile.heads]
        return jnp.concatenate(each, axis=0)

    def merged(self, tile: Tile, had: jax.Array | None, made: jax.Array) -> jax.Array:
        """The lanes of a tile's head beside those of the heads before it."""
        return made if had is None else jnp.where(self._is(tile, tile.head, self.shape.whole), made, had)

    def unstacked(self, tile: Tile, x: jax.Array) -> jax.Array:
        """What `own` laid one below the other, side by side: [rest, lanes]."""
        rest = self.shape.rest
        out = x[:rest]
        for number, head in enumerate(tile.heads):
            out = jnp.where(self._is(tile, head, rest), x[number * rest : (number + 1) * rest], out)
        return out

    def get(self, tile: Tile, whole_ref: Any, rest_ref: Any) -> jax.Array:
        """A number of each of a tile's queries, [1, queries]."""
        if tile.head is None:
            return rest_ref[tile.row : tile.row + 1, : len(tile.heads) * self.shape.rest]
        return whole_ref[tile.head : tile.head + 1, :]

    def put(self, tile: Tile, whole_ref: Any, rest_ref: Any, row: jax.Array) -> None:
        """Keep them."""
        if tile.head is None:
            rest_ref[tile.row : tile.row + 1, : row.shape[1]] = row
        else:
            whole_ref[tile.head : tile.head + 1, :] = row

    def _is(self, tile: Tile, head: int | None, rows: int) -> jax.Array:
        """Which lanes are a head's, bool [rows, lanes]."""
        lane = jax.lax.broadcasted_iota(jnp.int32, (rows, tile.lanes), 1)
        first = ((head or 0) - tile.heads.start) * self.shape.per_head
        return (lane >= first) & (lane < first + self.shape.per_head)


def _scores(window: _Window, tile: Tile, whole_ref: Any, rest_ref: Any) -> jax.Array:
    """Of all keys with a tile's queries, fp32 [M, queries]."""
    q = window.own(tile, window.part(0, tile))
    bias = rest_ref[tile.row][:, : q.shape[0]] if tile.head is None else whole_ref[tile.head]
    return _product(window.part(1, tile), q, 1, 1) + bias.astype(jnp.float32)


def _in_turns(tiles: Sequence[Tile], ahead: int, first: Callable, second: Callable, third: Callable) -> None:
    """Three things done with every tile, each some tiles behind the one before: so none waits for itself."""
    begun: dict[int, Any] = {}
    for turn in range(len(tiles) + 2 * ahead):
        if turn < len(tiles):
            begun[turn] = first(tiles[turn])
        if 0 <= (at := turn - ahead) < len(tiles):
            begun[at] = second(tiles[at], begun[at])
        if 0 <= (at := turn - 2 * ahead) < len(tiles):
            third(tiles[at], begun.pop(at))


def _only(own: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.where(own, x, jnp.zeros_like(x))


def _product(a: jax.Array, b: jax.Array, of_a: int, of_b: int) -> jax.Array:
    """Summed over dimension `of_a` of a and `of_b` of b, fp32."""
    return jax.lax.dot_general(a, b, (((of_a,), (of_b,)), ((), ())), preferred_element_type=jnp.float32)
