"""Contrast of pictures with texts: losses over all pairs of a global batch, on every layout.

`clip` (Radford et al., arXiv 2103.00020): each picture finds its text among all texts, and each text its
picture; a device compares its own rows with everyone's. `siglip` (Zhai et al., arXiv 2303.15343): each pair
is right or wrong by itself, so texts go round the devices in blocks and no device ever holds more than its
own rows times a piece of one block. Embeddings are of unit length and fp32; a row of weight 0 fills up a
batch, is nobody's negative and has no loss.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import Placement

CLIP_LOG_SCALE = math.log(1 / 0.07)  # where the papers' temperatures begin
SIGLIP_LOG_SCALE, SIGLIP_BIAS = math.log(10.0), -10.0
LARGEST_LOG_SCALE = math.log(100.0)

PIECE = 1024  # texts that a device compares with its pictures at once
TIE = 1e-6  # similarities that differ by less are equal but for rounding
NEVER = -1e9  # a logit that no softmax sees


class ContrastTerm(NamedTuple):
    """What a contrast comes to for each of this device's rows (the batch's, where arrays are global).

    Attributes:
      loss_B: fp32, nats, with gradients; 0 in rows of weight 0. Mean over rows is the published loss.
      right_B: fp32 without gradients: 1 where no other text of the batch is as near to the picture as its
        own; a tie is lost.
    """

    loss_B: jax.Array
    right_B: jax.Array


def clip(
    image_BxE: jax.Array,
    text_BxE: jax.Array,
    weight_B: jax.Array,
    log_scale: jax.Array,
    placement: Placement,
) -> ContrastTerm:
    """The mean of both directions' cross-entropies, each over all pairs' texts (pictures).

    Args:
      image_BxE: unit-length fp32 embeddings of pictures.
      text_BxE: of their texts.
      weight_B: 0 in rows that only fill up the batch.
      log_scale: scalar; similarities are multiplied by its exponential, at most 100.
      placement: of the batch.
    """
    rows = len(weight_B)
    weight_B = weight_B.astype(jnp.float32)
    first = placement.first_example(rows)
    weight_N = placement.everyone(weight_B)
    own_BxN = (first + jnp.arange(rows))[:, None] == jnp.arange(len(weight_N))
    seen_BxN = (weight_N > 0) | own_BxN

    def direction(from_BxE: jax.Array, to_BxE: jax.Array) -> tuple[jax.Array, jax.Array]:
        from_BxE = placement.inside(from_BxE, ("batch", "embed"))
        near_BxN = placement.inside(_near(from_BxE, placement.everyone(to_BxE)), ("batch", None))
        logits_BxN = jnp.where(seen_BxN, _scale(log_scale) * near_BxN, NEVER)
        own_B = jnp.sum(jnp.where(own_BxN, logits_BxN, 0.0), axis=-1)
        rivals_BxN = seen_BxN & ~own_BxN & ~(near_BxN < _own(near_BxN, own_BxN)[:, None] - TIE)
        return jax.nn.logsumexp(logits_BxN, axis=-1) - own_B, ~jnp.any(rivals_BxN, axis=-1)

    of_image_B, right_B = direction(image_BxE, text_BxE)
    of_text_B, _ = direction(text_BxE, image_BxE)
    return _term(0.5 * (of_image_B + of_text_B), right_B, weight_B)


def siglip(
    image_BxE: jax.Array,
    text_BxE: jax.Array,
    weight_B: jax.Array,
    log_scale: jax.Array,
    bias: jax.Array,
    placement: Placement,
) -> ContrastTerm:
    """-sum over j of log sigmoid(y_ij (s z_i.z_j + b)), y = 1 for a picture's own text and -1 for others.

    Args:
      image_BxE: unit-length fp32 embeddings of pictures.
      text_BxE: of their texts.
      weight_B: 0 in rows that only fill up the batch.
      log_scale: scalar, log of s, which is at most 100.
      bias: scalar, b.
      placement: of the batch.
    """
    weight_B = weight_B.astype(jnp.float32)
    own = {
        "image": image_BxE,
        "near": jax.lax.stop_gradient(jnp.sum(image_BxE * text_BxE, axis=-1)),
        "scale": _scale(log_scale),
        "bias": jnp.asarray(bias, jnp.float32),
    }
    found = placement.ring(_compared, own, {"text": text_BxE, "weight": weight_B})
    return _term(found["loss"], found["rivals"] == 0, weight_B)


def _compared(own: Tree, block: Tree, is_own: jax.Array | bool) -> Tree:
    """Sums over a block's texts for each picture, piece by piece; pairs are made again going back."""
    rows, pictures = block["weight"].shape[0], own["image"].shape[0]

    def of_piece(own: Tree, piece: Tree, first: jax.Array | int) -> Tree:
        columns_C = first + jnp.arange(piece["weight"].shape[0])
        own_BxC = is_own & (jnp.arange(pictures)[:, None] == columns_C)
        counts_C = piece["weight"] > 0
        near_BxC = _near(own["image"], piece["text"])
        sign_BxC = jnp.where(own_BxC, 1.0, -1.0)
        loss_BxC = jax.nn.softplus(-sign_BxC * (own["scale"] * near_BxC + own["bias"]))
        rivals_BxC = counts_C & ~own_BxC & ~(near_BxC < own["near"][:, None] - TIE)
        return {
            "loss": jnp.sum(jnp.where(counts_C, loss_BxC, 0.0), axis=-1),
            "rivals": jnp.sum(rivals_BxC.astype(jnp.float32), axis=-1),
        }

    if rows <= PIECE:
        return of_piece(own, block, 0)
    pieces = -(-rows // PIECE)
    size = -(-rows // pieces)

    def cut(x: jax.Array) -> jax.Array:
        padding = [(0, pieces * size - rows)] + [(0, 0)] * (x.ndim - 1)  # of weight 0
        return jnp.pad(x, padding).reshape(pieces, size, *x.shape[1:])

    def add(total: Tree, cut: tuple[Tree, jax.Array]) -> tuple[Tree, None]:
        found = jax.checkpoint(of_piece)(own, *cut)
        return jax.tree.map(jnp.add, total, found), None

    nothing = {name: jnp.zeros(pictures, jnp.float32) for name in ("loss", "rivals")}
    return jax.lax.scan(add, nothing, (jax.tree.map(cut, block), size * jnp.arange(pieces)))[0]


def _near(from_BxE: jax.Array, to_NxE: jax.Array) -> jax.Array:
    """Similarities; a TPU's default rounds fp32 products to bf16, which a scale of 100 makes .4 of a nat."""
    return jnp.einsum("be,ne->bn", from_BxE, to_NxE, precision=jax.lax.Precision.HIGHEST)


def _own(x_BxN: jax.Array, own_BxN: jax.Array) -> jax.Array:
    return jnp.sum(jnp.where(own_BxN, x_BxN, 0.0), axis=-1)


def _scale(log_scale: jax.Array) -> jax.Array:
    return jnp.exp(jnp.minimum(jnp.asarray(log_scale, jnp.float32), LARGEST_LOG_SCALE))


def _term(loss_B: jax.Array, right_B: jax.Array, weight_B: jax.Array) -> ContrastTerm:
    counts_B = weight_B > 0
    right_B = jax.lax.stop_gradient((counts_B & right_B).astype(jnp.float32))
    return ContrastTerm(jnp.where(counts_B, loss_B, 0.0), right_B)
