"""Attention inside windows of a field on a TPU: scores never leave vector memory.

A program has a ring of windows around the globe, those that share a bias, and takes one after the other with all
its heads. Longitudes lie below each other in memory, so the twelve of a window are a run of rows: a program
collects its runs itself, and no array is laid out anew by windows. Keys lie down a tile of scores and queries
across it, so sums over keys are additions of rows. Heads are narrower than a row of 128 lanes: those that share
one are told apart by zeros in their queries, at no price that the matrix unit does not have anyway. Of 144
queries 128 fill a row; the 16 that are left of each head in it are one tile together. The bias is loaded once
for a ring, and its gradient added up in place.

It has not run on a chip here: it is compiled by the chips' compiler, and compared in interpret mode.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from pangu_jax.workloads.science.model.window_tiles import LANES, PACKED, Tile, WindowTiles

# Tiles that are begun before the first is gone on with: the matrix unit works on them meanwhile. Found by the
# compiler's schedule of Pangu-Weather's windows; with more, registers are not enough.
AHEAD, AHEAD_BACKWARD = 4, 2
MEMORY = 56 * 2**20  # bytes of vector memory that a program may use

Place = tuple[Any, Any]  # an array in memory, and a row of it


def attend(
    projected_BxZxYxCxWxL: jax.Array,
    bias_GxHxMxN: jax.Array,
    shape: WindowTiles,
    roll: bool,
    interpret: bool = False,
) -> jax.Array:
    """softmax(q k^T + bias) v in every window, [B, Z, Y, rows, W, 128], bfloat16; of windows that fit.

    Args:
      projected_BxZxYxCxWxL: queries (scaled), keys and values of whole windows of Z levels, Y latitudes and W
        longitudes, as `WindowTiles.laid_out` has them; rolled by half a window in level and latitude already.
      bias_GxHxMxN: of each window of level and latitude, key by query.
      shape: of a window.
      roll: whether windows begin half a window further on in longitude; the last is cut by the date line.
      interpret: without a TPU.
    """

    @jax.custom_vjp
    def attended(projected: jax.Array, whole: jax.Array, rest: jax.Array) -> jax.Array:
        return _forward(shape, roll, interpret, projected, whole, rest)[0]

    def forward(projected: jax.Array, whole: jax.Array, rest: jax.Array):
        out, *sums = _forward(shape, roll, interpret, projected, whole, rest)
        return out, (projected, whole, rest, out, *sums)

    def backward(saved: Sequence[jax.Array], d_out: jax.Array):
        d_projected, *d_bias = _backward(shape, roll, interpret, *saved, d_out)
        return d_projected, *(made.astype(saved[1].dtype) for made in d_bias)

    attended.defvjp(forward, backward)
    return attended(projected_BxZxYxCxWxL, *shape.split(bias_GxHxMxN))


def _forward(shape: WindowTiles, roll: bool, interpret: bool, *arrays: jax.Array) -> Sequence[jax.Array]:
    """Results, and the logarithms of sums over keys, fp32 [B, G, windows, heads, whole], [..., rows, rest]."""
    batch, levels, latitudes, _, longitudes, _ = arrays[0].shape
    around = (batch, arrays[1].shape[0], longitudes // shape.window[2])
    across = latitudes // shape.window[1]
    made = (
        jax.ShapeDtypeStruct((batch, levels, latitudes, shape.rows, longitudes, LANES), arrays[0].dtype),
        jax.ShapeDtypeStruct((*around, shape.heads, shape.whole), jnp.float32),
        jax.ShapeDtypeStruct((*around, shape.rows, shape.per_row * shape.rest), jnp.float32),
    )
    return pl.pallas_call(
        functools.partial(_attend_ring, shape, roll, interpret),
        out_shape=made,
        grid=(levels // shape.window[0], across, batch),
        in_specs=[_ring(shape, arrays[0]), *(_of_kind(array, across) for array in arrays[1:])],
        out_specs=[_ring(shape, made[0]), *(_of_ring(array, across) for array in made[1:])],
        scratch_shapes=[_scratch(shape, shape.projected), _scratch(shape, shape.rows)],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "parallel"), vmem_limit_bytes=MEMORY
        ),
        cost_estimate=_cost(shape, around, products=2, rows=shape.projected + shape.rows),
        interpret=interpret,
        name="window_attention",
    )(*arrays)


def _backward(shape: WindowTiles, roll: bool, interpret: bool, *arrays: jax.Array) -> Sequence[jax.Array]:
    """The gradient of what was projected, and those of the bias, fp32."""
    projected, whole, rest, out, sums, rest_sums, d_out = arrays
    made = (projected, *(jax.ShapeDtypeStruct(part.shape, jnp.float32) for part in (whole, rest)))
    around = (projected.shape[0], whole.shape[0], sums.shape[2])
    levels, across = projected.shape[1] // shape.window[0], projected.shape[2] // shape.window[1]
    own = [_ring(shape, projected), _of_kind(whole, across), _of_kind(rest, across)]
    rings = [_ring(shape, out), _of_ring(sums, across), _of_ring(rest_sums, across), _ring(shape, d_out)]
    return pl.pallas_call(
        functools.partial(_pull_ring, shape, roll, interpret),
        out_shape=[jax.ShapeDtypeStruct(part.shape, part.dtype) for part in made],
        grid=(levels, across, around[0]),
        in_specs=[*own, *rings],
        out_specs=own,
        scratch_shapes=[
            _scratch(shape, rows) for rows in (shape.projected, shape.rows, shape.rows, shape.projected)
        ],
        # One example after the other: the gradient of a bias is added up over them.
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary"), vmem_limit_bytes=MEMORY
        ),
        cost_estimate=_cost(shape, around, products=5, rows=2 * (shape.projected + shape.rows)),
        interpret=interpret,
        name="window_attention_backward",
    )(*arrays)


def _ring(shape: WindowTiles, array: Any) -> pl.BlockSpec:
    """The windows around the globe of one level and latitude, of [B, Z, Y, C, W, 128]."""
    return pl.BlockSpec(
        (None, *shape.window[:2], *array.shape[3:]), lambda level, latitude, b: (b, level, latitude, 0, 0, 0)
    )


def _of_ring(array: Any, across: int) -> pl.BlockSpec:
    return pl.BlockSpec(
        (None, None, *array.shape[2:]), lambda level, latitude, b: (b, level * across + latitude, 0, 0, 0)
    )


def _of_kind(array: Any, across: int) -> pl.BlockSpec:
    return pl.BlockSpec(
        (None, *array.shape[1:]), lambda level, latitude, b: (level * across + latitude, 0, 0, 0)
    )


def _scratch(shape: WindowTiles, rows: int) -> Any:
    """Room for a window, [C, N, 128]."""
    return pltpu.VMEM((rows, shape.length, LANES), jnp.bfloat16)


def _cost(shape: WindowTiles, around: tuple[int, int, int], products: int, rows: int) -> pl.CostEstimate:
    """Products as the matrix unit does them: a tile of keys by 128 queries by 128 lanes."""
    windows = around[0] * around[1] * around[2]
    tiles = windows * len(shape.tiles())
    return pl.CostEstimate(
        flops=tiles * products * 2 * shape.length * LANES * LANES,
        transcendentals=tiles * shape.length * LANES,
        bytes_accessed=windows * rows * 2 * shape.length * LANES,
    )


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
        """Every run: where it begins in the ring, where in the window, and how long it is; half runs where a
        window may go on at the ring's begin. All in words of 32 bits, two rows each: so many rows lie anywhere."""
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


def _attend_ring(
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


def _pull_ring(
    shape: WindowTiles, roll: bool, interpret: bool, ring_ref, whole_ref, rest_ref, out_ring_ref, sums_ref, rest_sums_ref, d_out_ring_ref,
    d_ring_ref, d_whole_ref, d_rest_ref, qkv_ref, out_ref, d_out_ref, d_ref,
):  # fmt: skip
    runs = _Runs(shape, roll, interpret)

    @pl.when(pl.program_id(2) == 0)
    def _():
        d_whole_ref[...] = jnp.zeros_like(d_whole_ref)
        d_rest_ref[...] = jnp.zeros_like(d_rest_ref)

    if shape.heads % shape.per_row:
        d_ref[shape.projected - 1] = jnp.zeros(d_ref.shape[1:], d_ref.dtype)  # half of it is no head's

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
