"""Pictures of different sizes in one row of tokens (NaViT, Dehghani et al., arXiv 2307.06304).

A row holds so many tokens; pictures lie in it one after the other and see themselves alone. A token's
position is that of its row and column when the learnt grid is resized to its picture's grid (`grids`): what
a model sees of a picture in a row is what it sees of the picture alone, at its own size, and a checkpoint
that was trained on squares can be packed as it is. The resizing is one product with what a token takes of
each learnt place, so the grid gets gradients from every size. (NaViT's own positions are factorised, and
new.)
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.vision.model import classifying, grids
from pangu_jax.workloads.vision.model.plain import PlainConfig, PlainForward


class PackedPictures(NamedTuple):
    """Rows of tokens.

    Attributes:
      values_RxTxV: fp32, the pixels of a token's patch as `PlainConfig.cut` makes them.
      rows_RxTxG: fp32, what its position takes of each row of the learnt grid.
      columns_RxTxG: the same of each column.
      pictures_RxT: int32, which picture of its row it is of, from 1 on; 0 for none.
      first_RxT: bool, whether it is a class token.
    """

    values_RxTxV: np.ndarray
    rows_RxTxG: np.ndarray
    columns_RxTxG: np.ndarray
    pictures_RxT: np.ndarray
    first_RxT: np.ndarray


class PicturePlace(NamedTuple):
    """Where a picture is.

    Attributes:
      row: which row.
      number: which picture of that row, from 1 on.
      start: its first patch in the row, behind its class token.
      height: its patches from top to bottom.
      width: from left to right.
    """

    row: int
    number: int
    start: int
    height: int
    width: int


def pack(
    config: PlainConfig, pictures: Sequence[np.ndarray], tokens: int
) -> tuple[PackedPictures, tuple[PicturePlace, ...]]:
    """Pictures in rows: each, in the order given, in the first row that has room for it.

    Args:
      config: of the model.
      pictures: [H, W, C], values as `pixels.centred` makes them; sides are multiples of the patch.
      tokens: of a row.
    Returns:
      The rows, as few as that takes, and the place of each picture.
    Raises:
      ValueError: a picture has other channels, a side that the patch does not divide, or more tokens than a
        row.
    """
    places, filled, held = [], [], []
    for index, picture in enumerate(pictures):
        height, width = _patches(config, picture, f"picture {index}")
        needed = height * width + config.class_token
        if needed > tokens:
            raise ValueError(f"picture {index} has {needed} tokens and a row {tokens}: make it smaller")
        row = next((row for row, used in enumerate(filled) if used + needed <= tokens), len(filled))
        if row == len(filled):
            filled.append(0)
            held.append(0)
        start = filled[row] + config.class_token
        filled[row] += needed
        held[row] += 1
        places.append(PicturePlace(row, held[row], start, height, width))

    count, grid = (len(filled), tokens), config.grid
    values = np.zeros((*count, config.patch**2 * config.channels), np.float32)
    rows, columns = np.zeros((*count, grid), np.float32), np.zeros((*count, grid), np.float32)
    numbers, first = np.zeros(count, np.int32), np.zeros(count, bool)
    for place, picture in zip(places, pictures, strict=True):
        end = place.start + place.height * place.width
        where = place.row, slice(place.start, end)
        values[where] = _values(config, picture, place)
        rows[where] = np.repeat(grids.weights(grid, place.height), place.width, axis=0)
        columns[where] = np.tile(grids.weights(grid, place.width), (place.height, 1))
        numbers[place.row, place.start - config.class_token : end] = place.number
        if config.class_token:
            first[place.row, place.start - 1] = True
    return PackedPictures(values, rows, columns, numbers, first), tuple(places)


def run(forward: PlainForward, params: Tree, packed: PackedPictures) -> jax.Array:
    """What leaves the last layer, [R, T, D]; attention is within each picture.

    Args:
      forward: the pass.
      params: {"trunk": ..., "main": ...}.
      packed: of `pack`.
    """
    config, dtype = forward.config, forward.dtype
    x_RxTxD, positions_UxD = forward.patches(params["trunk"], jnp.asarray(packed.values_RxTxV))
    taken_RxTxGxG = packed.rows_RxTxG[..., None] * packed.columns_RxTxG[..., None, :]
    taken_RxTxU = taken_RxTxGxG.reshape(*taken_RxTxGxG.shape[:2], config.units)
    x_RxTxD += taken_RxTxU.astype(dtype) @ positions_UxD
    if config.class_token:
        x_RxTxD = jnp.where(packed.first_RxT[..., None], forward.token(params["trunk"]), x_RxTxD)
    pictures_RxT = jnp.asarray(packed.pictures_RxT)
    seen_RxTxT = pictures_RxT[:, :, None] == pictures_RxT[:, None, :]
    return forward.run(params["main"], forward.entered(params["trunk"], x_RxTxD), seen_RxTxT[:, None])


def features(forward: PlainForward, params: Tree, packed: PackedPictures) -> jax.Array:
    """Of every token, [R, T, D], after the last norm where that is of all tokens."""
    x_RxTxD = forward.placement.enter(run(forward, params, packed))
    return forward.normed("tokens", params["trunk"], x_RxTxD)


def logits(forward: PlainForward, params: Tree, packed: PackedPictures, most: int) -> jax.Array:
    """Of every picture, fp32 [R, most, classes]; what is beyond a row's pictures means nothing.

    Args:
      forward: the pass.
      params: {"trunk": ..., "main": ...}.
      packed: of `pack`.
      most: pictures of a row that are read.
    """
    config, x_RxTxD = forward.config, features(forward, params, packed)
    of_RxPxT = packed.pictures_RxT[:, None] == jnp.arange(1, most + 1)[:, None]
    first_Rx1xT = packed.first_RxT[:, None]
    wanted_RxPxT = of_RxPxT & (first_Rx1xT if config.pooling == "token" else ~first_Rx1xT)
    if config.pooling == "attention":
        rows, tokens = packed.pictures_RxT.shape
        repeated = jnp.broadcast_to(x_RxTxD[:, None], (rows, most, *x_RxTxD.shape[1:]))
        flat = repeated.reshape(rows * most, tokens, -1), wanted_RxPxT.reshape(rows * most, tokens)
        pooled = classifying.attended(forward, params["trunk"], *flat).reshape(rows, most, -1)
    else:
        share_RxPxT = wanted_RxPxT / jnp.maximum(jnp.sum(wanted_RxPxT, -1, keepdims=True), 1)
        pooled = jnp.einsum("rpt,rtd->rpd", share_RxPxT.astype(x_RxTxD.dtype), x_RxTxD)
    return classifying.classified(forward, params["trunk"], forward.normed("pooled", params["trunk"], pooled))


def _patches(config: PlainConfig, picture: np.ndarray, called: str) -> tuple[int, int]:
    side = config.patch
    if picture.ndim != 3 or picture.shape[2] != config.channels:
        raise ValueError(f"{called} is {list(picture.shape)} instead of [height, width, {config.channels}]")
    height, width = picture.shape[:2]
    if height % side or width % side or not height * width:
        raise ValueError(f"{called} is {height} x {width}, which patches of {side} do not divide: pad it")
    return height // side, width // side


def _values(config: PlainConfig, picture: np.ndarray, place: PicturePlace) -> np.ndarray:
    """[H * W, V] of a picture of H x W patches."""
    factor, shift = config.change()
    x = np.asarray(picture, np.float32) * factor + shift
    x = x.reshape(place.height, config.patch, place.width, config.patch, config.channels)
    return x.transpose(0, 2, 1, 3, 4).reshape(place.height * place.width, -1)
