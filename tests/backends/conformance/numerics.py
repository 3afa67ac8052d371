"""Dtypes, linear algebra, convolutions, sorting, indexing and random numbers."""

import jax
import jax.numpy as jnp
import numpy as np

_A = np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32)
_SYMMETRIC = _A @ _A.T + 6 * np.eye(6, dtype=np.float32)
_IMAGE = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
_KERNEL = np.random.default_rng(2).normal(size=(4, 3, 3, 3)).astype(np.float32)


def bfloat16(devices):
    return jax.jit(lambda x: jnp.tanh(x @ x))(jnp.asarray(_A, jnp.bfloat16))


def float16(devices):
    return jax.jit(lambda x: x * x + 1)(jnp.asarray(_A, jnp.float16))


def float64(devices):
    with jax.enable_x64(True):
        return jax.jit(lambda x: jnp.exp(x) @ x)(jnp.asarray(_A, jnp.float64))


def float8(devices):
    return jax.jit(lambda x: x.astype(jnp.float8_e4m3fn).astype(jnp.float32))(_A)


def complex64(devices):
    return jax.jit(lambda x: jnp.abs(x * 1j + jnp.conj(x)))(jnp.asarray(_A, jnp.complex64))


def integers(devices):
    x = jnp.arange(-8, 8)
    kinds = (jnp.int8, jnp.int16, jnp.int32, jnp.uint8, jnp.uint16, jnp.uint32)
    return [jax.jit(lambda v: v * v * v // 3 ^ 5)(x.astype(kind)) for kind in kinds]


def booleans(devices):
    return jax.jit(lambda x: (x > 0) & ~(x > 1) | (x < -1))(_A)


def infinities(devices):
    x = jnp.array([0.0, -1.0, jnp.inf, jnp.nan])
    return jax.jit(lambda v: (1 / v, jnp.log(v), jnp.maximum(v, 0), jnp.isfinite(v)))(x)


def matmul_precision(devices):
    return jax.jit(lambda x: jnp.dot(x, x, precision="highest"))(_A)


def batched_einsum(devices):
    x = _IMAGE.reshape(2, 3, 64)
    return jax.jit(lambda v: jnp.einsum("bij,bkj->bik", v, v))(x)


def softmax(devices):
    return jax.jit(jax.nn.softmax)(_A), jax.jit(jax.nn.logsumexp)(_A)


def cholesky(devices):
    return jax.jit(jnp.linalg.cholesky)(_SYMMETRIC)


def triangular_solve(devices):
    solve = jax.jit(lambda a, b: jax.scipy.linalg.solve_triangular(a, b, lower=True))
    return solve(np.tril(_SYMMETRIC), _A)


def solve(devices):
    return jax.jit(jnp.linalg.solve)(_SYMMETRIC, _A)


def qr(devices):
    q, r = jax.jit(jnp.linalg.qr)(_A)
    return q @ r


def eigh(devices):
    return jax.jit(jnp.linalg.eigvalsh)(_SYMMETRIC)


def svd(devices):
    return jax.jit(lambda x: jnp.linalg.svd(x, compute_uv=False))(_A)


def eig(devices):
    return jnp.sort(jnp.abs(jax.jit(jnp.linalg.eigvals)(_A)))


def convolution(devices):
    return jax.jit(lambda x, k: jax.lax.conv(x, k, (1, 1), "SAME"))(_IMAGE, _KERNEL)


def gradient_of_convolution(devices):
    return jax.jit(jax.grad(lambda k: (jax.lax.conv(_IMAGE, k, (2, 2), "VALID") ** 2).sum()))(_KERNEL)


def pooling(devices):
    window = (1, 1, 2, 2)
    return jax.jit(lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID"))(_IMAGE)


def fft(devices):
    return jax.jit(jnp.fft.fft)(_A[0]), jax.jit(jnp.fft.irfft)(jnp.fft.rfft(_A[1]))


def sort(devices):
    return jax.jit(lambda x: (jnp.sort(x, 1), jnp.argsort(x, 0)))(_A)


def top_k(devices):
    return jax.jit(lambda x: jax.lax.top_k(x, 3))(_A)


def argmax(devices):
    return jax.jit(lambda x: (x.argmax(1), x.argmin(0)))(_A)


def cumulative(devices):
    return jax.jit(lambda x: (jnp.cumsum(x, 1), jnp.cumprod(x, 0), jax.lax.cummax(x, 1)))(_A)


def gather(devices):
    return jax.jit(lambda x, i: x[i])(_A, jnp.array([5, 0, 0, 3]))


def scatter_add(devices):
    return jax.jit(lambda x, i: x.at[i].add(1.5))(_A, jnp.array([5, 0, 0, 3]))


def dynamic_slices(devices):
    def moved(x, i):
        return jax.lax.dynamic_update_slice(x, jax.lax.dynamic_slice(x, (i, 0), (2, 6)), (0, 0))

    return jax.jit(moved)(_A, 3)


def segment_sum(devices):
    return jax.jit(lambda x, i: jax.ops.segment_sum(x, i, 3))(_A, jnp.array([0, 2, 2, 1, 0, 2]))


def random_bits(devices):
    key = jax.random.key(7)
    return jax.random.bits(key, (8,)), jax.random.split(key, 3), jax.random.fold_in(key, 5)


def random_distributions(devices):
    key = jax.random.key(3)
    return (
        jax.random.normal(key, (16,)),
        jax.random.bernoulli(key, 0.3, (16,)),
        jax.random.permutation(key, 16),
        jax.random.categorical(key, jnp.asarray(_A)),
    )


def random_bit_generator(devices):
    return jax.random.normal(jax.random.key(3, impl="rbg"), (16,))


CHECKS = (
    *(bfloat16, float16, float64, float8, complex64, integers, booleans, infinities, matmul_precision),
    *(batched_einsum, softmax, cholesky, triangular_solve, solve, qr, eigh, svd, eig, convolution),
    *(gradient_of_convolution, pooling, fft, sort, top_k, argmax, cumulative, gather, scatter_add),
    *(dynamic_slices, segment_sum, random_bits, random_distributions, random_bit_generator),
)
