"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): keys and values come from a narrow latent.

A token is projected to a latent, which all heads expand to their keys and values, and to one key that all
heads share and that alone carries positions. A cache holds both and nothing per head (`latent_cache.py`).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from pangu_jax.models import native
from pangu_jax.models.attention import HEADS, Attend, merge
from pangu_jax.models.normalization import EPSILON, RMSNorm, rms_norm
from pangu_jax.models.parameters import Tree, normal
from pangu_jax.models.placement import Placement
from pangu_jax.models.positions import Rotation, rotate
from pangu_jax.models.projection import project

LATENT = ("batch", "length", None)


@dataclass(frozen=True)
class LatentWidths:
    """Widths of latent attention, and how its positions are laid out.

    Args:
      rank: width of the latent of keys and values.
      query_rank: width of the latent of queries; None projects queries straight from the residual stream.
      plain: width of the part of a head's queries and keys that has no position.
      rotary: width of the part that has one; its key is shared by all heads.
      value: width of a head's values.
      interleaved: published weights turn the pairs (2i, 2i + 1) of the rotary part; False turns (first half,
        second half), as all other attention here does.
      epsilon: beside the mean square in the norms of both latents.
    """

    rank: int = 512
    query_rank: int | None = None
    plain: int = 128
    rotary: int = 64
    value: int = 128
    interleaved: bool = True
    epsilon: float = EPSILON

    def __post_init__(self):
        for name in ("rank", "plain", "value"):
            if getattr(self, name) < 1:
                raise ValueError(f"LatentAttention.{name} must be at least 1, got {getattr(self, name)}")
        if self.query_rank is not None and self.query_rank < 1:
            raise ValueError(f"LatentAttention.query_rank must be at least 1, or None: got {self.query_rank}")
        if self.rotary < 2 or self.rotary % 2:
            raise ValueError(f"LatentAttention.rotary turns pairs: it must be even, got {self.rotary}")

    @property
    def key(self) -> int:
        """Width of a head's queries and keys."""
        return self.plain + self.rotary

    @property
    def scale(self) -> float:
        """Factor on the scores."""
        return self.key**-0.5

    @property
    def cached(self) -> int:
        """Numbers that a cache keeps of a token in each layer."""
        return self.rank + self.rotary

    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide: latents are stored in shards as widths are."""
        query = {} if self.query_rank is None else {"query_latent_embed": self.query_rank}
        return {"latent_embed": self.rank, **query}


class LatentAttention(nnx.Module):
    """Stacked weights, [layers, ...]: `query_down` [embed, query rank], `query_norm` and `query` [query rank,
    heads, plain + rotary]; or `query` [embed, heads, plain + rotary] alone. `down` [embed, rank + rotary]
    makes the latent and then the shared key, `norm` is the latent's, `key_value` [rank, heads, plain + value]
    makes a head's keys and then its values, `out` [embed, heads, value].

    A latent's dimension has the axis `embed`, as any width that FSDP cuts.
    """

    def __init__(self, layers: int, d_model: int, heads: int, widths: LatentWidths, rngs: nnx.Rngs):
        def weight(shape: tuple[int, ...], axes: tuple[str | None, ...], fan_in: int) -> nnx.Param:
            return normal(rngs, (layers, *shape), ("layers", *axes), fan_in)

        read, joined = widths.query_rank or d_model, widths.rank + widths.rotary
        if widths.query_rank is not None:
            self.query_down = weight((d_model, read), ("embed", None), d_model)
            self.query_norm = RMSNorm(read, layers)
        self.query = weight((read, heads, widths.key), ("embed", "heads", "kv"), read)
        self.down = weight((d_model, joined), ("embed", None), d_model)
        self.norm = RMSNorm(widths.rank, layers)
        expanded = (widths.rank, heads, widths.plain + widths.value)
        self.key_value = weight(expanded, ("embed", "heads", "kv"), widths.rank)
        out = (d_model, heads, widths.value)
        self.out = weight(out, ("embed", "heads", "kv"), heads * widths.value)


def latent_attention(
    params: Tree,
    x_BxTxD: jax.Array,
    rotation: Rotation,
    attend: Attend,
    widths: LatentWidths,
    placement: Placement,
) -> jax.Array:
    """Each token looks at its own sequence. Returns [B, T, D], a partial sum over the heads.

    `attend` takes queries and keys of width plain + rotary and values of another width; it scales by
    `widths.scale`. The backward pass finds the latents and expands them anew ("heads" of `stack.SAVED` is
    theirs): what the heads make of them is 15 times as wide at the published size.

    Args:
      params: of a layer, see `LatentAttention`.
      x_BxTxD: the normed residual stream.
      rotation: of the rotary part, see `positions.rotation`.
      attend: scores, softmax and sum.
      widths: the widths that `params` have.
      placement: where things live; a device works on its heads, and on whole latents.
    """
    params = half_layout(params, widths)
    q_BxHxTxK = _queries(params, x_BxTxD, rotation, widths, placement)
    down_BxTxE = checkpoint_name(_times(x_BxTxD, params["down"], placement), "heads")
    latent_BxTxR, shared_BxTxP = jnp.split(down_BxTxE, [widths.rank], axis=-1)
    latent_BxTxR = rms_norm(latent_BxTxR, params["norm"]["scale"], widths.epsilon)
    shared_BxTxP = rotate(shared_BxTxP[:, None], rotation)[:, 0]
    # Where the length is split, what is gathered is the latent: all heads' keys are as many times its width.
    latent_BxSxR = placement.whole_length(placement.inside(latent_BxTxR, LATENT), LATENT)
    shared_BxSxP = placement.whole_length(placement.inside(shared_BxTxP, LATENT), LATENT)
    k_BxHxSxK, v_BxHxSxV = _expanded(params, latent_BxSxR, shared_BxSxP, widths, placement)
    return merge(attend(q_BxHxTxK, k_BxHxSxK, v_BxHxSxV), params["out"], placement)


def half_layout(params: Tree, widths: LatentWidths) -> Tree:
    """A layer's weights whose rotary parts turn in halves: scores are the same, since q and k are both moved.

    Columns of weights are moved, not activations: there are fewer of them, and decoding does it once.
    """
    if not widths.interleaved:
        return params
    moved = {name: _pairs_to_halves(params[name], widths.rotary) for name in ("query", "down")}
    return {**params, **moved}


def _pairs_to_halves(weight: jax.Array, rotary: int) -> jax.Array:
    """The last `rotary` columns, (0, 1), (2, 3), ... as all that are first of a pair and then all second."""
    kept, pairs = jnp.split(weight, [weight.shape[-1] - rotary], axis=-1)
    pairs = pairs.reshape(*pairs.shape[:-1], rotary // 2, 2).swapaxes(-1, -2).reshape(pairs.shape)
    return jnp.concatenate([kept, pairs], axis=-1)


def _queries(
    params: Tree, x_BxTxD: jax.Array, rotation: Rotation, widths: LatentWidths, placement: Placement
) -> jax.Array:
    """[B, H, T, plain + rotary], the rotary part turned."""
    if "query_down" in params:
        read_BxTxQ = checkpoint_name(_times(x_BxTxD, params["query_down"], placement), "heads")
        read_BxTxQ = rms_norm(read_BxTxQ, params["query_norm"]["scale"], widths.epsilon)
        q_BxTxHxK = _times(read_BxTxQ, params["query"], placement)
    else:
        q_BxTxHxK = checkpoint_name(_times(x_BxTxD, params["query"], placement), "heads")
    q_BxHxTxK = placement.inside(q_BxTxHxK.transpose(0, 2, 1, 3), HEADS)
    plain, rotary = jnp.split(q_BxHxTxK, [widths.plain], axis=-1)
    return jnp.concatenate([plain, rotate(rotary, rotation)], axis=-1)


def _expanded(
    params: Tree,
    latent_BxSxR: jax.Array,
    shared_BxSxP: jax.Array,
    widths: LatentWidths,
    placement: Placement,
) -> tuple[jax.Array, jax.Array]:
    """Keys [B, H, S, plain + rotary] and values [B, H, S, value] of all heads."""
    axes = ("batch", "heads", None, "kv")
    expanded_BxHxSxE = _times(latent_BxSxR, params["key_value"], placement).transpose(0, 2, 1, 3)
    plain, values = jnp.split(placement.inside(expanded_BxHxSxE, axes), [widths.plain], axis=-1)
    shared = jnp.broadcast_to(shared_BxSxP[:, None], (*plain.shape[:3], widths.rotary))
    return jnp.concatenate([plain, shared], axis=-1), values


def _times(x: jax.Array, weight: jax.Array, placement: Placement) -> jax.Array:
    return project(x, weight, native.takes(placement, x, weight))
