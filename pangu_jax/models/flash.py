"""Attention on a TPU by the splash kernel of JAX: no T x S matrix is ever in memory.

Kernel: jax.experimental.pallas.ops.tpu.splash_attention (after Dao et al., arXiv 2205.14135). It has not run
on a chip here: it is compiled by the TPU compiler, and its numbers are compared in interpret mode.
"""

import jax

from pangu_jax.models.attention import HEADS, AttentionMask
from pangu_jax.models.placement import Placement

BLOCK = 1024  # rows and columns of a tile: the largest that fits beside its neighbours in VMEM
LANES = 128


def fits(mask: AttentionMask) -> bool:
    """Whether the kernel takes these windows: whole on this device, in multiples of its smallest tile."""
    queries, keys = mask.query_segments_BxT.shape[1], mask.key_segments_BxS.shape[1]
    causal_part = mask.query_index_T is not None and queries != keys
    return queries % LANES == 0 and keys % LANES == 0 and not causal_part


def attend(
    q_BxHxTxK: jax.Array,
    k_BxHxSxK: jax.Array,
    v_BxHxSxV: jax.Array,
    mask: AttentionMask,
    placement: Placement,
    *,
    interpret: bool = False,
) -> jax.Array:
    """softmax(q k^T, where mask) v, [B, H, T, V]; q is scaled already, V may be another width than K."""
    segments = ("batch", None)
    whole_length = ("batch", "heads", None, "kv")

    def local(q, k, v, query_segments_BxT, key_segments_BxS) -> jax.Array:
        from jax.experimental.pallas.ops.tpu.splash_attention import SegmentIds

        kernel = _kernel(q.shape[1], q.shape[2], k.shape[2], mask.query_index_T is not None, interpret)
        ids = SegmentIds(q=query_segments_BxT, kv=key_segments_BxS)
        attended = jax.vmap(kernel)(q, k, v, ids)
        assert isinstance(attended, jax.Array)  # a tuple only of a kernel that saves its residuals
        return attended

    return placement.locally(
        local,
        (q_BxHxTxK, k_BxHxSxK, v_BxHxSxV, mask.query_segments_BxT, mask.key_segments_BxS),
        (HEADS, whole_length, whole_length, ("batch", "length"), segments),
        HEADS,
    )


def _kernel(heads: int, queries: int, keys: int, causal: bool, interpret: bool):
    from jax.experimental.pallas.ops.tpu import splash_attention as splash

    mask = splash.CausalMask((queries, keys)) if causal else splash.FullMask((queries, keys))
    rows, columns = _block(queries), _block(keys)
    inner = min(512, columns)
    sizes = splash.BlockSizes(
        block_q=rows,
        block_kv=columns,
        block_kv_compute=inner,
        block_q_dkv=rows,
        block_kv_dkv=columns,
        block_kv_dkv_compute=inner,
        use_fused_bwd_kernel=True,
    )
    return splash.make_splash_mha(
        splash.MultiHeadMask([mask] * heads),
        block_sizes=sizes,
        head_shards=1,
        q_seq_shards=1,
        residual_checkpoint_name="attention",
        interpret=interpret,
    )


def _block(length: int) -> int:
    """The largest multiple of the lanes up to BLOCK that divides the length."""
    return next(size for size in range(min(BLOCK, length), 0, -LANES) if length % size == 0)
