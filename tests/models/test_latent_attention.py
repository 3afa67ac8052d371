"""Latent attention: a few tokens at a time in both forms equal whole windows, and values of another width."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pangu_jax.models import attention, flash, latent_cache
from pangu_jax.models.attention import AttentionMask
from pangu_jax.models.latent_attention import LatentAttention, LatentWidths, latent_attention
from pangu_jax.models.parameters import arrays
from pangu_jax.models.placement import OneDevice
from pangu_jax.models.positions import rotation

ULTRA = LatentWidths(rank=512, query_rank=1536, plain=128, rotary=64, value=128)
D, LENGTH = 16, 7


def plain(q, k, v, mask):
    """softmax(q k, where mask) v, keys [B, H, K, C]."""
    scores = jnp.where(mask, jnp.einsum("bhmk,bhkc->bhmc", q, k), -1e30)
    return jnp.einsum("bhmc,bhcv->bhmv", jax.nn.softmax(scores, axis=-1), v)


@pytest.mark.parametrize("absorbed", [True, False])
@pytest.mark.parametrize("query_rank", [12, None])
def test_a_cache_of_latents_equals_a_whole_window(absorbed, query_rank):
    """Three tokens and then one at a time; the second example is padded on the left by two columns."""
    widths = LatentWidths(8, query_rank, plain=6, rotary=4, value=5)
    params = arrays(LatentAttention(1, D, 2, widths, nnx.Rngs(0)))
    layer = jax.tree.map(lambda weight: weight[0] + 0.1, params)
    x_BxTxD = jax.random.normal(jax.random.key(1), (2, LENGTH, D))
    first_B = jnp.array([0, 2])
    column_C = jnp.arange(LENGTH)
    positions_BxT = jnp.maximum(column_C - first_B[:, None], 0)
    segments_BxT = (column_C >= first_B[:, None]).astype(jnp.int32)
    mask = AttentionMask(segments_BxT, segments_BxT, column_C).as_array()

    def whole(layer):
        attend = lambda q, k, v: attention.attend(q * widths.scale, k, v, mask, None)  # noqa: E731
        turned = rotation(positions_BxT, widths.rotary)
        return latent_attention(layer, x_BxTxD, turned, attend, widths, OneDevice())

    @jax.jit
    def by_pieces(layer):
        weights, norms = latent_cache.prepare(layer, widths)
        held = {**weights, **norms}
        times = lambda name, x: jnp.tensordot(weights[name], x, x.ndim - 1)  # noqa: E731
        cache, found, at = latent_cache.empty(widths, 2, LENGTH, jnp.float32), [], 0
        for new in (3, 1, 1, 1, 1):
            part = slice(at, at + new)
            x_DxR = x_BxTxD[:, part].reshape(2 * new, D).T
            turned = rotation(positions_BxT[:, part], widths.rotary)
            sees = mask[:, 0, part]
            out_DxR, cache = latent_cache.extend(
                times, held, x_DxR, turned, cache, at, sees, plain, widths, OneDevice(), absorbed
            )
            found.append(out_DxR.T.reshape(2, new, D))
            at += new
        return jnp.concatenate(found, axis=1)

    expected, actual = jax.jit(whole)(layer), by_pieces(layer)
    for row, first in enumerate((0, 2)):
        np.testing.assert_allclose(actual[row, first:], expected[row, first:], rtol=1e-4, atol=1e-5)


def test_what_a_cache_holds_of_a_token():
    """70,272 bytes at the published size (61 layers, bfloat16); keys and values of all heads: 5 million."""
    cache = jax.eval_shape(lambda: latent_cache.empty(ULTRA, 1, 1, jnp.bfloat16))
    assert 61 * cache.size * cache.dtype.itemsize == 70_272
    assert 61 * 128 * (ULTRA.key + ULTRA.value) * 2 == 4_997_120


def test_the_form_with_fewer_products_is_taken():
    assert latent_cache.absorbs(ULTRA, 1) and latent_cache.absorbs(ULTRA, 170)
    assert not latent_cache.absorbs(ULTRA, 171)


def test_values_of_another_width_than_keys():
    keys = jax.random.split(jax.random.key(0), 4)
    q, k = (jax.random.normal(key, (2, 3, 5, 6)) for key in keys[:2])
    v, out = (jax.random.normal(key, (2, 3, 5, 4)) for key in keys[2:])
    segments = jnp.array([[1, 1, 2, 2, 2], [1, 1, 1, 1, 0]])
    mask = AttentionMask(segments, segments, jnp.arange(5)).as_array()

    def of(function):
        loss = lambda *inputs: jnp.sum(function(*inputs) * out)  # noqa: E731
        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(q, k, v)

    actual = of(lambda q, k, v: attention.attend(q, k, v, mask, None))
    expected = of(lambda q, k, v: plain(q, jnp.swapaxes(k, 2, 3), v, mask))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), actual, expected)


def test_the_tpu_kernel_takes_values_of_another_width():
    keys = jax.random.split(jax.random.key(0), 4)
    q, k = (jax.random.normal(key, (1, 1, 128, 192)) for key in keys[:2])
    v, out = (jax.random.normal(key, (1, 1, 128, 128)) for key in keys[2:])
    segments = jnp.where(jnp.arange(128) < 50, 1, 2)[None]
    mask = AttentionMask(segments, segments, jnp.arange(128))

    def of(attend):
        loss = lambda q, k, v: jnp.sum(attend(q * 192**-0.5, k, v) * out)  # noqa: E731
        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(q, k, v)

    actual = of(lambda q, k, v: flash.attend(q, k, v, mask, OneDevice(), interpret=True))
    expected = of(lambda q, k, v: attention.attend(q, k, v, mask.as_array(), None))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), actual, expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rotary": 3}, "must be even, got 3"),
        ({"rank": 0}, "rank must be at least 1"),
        ({"query_rank": 0}, "at least 1, or None"),
    ],
)
def test_widths_that_cannot_be_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        LatentWidths(**change)
