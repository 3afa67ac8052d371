"""Latent attention a few tokens at a time: of a token the cache keeps its latent and its shared key alone.

Two equal forms. The plain one expands the cache to all heads' keys and values. The absorbed one
(DeepSeek-V2, arXiv 2405.04434, 2.1.2) moves that expansion to the other side of each product: a query is
brought into the latent's space, where the cache itself is the key and the value of every head, and what a
head has summed of latents is brought to its values afterwards. It never makes anything per head and column.

Weights are stored outputs first, and activations are feature-major, [features, rows]: for few rows.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from pangu_jax.models.latent_attention import LatentWidths, half_layout
from pangu_jax.models.normalization import rms_norm
from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import Placement
from pangu_jax.models.positions import Rotation, rotate

# Logical axes of a layer's weights in the form of `prepare`.
AXES = {
    "query_down": (None, "embed"),
    "own_query": ("heads", "kv", "embed"),
    "latent_down": (None, "embed"),
    "key_up": ("heads", "kv", "embed"),
    "value_up": ("heads", "kv", "embed"),
    "out": ("embed", "heads", "kv"),
}
CACHE = ("batch", None, None)
HEADS = ("batch", "heads", None, "kv")

Times = Callable[[str, jax.Array], jax.Array]
Attend = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]


def prepare(params: Tree, widths: LatentWidths) -> tuple[Tree, Tree]:
    """A layer's weights, outputs first, and the scales of its norms.

    Queries carry the factor on the scores, and rotary parts turn in halves.

    Returns:
      weights by the names of `AXES`; "latent_norm" and, where queries have a latent, "query_norm".
    """
    params = half_layout(params, widths)
    key_up, value_up = jnp.split(params["key_value"], [widths.plain], axis=-1)
    weights = {
        "own_query": jnp.moveaxis(params["query"] * widths.scale, 0, -1),
        "latent_down": params["down"].T,
        "key_up": jnp.moveaxis(key_up, 0, -1),
        "value_up": jnp.moveaxis(value_up, 0, -1),
        "out": params["out"],
    }
    norms = {"latent_norm": params["norm"]["scale"]}
    if "query_down" in params:
        weights["query_down"] = params["query_down"].T
        norms["query_norm"] = params["query_norm"]["scale"]
    return weights, norms


def empty(widths: LatentWidths, batch: int, columns: int, dtype: jax.typing.DTypeLike) -> jax.Array:
    """A layer's cache of zeros, [B, C, rank + rotary]: it is the same for all heads."""
    return jnp.zeros((batch, columns, widths.cached), dtype)


def absorbs(widths: LatentWidths, new: int) -> bool:
    """Whether so many new tokens cost fewer FLOPs in the absorbed form.

    Per column and head the plain form expands once, and the absorbed one has longer products for each token.
    """
    expansion = widths.rank * (widths.plain + widths.value)
    longer = widths.cached + widths.rank - widths.key - widths.value
    return new * longer < expansion


def extend(
    times: Times,
    layer: Tree,
    x_DxR: jax.Array,
    rotation: Rotation,
    cache_BxCxE: jax.Array,
    column: jax.Array | int,
    visible_BxMxC: jax.Array,
    attend: Attend,
    widths: LatentWidths,
    placement: Placement,
    absorbed: bool | None = None,
) -> tuple[jax.Array, jax.Array]:
    """M new tokens of each example, written into the cache's columns from `column` on.

    Args:
      times: a weight of the layer by its name, times columns: [*outputs, R].
      layer: "key_up", "value_up" and the norms' scales, as they are multiplied.
      x_DxR: the normed residual stream of R = B * M rows.
      rotation: of the new tokens.
      cache_BxCxE: from `empty` or an earlier call.
      column: the first of their columns.
      visible_BxMxC: bool, which columns each token looks at; its own must be among them.
      attend: softmax(q k, where mask) v of q [B, H, M, K], k [B, H, K, C] and v [B, H, C, V].
      widths: the widths that the weights have.
      placement: where things live; a device has its heads, and whole latents.
      absorbed: the form; None takes the one with fewer FLOPs.

    Returns:
      [D, R], a partial sum over the heads; and the new cache.
    """
    batch, new, _ = visible_BxMxC.shape
    down_ExR = times("latent_down", x_DxR)
    latent_RxE, shared_RxP = jnp.split(down_ExR.T, [widths.rank], axis=-1)
    latent_RxE = rms_norm(latent_RxE, layer["latent_norm"], widths.epsilon)
    shared_BxMxP = rotate(shared_RxP.reshape(batch, 1, new, -1), rotation)[:, 0]
    written_BxMxE = jnp.concatenate([latent_RxE.reshape(batch, new, -1), shared_BxMxP], axis=-1)
    cache_BxCxE = jax.lax.dynamic_update_slice(cache_BxCxE, written_BxMxE, (0, column, 0))
    cache_BxCxE = placement.inside(cache_BxCxE, CACHE)

    if "query_norm" in layer:
        x_DxR = rms_norm(times("query_down", x_DxR).T, layer["query_norm"], widths.epsilon).T
    q_HxKxR = times("own_query", x_DxR)
    q_BxHxMxK = q_HxKxR.reshape(*q_HxKxR.shape[:2], batch, new).transpose(2, 0, 3, 1)
    plain, rotary = jnp.split(placement.inside(q_BxHxMxK, HEADS), [widths.plain], axis=-1)
    queries = plain, rotate(rotary, rotation)

    if absorbed is None:
        absorbed = absorbs(widths, new)
    form = _absorbed if absorbed else _plain
    heads_BxHxMxV = placement.inside(form(queries, cache_BxCxE, visible_BxMxC, attend, layer, widths), HEADS)
    heads_HxVxR = heads_BxHxMxV.transpose(1, 3, 0, 2).reshape(*heads_BxHxMxV.shape[1::2], batch * new)
    return times("out", heads_HxVxR), cache_BxCxE


def _plain(
    queries: tuple[jax.Array, jax.Array],
    cache_BxCxE: jax.Array,
    visible_BxMxC: jax.Array,
    attend: Attend,
    layer: Tree,
    widths: LatentWidths,
) -> jax.Array:
    """[B, H, M, value], from the keys and values of all columns."""
    latent_BxCxL, shared_BxCxP = jnp.split(cache_BxCxE, [widths.rank], axis=-1)
    plain_BxHxKxC = jnp.einsum("hkl,bcl->bhkc", layer["key_up"], latent_BxCxL)
    shared = jnp.swapaxes(shared_BxCxP, 1, 2)[:, None]
    shared = jnp.broadcast_to(shared, (*plain_BxHxKxC.shape[:2], *shared.shape[2:]))
    keys_BxHxKxC = jnp.concatenate([plain_BxHxKxC, shared], axis=2)
    values_BxHxCxV = jnp.einsum("hvl,bcl->bhcv", layer["value_up"], latent_BxCxL)
    return attend(jnp.concatenate(queries, axis=-1), keys_BxHxKxC, values_BxHxCxV, visible_BxMxC[:, None])


def _absorbed(
    queries: tuple[jax.Array, jax.Array],
    cache_BxCxE: jax.Array,
    visible_BxMxC: jax.Array,
    attend: Attend,
    layer: Tree,
    widths: LatentWidths,
) -> jax.Array:
    """[B, H, M, value], of one key and one value per column: all heads' tokens are queries of one head."""
    plain, rotary = queries
    batch, heads, new, _ = plain.shape
    q_BxHxMxE = jnp.concatenate([jnp.einsum("bhmk,hkl->bhml", plain, layer["key_up"]), rotary], axis=-1)
    visible_Bx1xNxC = jnp.tile(visible_BxMxC, (1, heads, 1))[:, None]
    summed_Bx1xNxL = attend(
        q_BxHxMxE.reshape(batch, 1, heads * new, -1),
        jnp.swapaxes(cache_BxCxE, 1, 2)[:, None],
        cache_BxCxE[:, None, :, : widths.rank],
        visible_Bx1xNxC,
    )
    summed_BxHxMxL = summed_Bx1xNxL.reshape(batch, heads, new, -1)
    return jnp.einsum("bhml,hvl->bhmv", summed_BxHxMxL, layer["value_up"])
