"""cuDNN's attention by JAX's reference of it, against plain attention; and compiled, where the plugin is."""

import importlib.util
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.models import attention, cudnn_attention
from pangu_jax.models.attention import AttentionMask
from pangu_jax.models.grouped_attention import each_for
from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads.language.model.attending import attending
from pangu_jax.workloads.language.model.incremental_attention import attend_plainly, grouped
from tpu_npu_backends import compiling, topologies

BATCH, HEADS, QUERIES, WIDTH = 2, 4, 32, 16
SCALE = WIDTH**-0.5


def _inputs(keys, kv_heads, dtype=jnp.bfloat16):
    of = jax.random.split(jax.random.key(0), 5)
    shapes = [
        (BATCH, HEADS, QUERIES, WIDTH),
        *[(BATCH, kv_heads, keys, WIDTH)] * 2,
        (BATCH, HEADS, QUERIES, WIDTH),
    ]
    q, k, v, d_out = (jax.random.normal(key, shape, dtype) for key, shape in zip(of, shapes, strict=False))
    return q, k, v, d_out, jax.random.normal(of[4], (HEADS, QUERIES, keys))


def _segments(length, first):
    """Two examples and padding."""
    at = jnp.arange(length)
    return jnp.tile(jnp.where(at < first, 1, jnp.where(at < length - 3, 2, 0)), (BATCH, 1))


@pytest.mark.parametrize(
    ("keys", "kv_heads", "causal", "biased", "prefix"),
    [
        pytest.param(QUERIES, HEADS, False, False, 0, id="self"),
        pytest.param(QUERIES, HEADS, True, False, 0, id="causal"),
        pytest.param(QUERIES, HEADS, True, True, 0, id="T5's bias"),
        pytest.param(48, HEADS, False, False, 0, id="cross"),
        pytest.param(QUERIES, 2, True, False, 0, id="grouped"),
        pytest.param(QUERIES, HEADS, True, True, 4, id="prefix"),
        pytest.param(2 * QUERIES, HEADS, True, False, 0, id="a part of the queries"),
    ],
)
def test_equals_plain_attention_to_bfloat16s_rounding(keys, kv_heads, causal, biased, prefix):
    q, k, v, d_out, bias = _inputs(keys + prefix, kv_heads)
    bias = bias[..., :keys] if biased else None
    part = causal and keys != QUERIES
    index = jnp.arange(QUERIES) + (QUERIES // 2 if part else 0)
    queries_of = _segments(keys, 20)[:, index] if part else _segments(QUERIES, 20)
    mask = AttentionMask(queries_of, _segments(keys, 20), index if causal else None)

    def by_cudnns_reference(q, k, v, bias):
        return cudnn_attention.attend(q, k, v, mask, bias, SCALE, OneDevice(), implementation="xla")

    def plain(q, k, v, bias):
        sees = attention.over_prefix(keys + prefix, mask.as_array(), bias)
        return attention.attend(q * SCALE, each_for(q, k), each_for(q, v), *sees)

    def of(attend, *inputs):
        loss = lambda *inputs: jnp.sum((attend(*inputs) * d_out).astype(jnp.float32))  # noqa: E731
        wanted = (0, 1, 2, 3) if biased else (0, 1, 2)
        return attend(*inputs), *jax.grad(loss, argnums=wanted)(*inputs)

    exact = of(plain, *(x.astype(jnp.float32) for x in (q, k, v)), bias)
    expected = of(plain, q, k, v, bias)
    actual = of(by_cudnns_reference, q, k, v, bias)
    assert cudnn_attention.refusal(q, k, v) is None
    for one, other, truth in zip(actual, expected, exact, strict=True):
        # Both are rounded: the distance from the truth is what plain bfloat16 attention has, or little more.
        error, usual = (np.linalg.norm(np.float32(x) - np.float32(truth)) for x in (one, other))
        assert error < max(1.5 * usual, 0.006 * np.linalg.norm(truth)), (error, usual)


def test_a_prompt_meets_its_cache():
    """Of a decoder with fewer heads of keys than of queries, whose cache has keys [B, G, K, C]."""
    columns = 48
    q, k, v, *_ = _inputs(columns, 2)
    seen = jnp.arange(columns) <= jnp.arange(QUERIES)[:, None] + 5
    seen_Bx1xMxC = jnp.broadcast_to(seen, (BATCH, 1, QUERIES, columns))
    placement = OneDevice(platform="gpu")
    of = (q * SCALE, k, v, seen_Bx1xMxC, None)
    actual = cudnn_attention.attend_seen(*of, placement, implementation="xla")
    expected = grouped(attend_plainly, q * SCALE, k.swapaxes(2, 3), v, seen_Bx1xMxC, None)
    np.testing.assert_allclose(*(np.float32(x) for x in (actual, expected)), atol=0.02)


def test_what_cudnn_does_not_take():
    q, k, v, *_ = _inputs(QUERIES, HEADS)
    refusal = cudnn_attention.refusal
    assert "float32" in str(refusal(q.astype(jnp.float32), k, v))
    assert "equal" in str(refusal(q, k, v[..., :8]))
    assert "even" in str(refusal(q[:, :, :1], k, v))
    wide = jnp.zeros((1, 1, 2, 256), jnp.bfloat16)
    assert "256" in str(refusal(wide, wide, wide))


def test_what_it_does_not_take_is_attended_plainly_and_said_once(caplog):
    q, k, v, *_ = (x.astype(jnp.float32) for x in _inputs(QUERIES, 2))
    mask = AttentionMask(_segments(QUERIES, 20), _segments(QUERIES, 20))
    for _ in range(2):
        on_gpu = attending(mask, None, SCALE, "flash", OneDevice(platform="gpu"))(q, k, v)
    plain = attending(mask, None, SCALE, "plain", OneDevice())(q, k, v)
    np.testing.assert_array_equal(on_gpu, plain)
    assert [record.message for record in caplog.records] == [
        "attention without cuDNN's kernel: float32, and cuDNN takes bfloat16"
    ]


@pytest.mark.skipif(importlib.util.find_spec("jax_cuda13_plugin") is None, reason="no plugin for CUDA")
@pytest.mark.parametrize("causal", [True, False])
def test_compiled_for_a_gpu_no_heads_scores_are_in_memory(causal):
    topology = topologies.parse("h100:1x1")
    (device,) = topologies.devices(topology)
    here = jax.sharding.SingleDeviceSharding(device)

    def loss(q, k, v, segments):
        mask = AttentionMask(segments, segments, jnp.arange(segments.shape[1]) if causal else None)
        attended = cudnn_attention.attend(q, k, v, mask, None, 0.125, OneDevice(platform="gpu"))
        return jnp.sum(attended.astype(jnp.float32) ** 2)

    heads, kv_heads = ((2, count, 256, 64) for count in (6, 3))
    arrays = [
        jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=here) for shape in (heads, kv_heads, kv_heads)
    ]
    segments = jax.ShapeDtypeStruct((2, 256), jnp.int32, sharding=here)
    lowered = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(*arrays, segments)
    text = compiling.compile_for(topology, lowered).as_text()
    assert "__cudnn$fmhaScaleBiasSoftmax" in text
    assert "__cudnn$fmhaScaleBiasSoftmaxBackward" in text
    assert re.search(r"\[2,1,256,256\]", text), "the mask of a window is there"
    assert not re.search(r"\[(2,6|12|6|3|2,3|2,3,2),256,256\]", text)
