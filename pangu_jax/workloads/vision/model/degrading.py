"""Pictures made worse, on the device and by a key each: what a restorer learns to undo.

The protocol of the papers (docs/images.md): smaller by bicubic interpolation with antialiasing, rounded to
8 bits; noise neither rounded nor clipped; JPEG by the tables of its standard (ITU-T T.81, annex K).
"""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

Task = Literal["denoise", "x2", "x3", "x4", "deblock"]
TASKS: tuple[Task, ...] = get_args(Task)
SCALES = {"x2": 2, "x3": 3, "x4": 4}
STRONG = 100.0  # standard deviation of noise whose strength is 1

# Quantisation of luma at quality 50, rows of the block.
LUMA_TABLE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
)
BLOCK = 8


class Degraded(NamedTuple):
    """Pictures made worse.

    Attributes:
      pixels_BxSxSxC: fp32, 0 to 255, of the size of the originals.
      strength_B: fp32, what is known of the degradation; 0 where nothing varies.
    """

    pixels_BxSxSxC: jax.Array
    strength_B: jax.Array


def noisy(pixels_BxSxSxC: jax.Array, sigma: tuple[float, float], keys_B: jax.Array) -> Degraded:
    """With Gaussian noise of a standard deviation between two, of 255; strength is it over `STRONG`."""

    def one(pixels_SxSxC: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        how, where = jax.random.split(key)
        own = jax.random.uniform(how, (), jnp.float32, *sigma) if sigma[0] < sigma[1] else sigma[0]
        noise = jax.random.normal(where, pixels_SxSxC.shape)
        return pixels_SxSxC + own * noise, jnp.float32(own) / STRONG

    return Degraded(*jax.vmap(one)(pixels_BxSxSxC, keys_B))


def enlarged(pixels_BxSxSxC: jax.Array, scale: int) -> Degraded:
    """Made smaller and enlarged again by bicubic interpolation.

    What the scale leaves over of the sides, right and below, is filled up with what is beside it; `counted`
    says how much is none of that.
    """
    batch, side, _, channels = pixels_BxSxSxC.shape
    whole = counted(side, scale)
    kept = pixels_BxSxSxC[:, :whole, :whole]
    small = jax.image.resize(kept, (batch, whole // scale, whole // scale, channels), "cubic")
    small = jnp.clip(jnp.rint(small), 0.0, 255.0)
    large = jax.image.resize(small, kept.shape, "cubic")
    over = (0, side - whole)
    return Degraded(jnp.pad(large, ((0, 0), over, over, (0, 0)), "edge"), jnp.zeros(batch))


def counted(side: int, scale: int) -> int:
    """Pixels of a side that are multiples of the scale."""
    return side - side % scale


def blocked(pixels_BxSxSxC: jax.Array, quality: tuple[int, int], keys_B: jax.Array) -> Degraded:
    """As a JPEG of a quality between two leaves them: each channel in blocks of 8 x 8 by the table of luma.

    Of colours that is a JPEG whose chroma is as fine as its luma; libjpeg's default is coarser.
    """

    def one(pixels_SxSxC: jax.Array, key: jax.Array) -> jax.Array:
        own = jax.random.randint(key, (), quality[0], quality[1] + 1).astype(jnp.float32)
        return _quantised(pixels_SxSxC, _table(own))

    return Degraded(jax.vmap(one)(pixels_BxSxSxC, keys_B), jnp.zeros(pixels_BxSxSxC.shape[0]))


def _table(quality: jax.Array) -> jax.Array:
    """libjpeg's rule from a quality of 1 to 100 to the steps of coefficients."""
    percent = jnp.where(quality < 50, jnp.floor(5000 / quality), 200 - 2 * quality)
    return jnp.clip(jnp.floor((LUMA_TABLE * percent + 50) / 100), 1, 255)


def _quantised(pixels_HxWxC: jax.Array, table_8x8: jax.Array) -> jax.Array:
    height, width, channels = pixels_HxWxC.shape
    over = [(0, -height % BLOCK), (0, -width % BLOCK), (0, 0)]
    x = jnp.pad(pixels_HxWxC, over, "edge") - 128.0
    rows, columns = x.shape[0] // BLOCK, x.shape[1] // BLOCK
    x = x.reshape(rows, BLOCK, columns, BLOCK, channels)
    basis = jnp.asarray(_cosines())
    coefficients = jnp.einsum("ui,ricjk,vj->ruvck", basis, x, basis)
    steps = table_8x8[None, :, :, None, None]
    coefficients = jnp.rint(coefficients / steps) * steps
    x = jnp.einsum("ui,ruvck,vj->ricjk", basis, coefficients, basis)
    x = x.reshape(rows * BLOCK, columns * BLOCK, channels)[:height, :width]
    return jnp.clip(jnp.rint(x + 128.0), 0.0, 255.0)


def _cosines() -> np.ndarray:
    """The orthonormal basis of the discrete cosine transform, [frequency, place]."""
    frequency, place = np.arange(BLOCK)[:, None], np.arange(BLOCK)
    basis = np.cos((2 * place + 1) * frequency * np.pi / (2 * BLOCK)) * np.sqrt(2 / BLOCK)
    basis[0] /= np.sqrt(2)
    return basis.astype(np.float32)
