"""Self-attention whose heads of queries share heads of keys and values (Ainslie et al., arXiv 2305.13245)."""

import jax
import jax.numpy as jnp
from flax import nnx

from pangu_jax.models.attention import HEADS, Attend, merge, project_heads, put_before
from pangu_jax.models.parameters import Tree, normal, zeros
from pangu_jax.models.placement import Placement
from pangu_jax.models.positions import Rotation, rotate

KV_HEADS = ("batch", "kv_heads", "length", "kv")


class GroupedAttention(nnx.Module):
    """Stacked weights: `query` and `out` [layers, embed, heads, kv], `key_value` [layers, embed, kv_heads, 2,
    kv]; where there are biases `query_bias` [layers, heads, kv], `key_value_bias`
    [layers, kv_heads, 2, kv], and `out_bias` [layers, embed], which is added where the heads' sum is.
    """

    def __init__(
        self,
        layers: int,
        d_model: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        biases: bool,
        rngs: nnx.Rngs,
    ):
        of_heads = ("layers", "embed", "heads", "kv")
        self.query = normal(rngs, (layers, d_model, heads, head_dim), of_heads, fan_in=d_model)
        self.key_value = normal(
            rngs,
            (layers, d_model, kv_heads, 2, head_dim),
            ("layers", "embed", "kv_heads", None, "kv"),
            fan_in=d_model,
        )
        self.out = normal(rngs, (layers, d_model, heads, head_dim), of_heads, fan_in=heads * head_dim)
        if biases:
            self.query_bias = zeros((layers, heads, head_dim), ("layers", "heads", "kv"))
            self.key_value_bias = zeros((layers, kv_heads, 2, head_dim), ("layers", "kv_heads", None, "kv"))
            self.out_bias = zeros((layers, d_model), ("layers", "norm"))


def grouped_attention(
    params: Tree,
    x_BxTxD: jax.Array,
    rotation: Rotation | None,
    attend: Attend,
    placement: Placement,
    queries_BxTxD: jax.Array | None = None,
) -> jax.Array:
    """Each token looks at its own sequence. Returns [B, T, D], a partial sum over the heads, without a bias.

    `params["prefix"]` as in `attention.self_attention`, [kv_heads, 2, prefix, kv]. Queries are made of
    `queries` where they are given, and of x otherwise.
    """
    asking_BxTxD = x_BxTxD if queries_BxTxD is None else queries_BxTxD
    (q,) = project_heads(asking_BxTxD, params["query"][:, :, None], _bias(params, "query"), placement, HEADS)
    k, v = project_heads(x_BxTxD, params["key_value"], _bias(params, "key_value"), placement, KV_HEADS)
    if rotation is not None:
        q, k = rotate(q, rotation), rotate(k, rotation)
    k, v = placement.whole_length(k, KV_HEADS), placement.whole_length(v, KV_HEADS)
    if "prefix" in params:
        k, v = put_before(params["prefix"], k, v)
    return merge(attend(q, k, v), params["out"], placement)


def each_for(q_BxHxTxK: jax.Array, kv_BxGxSxK: jax.Array) -> jax.Array:
    """Keys or values for every head of queries, [B, H, S, K]: head h reads h // (H / G)."""
    times = q_BxHxTxK.shape[1] // kv_BxGxSxK.shape[1]
    return kv_BxGxSxK if times == 1 else jnp.repeat(kv_BxGxSxK, times, axis=1)


def _bias(params: Tree, name: str) -> jax.Array | None:
    """A bias in the form of its weight, [heads, parts, kv]."""
    bias = params.get(f"{name}_bias")
    return bias[:, None] if bias is not None and bias.ndim == 2 else bias
