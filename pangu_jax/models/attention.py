"""Multi-head attention: fused projections, segment masks for packed windows, fp32 softmax."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from pangu_jax.models import native
from pangu_jax.models.normalization import biased
from pangu_jax.models.parameters import Tree, normal
from pangu_jax.models.placement import LogicalAxes, Placement
from pangu_jax.models.positions import Rotation, rotate
from pangu_jax.models.projection import project, project_back

HEADS = ("batch", "heads", "length", "kv")
PREFIX = ("heads", None, None, "kv")


class SelfAttention(nnx.Module):
    """Stacked weights: `qkv` [layers, embed, heads, 3, kv], `out` [layers, embed, heads, kv]."""

    def __init__(self, layers: int, d_model: int, heads: int, head_dim: int, rngs: nnx.Rngs):
        self.qkv = normal(
            rngs,
            (layers, d_model, heads, 3, head_dim),
            ("layers", "embed", "heads", None, "kv"),
            fan_in=d_model,
        )
        self.out = _output(layers, d_model, heads, head_dim, rngs)


class CrossAttention(nnx.Module):
    """Stacked weights: `query` [layers, embed, heads, kv], `key_value` [.., embed, heads, 2, kv], `out`."""

    def __init__(self, layers: int, d_model: int, heads: int, head_dim: int, rngs: nnx.Rngs):
        self.query = normal(
            rngs, (layers, d_model, heads, head_dim), ("layers", "embed", "heads", "kv"), fan_in=d_model
        )
        self.key_value = normal(
            rngs,
            (layers, d_model, heads, 2, head_dim),
            ("layers", "embed", "heads", None, "kv"),
            fan_in=d_model,
        )
        self.out = _output(layers, d_model, heads, head_dim, rngs)


def _output(layers: int, d_model: int, heads: int, head_dim: int, rngs: nnx.Rngs) -> nnx.Param:
    """Stored output first, as every weight that narrows: the dimension that FSDP gathers is the first."""
    return normal(
        rngs,
        (layers, d_model, heads, head_dim),
        ("layers", "embed", "heads", "kv"),
        fan_in=heads * head_dim,
    )


class AttentionMask(NamedTuple):
    """Which keys a query looks at: those of its own packed example, and none ahead of it if causal.

    Padding has segment 0 and sees only padding; its outputs carry no loss.

    Attributes:
      query_segments_BxT: int32, the queries of this device.
      key_segments_BxS: int32, all keys.
      query_index_T: int32, the position of each query in its window; None when it may look ahead.
    """

    query_segments_BxT: jax.Array
    key_segments_BxS: jax.Array
    query_index_T: jax.Array | None = None

    def as_array(self) -> jax.Array:
        """True where a query may look, bool [B, 1, T, S]."""
        mask_BxTxS = self.query_segments_BxT[:, :, None] == self.key_segments_BxS[:, None, :]
        if self.query_index_T is not None:
            mask_BxTxS &= self.query_index_T[:, None] >= jnp.arange(self.key_segments_BxS.shape[1])
        return mask_BxTxS[:, None]


Attend = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def self_attention(
    params: Tree, x_BxTxD: jax.Array, rotation: Rotation | None, attend: Attend, placement: Placement
) -> jax.Array:
    """Each token looks at its own sequence. Returns [B, T, D], a partial sum over the heads.

    `params["prefix"]` [heads, 2, prefix, kv], where a tuned model has it (P-tuning v2, Liu et al., arXiv
    2110.07602), is keys and values without a position that every query sees too.
    """
    q, k, v = project_heads(x_BxTxD, params["qkv"], None, placement)
    if rotation is not None:
        q, k = rotate(q, rotation), rotate(k, rotation)
    k, v = placement.whole_length(k, HEADS), placement.whole_length(v, HEADS)
    if "prefix" in params:
        k, v = put_before(params["prefix"], k, v)
    return merge(attend(q, k, v), params["out"], placement)


def put_before(prefix_Hx2xPxK: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Keys and values [B, H, S, K] with a layer's prefix in front of them, each [B, H, P + S, K]."""
    batch = k.shape[0]
    k_BxHxPxK, v_BxHxPxK = (
        jnp.broadcast_to(part.astype(k.dtype), (batch, *part.shape))
        for part in (prefix_Hx2xPxK[:, 0], prefix_Hx2xPxK[:, 1])
    )
    return jnp.concatenate([k_BxHxPxK, k], axis=2), jnp.concatenate([v_BxHxPxK, v], axis=2)


def over_prefix(keys: int, mask: jax.Array, bias: jax.Array | None) -> tuple[jax.Array, jax.Array | None]:
    """A mask and a bias [.., S] for all `keys`: whatever is before the S is seen, and has no bias."""
    before = keys - mask.shape[-1]
    if not before:
        return mask, bias
    pad = lambda x, value: jnp.pad(  # noqa: E731
        x, [(0, 0)] * (x.ndim - 1) + [(before, 0)], constant_values=value
    )
    return pad(mask, True), None if bias is None else pad(bias, 0)


def cross_attention(
    params: Tree, x_BxTxD: jax.Array, memory_BxSxD: jax.Array, attend: Attend, placement: Placement
) -> jax.Array:
    """Each decoder token looks at the encoder's output. Returns [B, T, D], a partial sum over the heads."""
    (q,) = project_heads(x_BxTxD, params["query"][:, :, None], None, placement)
    k, v = project_heads(memory_BxSxD, params["key_value"], None, placement)
    k, v = placement.whole_length(k, HEADS), placement.whole_length(v, HEADS)
    return merge(attend(q, k, v), params["out"], placement)


def project_heads(
    x_BxTxD: jax.Array,
    weight_DxHxCxK: jax.Array,
    bias_HxCxK: jax.Array | None,
    placement: Placement,
    axes: LogicalAxes = HEADS,
) -> list[jax.Array]:
    """C projections in one product, each [B, H, T, K]: the layout in which products over heads are plain.

    Heads come before C in the weight, so that it stays one matrix when its heads are split over devices;
    the parts are split off, not indexed, so that their gradients are joined in one copy.
    """
    by_kernel = native.takes(placement, x_BxTxD, weight_DxHxCxK)
    projected_BxTxHxCxK = checkpoint_name(project(x_BxTxD, weight_DxHxCxK, by_kernel), "heads")
    if bias_HxCxK is not None:
        projected_BxTxHxCxK = biased(projected_BxTxHxCxK, bias_HxCxK)
    parts = jnp.split(projected_BxTxHxCxK, weight_DxHxCxK.shape[2], axis=3)
    return [placement.inside(part[:, :, :, 0].transpose(0, 2, 1, 3), axes) for part in parts]


def merge(heads_BxHxTxK: jax.Array, out_DxHxK: jax.Array, placement: Placement) -> jax.Array:
    """The heads together again, [B, T, D], a partial sum over them."""
    heads_BxTxHxK = placement.inside(heads_BxHxTxK, HEADS).transpose(0, 2, 1, 3)
    return project_back(heads_BxTxHxK, out_DxHxK, native.takes(placement, heads_BxTxHxK, out_DxHxK))


@jax.custom_vjp
def attend(
    q_BxHxTxK: jax.Array,
    k_BxHxSxK: jax.Array,
    v_BxHxSxV: jax.Array,
    mask_Bx1xTxS: jax.Array,
    bias_HxTxS: jax.Array | None,
) -> jax.Array:
    """softmax(q k^T + bias, where mask) v, [B, H, T, V]; the softmax in fp32, values of any width.

    Probabilities stay unnormalised and the output is divided instead: a T x K division for a T x S one. The
    backward pass is written out, with sum(dO * O) for the softmax's row sums (Dao et al., arXiv 2205.14135).
    """
    return _attend(q_BxHxTxK, k_BxHxSxK, v_BxHxSxV, mask_Bx1xTxS, bias_HxTxS)[0]


def _attend(q, k, v, mask, bias):
    scores_BxHxTxS = jnp.einsum("bhtk,bhsk->bhts", q, k, preferred_element_type=jnp.float32)
    if bias is not None:
        scores_BxHxTxS += bias.astype(jnp.float32)
    scores_BxHxTxS = jnp.where(mask, scores_BxHxTxS, jnp.finfo(jnp.float32).min)
    exp_BxHxTxS = jnp.exp(scores_BxHxTxS - jnp.max(scores_BxHxTxS, axis=-1, keepdims=True))
    inverse_BxHxTx1 = 1.0 / jnp.sum(exp_BxHxTxS, axis=-1, keepdims=True)
    exp_BxHxTxS = exp_BxHxTxS.astype(v.dtype)
    out = jnp.einsum("bhts,bhsk->bhtk", exp_BxHxTxS, v, preferred_element_type=jnp.float32)
    # Named here, where the backward pass finds it too: a name given by the caller is of another array.
    out = checkpoint_name((out * inverse_BxHxTx1).astype(v.dtype), "attention")
    return out, (q, k, v, bias, exp_BxHxTxS, inverse_BxHxTx1, out)


def _attend_backward(saved, d_out):
    q, k, v, bias, exp_BxHxTxS, inverse_BxHxTx1, out = saved
    d_out = d_out.astype(jnp.float32) * inverse_BxHxTx1
    row_BxHxTx1 = jnp.sum(d_out * out.astype(jnp.float32), axis=-1, keepdims=True)
    d_out = d_out.astype(v.dtype)
    d_v = jnp.einsum("bhts,bhtk->bhsk", exp_BxHxTxS, d_out)
    d_exp_BxHxTxS = jnp.einsum("bhtk,bhsk->bhts", d_out, v, preferred_element_type=jnp.float32)
    d_scores_BxHxTxS = exp_BxHxTxS.astype(jnp.float32) * (d_exp_BxHxTxS - row_BxHxTx1)
    d_bias = None if bias is None else jnp.sum(d_scores_BxHxTxS, axis=0).astype(bias.dtype)
    d_scores_BxHxTxS = d_scores_BxHxTxS.astype(q.dtype)
    d_q = jnp.einsum("bhts,bhsk->bhtk", d_scores_BxHxTxS, k)
    d_k = jnp.einsum("bhts,bhtk->bhsk", d_scores_BxHxTxS, q)
    return d_q, d_k, d_v, None, d_bias


attend.defvjp(_attend, _attend_backward)
