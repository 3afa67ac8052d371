"""Residual blocks with biases and LayerNorm before them, stacked: perceptrons and self-attention."""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike

from pangu_jax.models import attention, native, native_blocks, short_attention
from pangu_jax.models.activations import gelu, quick_gelu
from pangu_jax.models.native_blocks import Linear
from pangu_jax.models.normalization import LayerNorm, biased, layer_norm
from pangu_jax.models.parameters import Tree, normal, zeros
from pangu_jax.models.placement import Placement
from pangu_jax.models.projection import project, project_back
from pangu_jax.models.stack import Remat, run_layers

Stack = tuple[int, str | None]  # how many, and the logical axis that they are stacked along


class PerceptronBlock(nnx.Module):
    """`norm`, `up` [stack, embed, mlp] with `up_bias`, `down` like it with `down_bias` [stack, embed]."""

    def __init__(self, stack: Stack, width: int, hidden: int, rngs: nnx.Rngs):
        count, name = stack
        self.norm = LayerNorm(width, (stack,))
        self.up = normal(rngs, (count, width, hidden), (name, "embed", "mlp"), fan_in=width)
        self.up_bias = zeros((count, hidden), (name, "mlp"))
        self.down = normal(rngs, (count, width, hidden), (name, "embed", "mlp"), fan_in=hidden)
        self.down_bias = zeros((count, width), (name, "norm"))


class AttentionBlock(nnx.Module):
    """`norm`, `qkv` [stack, embed, heads, 3, kv], `out` [stack, embed, heads, kv], `out_bias`, and `qkv_bias`
    unless `biased` is false."""

    def __init__(self, stack: Stack, width: int, heads: int, rngs: nnx.Rngs, biased: bool = True):
        count, name = stack
        kv = width // heads
        self.norm = LayerNorm(width, (stack,))
        self.qkv = normal(
            rngs, (count, width, heads, 3, kv), (name, "embed", "heads", None, "kv"), fan_in=width
        )
        self.out = normal(rngs, (count, width, heads, kv), (name, "embed", "heads", "kv"), fan_in=width)
        if biased:
            self.qkv_bias = zeros((count, heads, 3, kv), (name, "heads", None, "kv"))
        self.out_bias = zeros((count, width), (name, "norm"))


def unit_length(x: jax.Array) -> jax.Array:
    """Of length 1 along the last axis; zeros stay."""
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-12)


def gelu_of(tanh: bool, quick: bool = False) -> Callable[[jax.Array], jax.Array]:
    """GELU by tanh, as Flax has it by default, by CLIP's sigmoid, or by the error function."""
    return quick_gelu if quick else jax.nn.gelu if tanh else gelu


# Those that the CPU's kernels know, and whether by tanh.
_OF_KERNELS: Mapping[Callable[[jax.Array], jax.Array], bool] = {gelu: False, jax.nn.gelu: True}


def perceptron(
    params: Tree,
    x_BxTxD: jax.Array,
    placement: Placement,
    activation: Callable[[jax.Array], jax.Array] = gelu,
    epsilon: float = 1e-6,
    after: bool = False,
) -> jax.Array:
    """x + down(activation(up(norm(x)))), of one block; `after`: norm(x + down(activation(up(x))))."""
    norm = params["norm"]
    if native.takes(placement, x_BxTxD, params["up"]):
        x, beside = (x_BxTxD, x_BxTxD) if after else native_blocks.normed(x_BxTxD, norm, epsilon)
        up, down = (Linear(params[name], params[f"{name}_bias"]) for name in ("up", "down"))
        by_tanh = _OF_KERNELS.get(activation)
        if by_tanh is None:
            hidden_BxTxF = activation(checkpoint_name(native_blocks.linear(x, up), "up"))
            y_BxTxD = native_blocks.linear_back(hidden_BxTxF, down, beside)
        else:
            y_BxTxD = native_blocks.perceptron(x, up, down, beside, by_tanh)
        y_BxTxD = native_blocks.normed(y_BxTxD, norm, epsilon)[0] if after else y_BxTxD
        return checkpoint_name(y_BxTxD, "residual")
    x = placement.enter(x_BxTxD if after else layer_norm(x_BxTxD, norm, epsilon))
    hidden_BxTxF = checkpoint_name(biased(project(x, params["up"]), params["up_bias"]), "up")
    hidden_BxTxF = placement.inside(activation(hidden_BxTxF), ("batch", "length", "mlp"))
    y_BxTxD = placement.leave(project_back(hidden_BxTxF, params["down"]))
    y_BxTxD = biased(x_BxTxD + y_BxTxD, params["down_bias"])
    return checkpoint_name(layer_norm(y_BxTxD, norm, epsilon) if after else y_BxTxD, "residual")


def self_attention(
    params: Tree,
    x_BxTxD: jax.Array,
    placement: Placement,
    seen_Bx1xTxT: jax.Array | None = None,
    epsilon: float = 1e-6,
    after: bool = False,
) -> jax.Array:
    """x + attention(norm(x)), of one block: every token looks at its picture, or at what it may see; `after`:
    norm(x + attention(x))."""
    norm = params["norm"]
    if native.takes(placement, x_BxTxD, params["qkv"]):
        x, beside = (x_BxTxD, x_BxTxD) if after else native_blocks.normed(x_BxTxD, norm, epsilon)
        projected = native_blocks.linear(x, Linear(params["qkv"], params.get("qkv_bias")))
        heads = _attend(projected, seen_Bx1xTxT, placement)
        y_BxTxD = native_blocks.linear_back(heads, Linear(params["out"], params["out_bias"]), beside)
        y_BxTxD = native_blocks.normed(y_BxTxD, norm, epsilon)[0] if after else y_BxTxD
        return checkpoint_name(y_BxTxD, "residual")
    x = placement.enter(x_BxTxD if after else layer_norm(x_BxTxD, norm, epsilon))
    heads_BxTxHxK = _attend(_projected(params, x, placement), seen_Bx1xTxT, placement)
    y_BxTxD = placement.leave(project_back(heads_BxTxHxK, params["out"]))
    y_BxTxD = biased(x_BxTxD + y_BxTxD, params["out_bias"])
    return checkpoint_name(layer_norm(y_BxTxD, norm, epsilon) if after else y_BxTxD, "residual")


def _projected(params: Tree, x_BxTxD: jax.Array, placement: Placement) -> jax.Array:
    """Queries, keys and values, [B, T, H, 3, K]."""
    qkv_DxHx3xK, bias_Hx3xK = params["qkv"], params.get("qkv_bias")
    if bias_Hx3xK is None:
        return project(x_BxTxD, qkv_DxHx3xK)
    if placement.platform != "gpu":
        return biased(project(x_BxTxD, qkv_DxHx3xK), bias_Hx3xK)
    # There a product takes a bias of one dimension along; a TPU would lay out weight and result anew.
    flat_BxTxN = project(x_BxTxD, qkv_DxHx3xK.reshape(x_BxTxD.shape[-1], -1))
    return biased(flat_BxTxN, bias_Hx3xK.reshape(-1)).reshape(*x_BxTxD.shape[:2], *bias_Hx3xK.shape)


def _attend(
    projected_BxTxHx3xK: jax.Array, seen_Bx1xTxT: jax.Array | None, placement: Placement
) -> jax.Array:
    """What each head makes of queries, keys and values, [B, T, H, K]."""
    projected_BxTxHx3xK = checkpoint_name(projected_BxTxHx3xK, "heads")
    scale = projected_BxTxHx3xK.shape[-1] ** -0.5
    if native.takes(placement, projected_BxTxHx3xK) and native_blocks.fits(projected_BxTxHx3xK, seen_Bx1xTxT):
        seen_BxTxT = None if seen_Bx1xTxT is None else seen_Bx1xTxT[:, 0]
        return checkpoint_name(native_blocks.self_attend(projected_BxTxHx3xK, seen_BxTxT, scale), "attention")
    plain = functools.partial(_attend_plainly, seen_Bx1xTxT=seen_Bx1xTxT, placement=placement)
    if seen_Bx1xTxT is not None:
        return plain(projected_BxTxHx3xK)
    return short_attention.attend(projected_BxTxHx3xK, placement, plain)


def _attend_plainly(
    projected_BxTxHx3xK: jax.Array, seen_Bx1xTxT: jax.Array | None, placement: Placement
) -> jax.Array:
    scale = projected_BxTxHx3xK.shape[-1] ** -0.5
    q, k, v = (placement.inside(part, attention.HEADS) for part in _parts(projected_BxTxHx3xK))
    seen = jnp.ones((1, 1, 1, 1), bool) if seen_Bx1xTxT is None else seen_Bx1xTxT
    heads = attention.attend(q * scale, k, v, seen, None)
    return placement.inside(heads, attention.HEADS).transpose(0, 2, 1, 3)


@jax.custom_vjp
def _parts(projected_BxTxHx3xK: jax.Array) -> tuple[jax.Array, ...]:
    """Queries, keys and values, [B, H, T, K] each."""
    return tuple(projected_BxTxHx3xK[:, :, :, part].transpose(0, 2, 1, 3) for part in range(3))


def _joined(_, gradients: tuple[jax.Array, ...]) -> tuple[jax.Array]:
    """A sum of padded arrays, which is made in one pass; joined, they are joined and then laid out anew."""
    padded = [
        jnp.pad(part.transpose(0, 2, 1, 3)[:, :, :, None], [(0, 0)] * 3 + [(at, 2 - at), (0, 0)])
        for at, part in enumerate(gradients)
    ]
    return (padded[0] + padded[1] + padded[2],)


_parts.defvjp(lambda projected: (_parts(projected), None), _joined)


Block = Callable[[Tree, jax.Array, Placement], jax.Array]


def run_blocks(
    kinds: Mapping[str, Block],
    params: Tree,
    logical: Tree,
    x_BxTxD: jax.Array,
    placement: Placement,
    remat: Remat,
    dtype: DTypeLike,
    unroll: int,
) -> jax.Array:
    """x through the stacked blocks of `params` by name: in each layer one of every kind, in their order.

    Args:
      kinds: what each name in `params` is; other names in `params` are passed over.
      params: arrays stacked along their first dimension.
      logical: their logical axes, in the structure of `params`.
      x_BxTxD: what goes in.
      placement: the placement points.
      remat: what the backward pass finds.
      dtype: of products.
      unroll: layers compiled as one iteration.
    """
    stacked = {name: params[name] for name in kinds}
    of_a_layer = jax.tree.map(
        lambda axes: axes[1:],
        {name: logical[name] for name in kinds},
        is_leaf=lambda axes: isinstance(axes, tuple),
    )

    def body(x: jax.Array, stored: Tree, index: jax.Array) -> jax.Array:
        del index
        layer = placement.weights(jax.tree.map(lambda w: w.astype(dtype), stored), of_a_layer)
        for name, block in kinds.items():
            x = block(layer[name], x, placement)
        return x

    return run_layers(body, stacked, x_BxTxD, remat=remat, unroll=unroll)


LAYER: Mapping[str, Block] = {"attention": self_attention, "perceptron": perceptron}  # of a transformer
