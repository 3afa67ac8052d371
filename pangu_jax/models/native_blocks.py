"""What residual blocks are made of, by the CPU backend's kernels: what is around a product is done while
its result is in a cache.

A bias, what is added, GELU and its slope are part of a product; a norm's gradient is added to the residual
stream's where it is made. The plain forms compute the same to 1e-6 (`workloads/vision/model/blocks.py`); fp32
on one device (`native.takes`).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from pangu_jax.models import native
from pangu_jax.models.parameters import Tree

FEATURES = 16  # a head's width is a multiple of it
NOTHING = (0,)  # the shape of an operand that is not there


class Linear(NamedTuple):
    """A weight and its bias.

    Attributes:
      weight: [K, *N], or of one that narrows [N, *K], output first.
      bias: [*N], or None.
    """

    weight: jax.Array
    bias: jax.Array | None


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def normed(x_BxTxD: jax.Array, norm: Tree, epsilon: float) -> tuple[jax.Array, jax.Array]:
    """LayerNorm of x, or RMSNorm where `norm` has a scale alone, and x as it is.

    The gradients of both meet in one pass.
    """
    return _normed(x_BxTxD, norm, epsilon)[0]


def _normed(x, norm, epsilon):
    stats = jax.ShapeDtypeStruct((*x.shape[:-1], 2), jnp.float32)
    call = _call("pangu_layer_norm", (jax.ShapeDtypeStruct(x.shape, jnp.float32), stats))
    bias = norm["bias"] if "bias" in norm else jnp.zeros(NOTHING, jnp.float32)
    y, stats = call(x, norm["scale"], bias, epsilon=np.float32(epsilon))
    return (y, x), (x, stats, norm)


def _normed_backward(epsilon, saved, gradients):
    del epsilon
    (x, stats, norm), (dy, beside) = saved, gradients
    made = tuple(jax.ShapeDtypeStruct(a.shape, jnp.float32) for a in (x, norm["scale"], norm["scale"]))
    call = _call("pangu_layer_norm_backward", made)
    dx, d_scale, d_bias = call(dy, x, stats, norm["scale"], beside, centred="bias" in norm)
    return dx, {"scale": d_scale, "bias": d_bias} if "bias" in norm else {"scale": d_scale}


normed.defvjp(_normed, _normed_backward)


@jax.custom_vjp
def linear(x: jax.Array, layer: Linear) -> jax.Array:
    """x [..., K] times weight [K, *N] plus bias: [..., *N]."""
    rows, outputs = x.shape[:-1], layer.weight.shape[1:]
    y = _linear(_matrix(x, 1), layer.weight.reshape(x.shape[-1], -1), layer.bias, None, False)
    return y.reshape(*rows, *outputs)


def _linear_backward(saved, dy):
    x, layer = saved
    outputs = layer.weight.ndim - 1
    dx = native.matmul_transposed(dy, layer.weight, outputs)
    d_weight = native.transposed_matmul(x, dy, x.ndim - 1)
    return dx, Linear(d_weight, None if layer.bias is None else _sums(dy, layer.bias.shape))


linear.defvjp(lambda x, layer: (linear(x, layer), (x, layer)), _linear_backward)


@jax.custom_vjp
def linear_back(x: jax.Array, layer: Linear, beside: jax.Array | None) -> jax.Array:
    """beside [..., N], if any, + x [..., *K] times the transpose of weight [N, *K] + bias."""
    inner = layer.weight.ndim - 1
    rows = _matrix(x, inner)
    y = _linear(rows, layer.weight.reshape(-1, rows.shape[1]), layer.bias, beside, True)
    return y.reshape(*x.shape[: x.ndim - inner], layer.weight.shape[0])


def _linear_back_backward(saved, dy):
    x, layer, alone = saved
    d_weight = native.transposed_matmul(dy, x, dy.ndim - 1)
    bias = None if layer.bias is None else _sums(dy, layer.bias.shape)
    return native.matmul(dy, layer.weight, 1), Linear(d_weight, bias), None if alone else dy


linear_back.defvjp(
    lambda x, layer, beside: (linear_back(x, layer, beside), (x, layer, beside is None)),
    _linear_back_backward,
)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def perceptron(x: jax.Array, up: Linear, down: Linear, beside: jax.Array | None, by_tanh: bool) -> jax.Array:
    """beside [..., N], if any, + gelu(x [..., K] up) down, of `up` [K, F] and `down` [N, F]."""
    return _perceptron(x, up, down, beside, by_tanh)[0]


def _perceptron(x, up, down, beside, by_tanh):
    made = jax.ShapeDtypeStruct((*x.shape[:-1], up.weight.shape[1]), jnp.float32)
    hidden, slope = _call("pangu_linear_gelu", (made, made))(
        _matrix(x, 1), up.weight, up.bias, by_tanh=by_tanh
    )
    hidden, slope = checkpoint_name(hidden, "up"), checkpoint_name(slope, "up")
    return linear_back(hidden, down, beside), (x, up, down, hidden, slope, beside is None)


def _perceptron_backward(by_tanh, saved, dy):
    del by_tanh
    x, up, down, hidden, slope, alone = saved
    made = jax.ShapeDtypeStruct(hidden.shape, jnp.float32)
    d_hidden = _call("pangu_linear_times", made)(_matrix(dy, 1), down.weight, slope, transposed=False)
    d_down = Linear(native.transposed_matmul(dy, hidden, dy.ndim - 1), _sums(dy, down.bias.shape))
    d_up = Linear(native.transposed_matmul(x, d_hidden, x.ndim - 1), _sums(d_hidden, up.bias.shape))
    return native.matmul_transposed(d_hidden, up.weight, 1), d_up, d_down, None if alone else dy


perceptron.defvjp(_perceptron, _perceptron_backward)


def fits(qkv_BxTxHx3xK: jax.Array, seen_Bx1xTxT: jax.Array | None) -> bool:
    """Whether `self_attend` takes heads of this width, and this mask: none, or one for every example."""
    batch, tokens, _, _, width = qkv_BxTxHx3xK.shape
    return width % FEATURES == 0 and (
        seen_Bx1xTxT is None or seen_Bx1xTxT.shape == (batch, 1, tokens, tokens)
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def self_attend(qkv_BxTxHx3xK: jax.Array, seen_BxTxT: jax.Array | None, scale: float) -> jax.Array:
    """softmax(q k^T scale, where seen) v, [B, T, H, K]; without a mask every token sees all."""
    return _self_attend(qkv_BxTxHx3xK, seen_BxTxT, scale)[0]


def _self_attend(qkv, seen, scale):
    batch, tokens, heads, _, width = qkv.shape
    out = jax.ShapeDtypeStruct((batch, tokens, heads, width), jnp.float32)
    stats = jax.ShapeDtypeStruct((batch, heads, tokens, 2), jnp.float32)
    mask = jnp.zeros(NOTHING, bool) if seen is None else seen
    out, stats = _call("pangu_self_flash", (out, stats))(qkv, mask, scale=np.float32(scale))
    return out, (qkv, seen, out, stats)


def _self_attend_backward(scale, saved, d_out):
    qkv, seen, out, stats = saved
    mask = jnp.zeros(NOTHING, bool) if seen is None else seen
    call = _call("pangu_self_flash_backward", jax.ShapeDtypeStruct(qkv.shape, jnp.float32))
    d_qkv = call(qkv, mask, out, stats, d_out, scale=np.float32(scale))
    return d_qkv, None if seen is None else np.zeros(seen.shape, jax.dtypes.float0)


self_attend.defvjp(_self_attend, _self_attend_backward)


def _linear(
    x_MxK: jax.Array, weight: jax.Array, bias: jax.Array | None, beside: jax.Array | None, transposed: bool
) -> jax.Array:
    out = jax.ShapeDtypeStruct((x_MxK.shape[0], weight.shape[0 if transposed else 1]), jnp.float32)
    nothing = jnp.zeros(NOTHING, jnp.float32)
    bias, beside = (nothing if array is None else array for array in (bias, beside))
    return _call("pangu_linear", out)(x_MxK, weight, bias, beside, transposed=transposed)


def _sums(x: jax.Array, shape: native.Shape) -> jax.Array:
    return _call("pangu_column_sums", jax.ShapeDtypeStruct(shape, jnp.float32))(x)


def _matrix(x: jax.Array, columns: int) -> jax.Array:
    """[*M, *N] as a matrix; N is the last `columns` dimensions."""
    return x.reshape(int(np.prod(x.shape[: x.ndim - columns])), -1)


def _call(name: str, made) -> Callable:
    return jax.ffi.ffi_call(name, made, vmap_method="sequential")
