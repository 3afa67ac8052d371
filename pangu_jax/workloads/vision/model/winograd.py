"""3 x 3 convolutions of fewer products on a CPU: Winograd's F(4 x 4, 3 x 3) (Lavin, Gray, arXiv 1509.09308).

Squares of 4 x 4 results come from 36 products of each channel pair where a plain convolution takes 144; what
goes in and what comes out is transformed by sums. XLA has no such convolution for CPUs. On other devices, for
few channels and for other dtypes than fp32 (the transforms cost 2 digits) the compiler's own is taken.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

LAYOUT = ("NHWC", "HWIO", "NHWC")
OUT, IN = 4, 6  # pixels of a side of a tile of results, and of what it is made of
FEW = 16  # channels below which the transforms cost more than they save
TILES = 128  # at once: what they are turned into stays in a core's own cache

# B^T, G and A^T of the paper, section 4.3.
_INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_KERNEL = np.array(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float32
) / np.float32(24)
_OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


@jax.custom_vjp
def convolve(x_BxHxWxC: jax.Array, kernel_3x3xCxD: jax.Array) -> jax.Array:
    """[B, H, W, D], zeros around, as `lax.conv_general_dilated` to about 1e-5 of the largest value."""
    channels = min(kernel_3x3xCxD.shape[2:])
    if channels < FEW or x_BxHxWxC.dtype != jnp.float32:
        return plain(x_BxHxWxC, kernel_3x3xCxD)
    return lax.platform_dependent(x_BxHxWxC, kernel_3x3xCxD, cpu=in_tiles, default=plain)


# On the small squares of training it gains nothing (measured: 167 ms a step for 162): there the compiler's
# own is taken, and for gradients.
convolve.defvjp(lambda x, kernel: jax.vjp(plain, x, kernel), lambda back, gradient: back(gradient))


def plain(x_BxHxWxC: jax.Array, kernel_3x3xCxD: jax.Array) -> jax.Array:
    """By the compiler's own convolution."""
    return lax.conv_general_dilated(x_BxHxWxC, kernel_3x3xCxD, (1, 1), "SAME", dimension_numbers=LAYOUT)


def in_tiles(x_BxHxWxC: jax.Array, kernel_3x3xCxD: jax.Array) -> jax.Array:
    """In strips of rows of tiles, one after the other."""
    batch, height, width, channels = x_BxHxWxC.shape
    rows, columns = -(-height // OUT), -(-width // OUT)
    strips = max(1, round(batch * rows * columns / TILES))
    rows_each = -(-rows // strips)
    strips = -(-rows // rows_each)
    below, right = OUT * rows_each * strips - height, OUT * columns - width
    x = jnp.pad(x_BxHxWxC, ((0, 0), (1, below + 1), (1, right + 1), (0, 0)))
    products = jnp.einsum("ai,bj,ijcd->bacd", _KERNEL, _KERNEL, kernel_3x3xCxD)
    products = products.reshape(IN * IN, channels, -1)

    def strip(number: jax.Array) -> jax.Array:
        first, count = number * OUT * rows_each, OUT * rows_each + 2
        return _strip(lax.dynamic_slice_in_dim(x, first, count, 1), products, rows_each, columns)

    made = lax.map(strip, jnp.arange(strips)).swapaxes(0, 1)
    return made.reshape(batch, OUT * rows_each * strips, OUT * columns, -1)[:, :height, :width]


def _strip(x_BxHxWxC: jax.Array, products_36xCxD: jax.Array, rows: int, columns: int) -> jax.Array:
    """[B, 4 rows, 4 columns, D]. Each transform is stored before the next: fused, sums would be made again
    for every result that they are part of."""
    batch, _, _, channels = x_BxHxWxC.shape
    down = [x_BxHxWxC[:, i : i + OUT * (rows - 1) + 1 : OUT] for i in range(IN)]
    x_6xBxRxWxC = lax.optimization_barrier(jnp.stack(_sums(_INPUT, down)))
    across = [x_6xBxRxWxC[:, :, :, j : j + OUT * (columns - 1) + 1 : OUT] for j in range(IN)]
    x_36xNxC = jnp.stack(_sums(_INPUT, across)).reshape(IN * IN, -1, channels)
    y_36xNxD = lax.dot_general(x_36xNxC, products_36xCxD, (((2,), (1,)), ((0,), (0,))))
    y = lax.optimization_barrier(y_36xNxD.reshape(IN, IN, batch, rows, columns, -1))
    y = lax.optimization_barrier(jnp.stack(_sums(_OUTPUT, list(y)), 4))  # [6, B, rows, columns, 4, D]
    y = jnp.stack(_sums(_OUTPUT, list(y)), 2)
    return y.reshape(batch, OUT * rows, OUT * columns, -1)


def _sums(matrix: np.ndarray, parts: Sequence[jax.Array]) -> list[jax.Array]:
    """matrix @ parts, without products by 0 and 1."""
    found = []
    for row in matrix:
        terms = [
            part if factor == 1 else float(factor) * part
            for factor, part in zip(row, parts, strict=True)
            if factor
        ]
        found.append(sum(terms[1:], terms[0]))
    return found
