"""Multi-head attention: fused projections, segment masks for packed windows, fp32 softmax."""

import jax
import jax.numpy as jnp
from flax import nnx

from pangu_jax.models.parameters import Tree, normal
from pangu_jax.models.placement import Placement
from pangu_jax.models.positions import Rotation, rotate

HEADS = ("batch", "length", "heads", "kv")


class SelfAttention(nnx.Module):
    """Stacked weights: `qkv` [layers, embed, 3, heads, kv], `out` [layers, heads, kv, embed]."""

    def __init__(self, layers: int, d_model: int, heads: int, head_dim: int, rngs: nnx.Rngs):
        self.qkv = normal(
            rngs,
            (layers, d_model, 3, heads, head_dim),
            ("layers", "embed", None, "heads", "kv"),
            fan_in=d_model,
        )
        self.out = _output(layers, d_model, heads, head_dim, rngs)


class CrossAttention(nnx.Module):
    """Stacked weights: `query` [layers, embed, heads, kv], `key_value` [.., embed, 2, heads, kv], `out`."""

    def __init__(self, layers: int, d_model: int, heads: int, head_dim: int, rngs: nnx.Rngs):
        self.query = normal(
            rngs, (layers, d_model, heads, head_dim), ("layers", "embed", "heads", "kv"), fan_in=d_model
        )
        self.key_value = normal(
            rngs,
            (layers, d_model, 2, heads, head_dim),
            ("layers", "embed", None, "heads", "kv"),
            fan_in=d_model,
        )
        self.out = _output(layers, d_model, heads, head_dim, rngs)


def _output(layers: int, d_model: int, heads: int, head_dim: int, rngs: nnx.Rngs) -> nnx.Param:
    return normal(
        rngs,
        (layers, heads, head_dim, d_model),
        ("layers", "heads", "kv", "embed"),
        fan_in=heads * head_dim,
    )


def segment_mask(query_segments_BxT: jax.Array, key_segments_BxS: jax.Array, *, causal: bool) -> jax.Array:
    """True where a query may look, bool [B, 1, T, S]: the same packed example, and not ahead if causal.

    Padding has segment 0 and sees only padding; its outputs carry no loss.
    """
    mask_BxTxS = query_segments_BxT[:, :, None] == key_segments_BxS[:, None, :]
    if causal:
        length = query_segments_BxT.shape[1]
        mask_BxTxS &= jnp.tril(jnp.ones((length, length), bool))
    return mask_BxTxS[:, None]


def self_attention(
    params: Tree,
    x_BxTxD: jax.Array,
    mask_Bx1xTxT: jax.Array,
    rotation: Rotation | None,
    bias_HxTxT: jax.Array | None,
    scale: float,
    placement: Placement,
) -> jax.Array:
    """Each token looks at its own sequence. Returns [B, T, D], a partial sum over the heads."""
    qkv = jnp.einsum("btd,dchk->cbthk", x_BxTxD, params["qkv"])
    q, k, v = (placement.inside(qkv[i], HEADS) for i in range(3))
    if rotation is not None:
        q, k = rotate(q, rotation), rotate(k, rotation)
    return _attend(q, k, v, mask_Bx1xTxT, bias_HxTxT, scale, params["out"], placement)


def cross_attention(
    params: Tree,
    x_BxTxD: jax.Array,
    memory_BxSxD: jax.Array,
    mask_Bx1xTxS: jax.Array,
    scale: float,
    placement: Placement,
) -> jax.Array:
    """Each decoder token looks at the encoder's output. Returns [B, T, D], a partial sum over the heads."""
    q = placement.inside(jnp.einsum("btd,dhk->bthk", x_BxTxD, params["query"]), HEADS)
    kv = jnp.einsum("bsd,dchk->cbshk", memory_BxSxD, params["key_value"])
    k, v = (placement.inside(kv[i], HEADS) for i in range(2))
    return _attend(q, k, v, mask_Bx1xTxS, None, scale, params["out"], placement)


def _attend(
    q_BxTxHxK: jax.Array,
    k_BxSxHxK: jax.Array,
    v_BxSxHxK: jax.Array,
    mask_Bx1xTxS: jax.Array,
    bias_HxTxS: jax.Array | None,
    scale: float,
    out_HxKxD: jax.Array,
    placement: Placement,
) -> jax.Array:
    scores_BxHxTxS = jnp.einsum("bthk,bshk->bhts", q_BxTxHxK * scale, k_BxSxHxK).astype(jnp.float32)
    if bias_HxTxS is not None:
        scores_BxHxTxS += bias_HxTxS.astype(jnp.float32)
    scores_BxHxTxS = jnp.where(mask_Bx1xTxS, scores_BxHxTxS, jnp.finfo(jnp.float32).min)
    weights_BxHxTxS = jax.nn.softmax(scores_BxHxTxS, axis=-1).astype(v_BxSxHxK.dtype)
    heads_BxTxHxK = placement.inside(jnp.einsum("bhts,bshk->bthk", weights_BxHxTxS, v_BxSxHxK), HEADS)
    return jnp.einsum("bthk,hkd->btd", heads_BxTxHxK, out_HxKxD)
