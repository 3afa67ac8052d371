"""Attention on NVIDIA's GPUs by cuDNN's fused kernel: scores of a head are never in memory.

Kernel: `jax.nn.dot_product_attention(.., implementation="cudnn")` (after Dao et al., arXiv 2205.14135). It
has not run on a GPU here: it is compiled by XLA's compiler for GPUs, and its numbers are compared by the same
call with `implementation="xla"`, which is what JAX documents the kernel to compute. Where a layer is
rematerialised the kernel runs forward once more: what it gives has no name that `stack.SAVED` could keep.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from pangu_jax.models.attention import HEADS, AttentionMask, over_prefix
from pangu_jax.models.placement import LogicalAxes, Placement

WIDEST = 128  # of a head; Hopper takes 256, which a program for an absent chip cannot be known to be for
MULTIPLE = 8
QUERIES = ("batch", "heads", None, "kv")  # of a window that is whole, and keys of as many heads
KEYS = ("batch", "kv_heads", None, "kv")
SEGMENTS = ("batch", None)


def refusal(
    q_BxHxTxK: jax.Array, k_BxGxSxK: jax.Array, v_BxGxSxV: jax.Array, *, trains: bool = True
) -> str | None:
    """Why cuDNN does not take these, or None. Its backward pass, where it `trains`, takes less."""
    width, values = q_BxHxTxK.shape[-1], v_BxGxSxV.shape[-1]
    if q_BxHxTxK.dtype != jnp.bfloat16:
        return f"{q_BxHxTxK.dtype.name}, and cuDNN takes bfloat16"
    if width != values:
        return f"keys of {width} and values of {values}, and cuDNN takes equal ones"
    if width > WIDEST or width % MULTIPLE:
        return f"heads of {width}, and cuDNN takes multiples of {MULTIPLE} up to {WIDEST}"
    if trains and (q_BxHxTxK.shape[2] % 2 or k_BxGxSxK.shape[2] % 2):
        return f"{q_BxHxTxK.shape[2]} queries and {k_BxGxSxK.shape[2]} keys, and cuDNN takes even numbers"
    return None


def attend(
    q_BxHxTxK: jax.Array,
    k_BxGxSxK: jax.Array,
    v_BxGxSxK: jax.Array,
    mask: AttentionMask,
    bias_HxTxS: jax.Array | None,
    scale: float,
    placement: Placement,
    *,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> jax.Array:
    """softmax(scale q k^T + bias, where mask) v, [B, H, T, K], bfloat16.

    Masks reach the kernel as a bias, [B, 1, T, S] in bfloat16: once per window, not per head. A bias per
    head is added to it, rounded to bfloat16, and the sum is [B, H, T, S], as large as the scores would be.

    Args:
      q_BxHxTxK: not scaled. Head h of queries reads head h // (H / G) of keys.
      k_BxGxSxK: all keys; those before the mask's (a prefix) are seen by every query and have no bias.
      v_BxGxSxK: their values.
      mask: who sees whom.
      bias_HxTxS: on the scores, or None.
      scale: factor on the scores.
      placement: of the tensors.
      implementation: "xla" is the reference, for any device.
    """
    arrays = [q_BxHxTxK, k_BxGxSxK, v_BxGxSxK, mask.query_segments_BxT, mask.key_segments_BxS]
    keys = _axes_of_keys(q_BxHxTxK, k_BxGxSxK)
    axes: list[LogicalAxes] = [HEADS, keys, keys, ("batch", "length"), SEGMENTS]
    there = []
    for name, array, its_axes in (
        ("index", mask.query_index_T, ("length",)),
        ("bias", bias_HxTxS, ("heads", "length", None)),
    ):
        if array is not None:
            there.append(name)
            arrays.append(array)
            axes.append(its_axes)

    def local(q, k, v, query_segments_BxT, key_segments_BxS, *rest) -> jax.Array:
        given = dict(zip(there, rest, strict=True))
        queries, all_keys = q.shape[2], k.shape[2]
        index_T = given.get("index")
        # Queries that are all of the window need no positions: the kernel skips the half that is ahead.
        causal = index_T is not None and queries == key_segments_BxS.shape[1] == all_keys
        seen = AttentionMask(query_segments_BxT, key_segments_BxS, None if causal else index_T).as_array()
        seen, bias = over_prefix(all_keys, seen, given.get("bias"))
        return _attention(q, k, v, bias, seen, scale, causal, implementation)

    return placement.locally(local, tuple(arrays), tuple(axes), HEADS)


def attend_seen(
    q_BxHxMxK: jax.Array,
    k_BxGxCxK: jax.Array,
    v_BxGxCxK: jax.Array,
    seen_Bx1xMxC: jax.Array,
    bias_HxMxC: jax.Array | None,
    placement: Placement,
    *,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> jax.Array:
    """softmax(q k^T + bias, where seen) v, [B, H, M, K], of many tokens that meet a cache; q is scaled."""
    keys = _axes_of_keys(q_BxHxMxK, k_BxGxCxK)
    seen = jnp.broadcast_to(seen_Bx1xMxC, (*seen_Bx1xMxC.shape[:2], q_BxHxMxK.shape[2], k_BxGxCxK.shape[2]))
    arrays, axes = (q_BxHxMxK, k_BxGxCxK, v_BxGxCxK, seen), (QUERIES, keys, keys, ("batch", None, None, None))
    if bias_HxMxC is not None:
        arrays, axes = (*arrays, bias_HxMxC), (*axes, ("heads", None, None))

    def local(q, k, v, seen, bias=None) -> jax.Array:
        return _attention(q, k, v, bias, seen, 1.0, False, implementation)

    return placement.locally(local, arrays, axes, QUERIES)


def _axes_of_keys(q_BxHxTxK: jax.Array, k_BxGxSxK: jax.Array) -> LogicalAxes:
    return QUERIES if k_BxGxSxK.shape[1] == q_BxHxTxK.shape[1] else KEYS


def _attention(q, k, v, bias_HxTxS, mask, scale: float, causal: bool, implementation) -> jax.Array:
    """Of queries [B, H, T, K] and the others on one device, by JAX's public call."""
    q, k, v = (x.transpose(0, 2, 1, 3) for x in (q, k, v))
    bias = None if bias_HxTxS is None else bias_HxTxS[None].astype(q.dtype)
    try:
        attended = jax.nn.dot_product_attention(
            q, k, v, bias, mask, scale=scale, is_causal=causal, implementation=implementation
        )
    except RuntimeError as error:
        if "cuDNN" not in str(error) or jax.default_backend() == "gpu":
            raise
        attended = _without_the_library(q, k, v, bias, mask, scale, causal)
    return attended.transpose(0, 2, 1, 3)


def _without_the_library(q, k, v, bias, mask, scale: float, causal: bool) -> jax.Array:
    """The same call for a GPU that is not here, where cuDNN (500 MB) need not be either.

    JAX asks the library for its version while it traces, and for nothing else. Here the plugin's word for the
    version that it was built for is the answer, given to the function below JAX's public one.
    """
    from jax._src.cudnn import fused_attention_stablehlo as fused
    from jax._src.lib import cuda_versions

    assert cuda_versions is not None
    kernel: Any = fused._dot_product_attention
    added = fused.combine_bias_and_mask(bias, mask, q.dtype)
    nothing = jnp.zeros(0, q.dtype)
    mask_type = fused.MaskType.CAUSAL if causal else fused.MaskType.NO_MASK
    return kernel(
        *(q, k, v, added, *(nothing,) * 6),
        *(scale, 42, 0.0, (True, True), mask_type, fused.AttentionLayout.BTNH.value, None),
        *(cuda_versions.cudnn_build_version(), False),
    )
