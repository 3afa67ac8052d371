"""The kernels of the CPU against the plain forms: products, attention, norms, a step, and texts."""

import dataclasses
import itertools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pangu_jax.apps.language.decoding.generator import Generator
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.decoding.settings import Beam, Greedy
from pangu_jax.models import attention, native, native_attention
from pangu_jax.models.placement import OneDevice
from pangu_jax.models.projection import project, project_back
from pangu_jax.workloads.language.model import incremental_attention
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from pangu_jax.workloads.language.model.forward import Forward
from tests.backends.comparing import close, drawn
from tpu_npu_backends.cpu_kernels import build, library
from tpu_npu_backends.errors import BackendError

KERNELS = OneDevice(native=True)
pytestmark = pytest.mark.usefixtures("cpu_kernels")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 40), st.integers(0, 99))
def test_products_of_few_columns(rows, depth, columns, seed):
    weight, x = drawn(seed, rows, depth), drawn(seed + 1, depth, columns)
    close(native.product(native.pack(weight, 1), x), weight @ x)


def test_a_weight_of_several_dimensions_keeps_them():
    weight, x = drawn(0, 3, 2, 8, 16), drawn(1, 16, 5)
    close(native.product(native.pack(weight, 1), x), jnp.einsum("chkd,dr->chkr", weight, x))
    weight, x = drawn(2, 16, 2, 8), drawn(3, 2, 8, 17)
    close(native.product(native.pack(weight, 2), x), jnp.einsum("dhk,hkr->dr", weight, x))


@pytest.mark.parametrize("columns", [1, 8, 16, 25])
def test_weights_in_fewer_bytes(columns):
    weight, x = drawn(0, 40, 64), drawn(1, 64, columns)
    rounded = weight.astype(jnp.bfloat16).astype(jnp.float32)
    close(native.product(native.pack(weight, 1, "bfloat16"), x), rounded @ x)
    packed = native.pack(weight, 1, "int8")
    assert packed.groups.dtype == jnp.int8
    steps = jnp.max(jnp.abs(weight), axis=1, keepdims=True) / 127
    close(native.product(packed, x), (jnp.round(weight / steps) * steps) @ x, 2e-6)


def test_a_row_of_zeros_in_int8_is_zeros():
    weight = drawn(0, 7, 16).at[3].set(0)
    assert not np.any(np.asarray(native.product(native.pack(weight, 1, "int8"), drawn(1, 16, 2)))[3])


@pytest.mark.parametrize(("queries", "columns", "width"), [(1, 33, 8), (4, 40, 24), (5, 9, 64), (2, 1, 72)])
@pytest.mark.parametrize("biased", [False, True])
def test_attention_of_few_queries(queries, columns, width, biased):
    q, k, v = drawn(0, 2, 3, queries, width), drawn(1, 2, 3, width, columns), drawn(2, 2, 3, columns, width)
    mask = jnp.asarray(np.random.default_rng(3).random((2, queries, columns)) < 0.5).at[0, 0].set(False)
    bias = drawn(4, 3, 1, columns) if biased else None
    expected = incremental_attention.attend_plainly(q, k, v, mask[:, None], bias)
    close(native.attend(q, k, v, mask, bias), expected)
    one = jnp.ones((2, 1, columns), bool).at[:, :, columns // 2 + 1 :].set(False)  # of all queries
    close(
        native.attend(q, k, v, one, bias), incremental_attention.attend_plainly(q, k, v, one[:, None], bias)
    )


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=5), st.integers(0, 9), st.integers(1, 40))
def test_products_of_groups_and_their_gradients(sizes, behind, depth):
    rows = sum(sizes) + behind
    x, weight, dy = drawn(0, rows, depth), drawn(1, len(sizes), depth, 24), drawn(2, rows, 24)
    bounds, counts = np.cumsum([0, *sizes]), jnp.asarray(sizes, jnp.int32)
    groups = [slice(*pair) for pair in itertools.pairwise(bounds)]
    expected = np.zeros((rows, 24), np.float32)
    for group, rows_of in enumerate(groups):
        expected[rows_of] = x[rows_of] @ weight[group]
    found = native.grouped(x, weight, counts, transposed=False)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    turned = native.grouped(x, jnp.swapaxes(weight, 1, 2), counts, transposed=True)
    np.testing.assert_allclose(turned, expected, atol=1e-4)
    gradient = np.stack([x[rows_of].T @ dy[rows_of] for rows_of in groups])
    np.testing.assert_allclose(native.grouped_gradient(x, dy, counts), gradient, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 120), st.integers(1, 70), st.integers(1, 40), st.integers(0, 99))
def test_products_of_matrices_and_their_gradients(rows, depth, columns, seed):
    x, weight, out = drawn(seed, rows, depth), drawn(seed + 1, depth, columns), drawn(seed + 2, rows, columns)

    def of(function, weight):
        return jax.value_and_grad(lambda x, w: jnp.sum(function(x, w) * out), (0, 1))(x, weight)

    for function, array in ((project, weight), (project_back, weight.T)):
        actual = of(lambda x, w, f=function: f(x, w, True), array)
        close(actual[1], of(function, array)[1], 3e-6)


def test_products_larger_than_a_block():
    x, weight = drawn(0, 200, 600), drawn(1, 600, 1100)
    close(native.matmul(x, weight, 1), x @ weight, 3e-6)
    close(native.matmul_transposed(x, drawn(3, 270, 600), 1), x @ drawn(3, 270, 600).T, 3e-6)
    many, few = drawn(4, 800, 530), drawn(5, 530, 70)  # of rows, so that all of the right one is packed once
    close(native.matmul(many, few, 1), many @ few, 3e-6)
    close(native.transposed_matmul(many, drawn(6, 800, 75), 1), many.T @ drawn(6, 800, 75), 3e-6)


SHAPES = [(1, 1, 16, True), (37, 37, 16, True), (130, 50, 32, False), (5, 1, 48, False), (97, 200, 64, False)]


@pytest.mark.parametrize(("queries", "keys", "width", "causal"), SHAPES)
def test_attention_of_whole_windows(queries, keys, width, causal):
    rng = np.random.default_rng(0)
    q, out = drawn(0, 2, 3, queries, width), drawn(1, 2, 3, queries, width)
    k, v = drawn(2, 2, 3, keys, width), drawn(3, 2, 3, keys, width)
    segments = [jnp.asarray(np.sort(rng.integers(0, 3, (2, n)), 1)) for n in (queries, keys)]
    index = jnp.arange(queries) if causal else None
    mask = attention.AttentionMask(segments[0], segments[0] if causal else segments[1], index).as_array()

    def of(attend):
        loss = lambda q, k, v: jnp.sum(attend(q * width**-0.5, k, v) * out)  # noqa: E731
        return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(q, k, v)

    assert native_attention.fits(q, mask, None)
    actual = of(lambda q, k, v: native_attention.attend(q, k, v, mask))
    expected = of(lambda q, k, v: attention.attend(q, k, v, mask, None))
    close(actual[0], expected[0], 1e-5)
    close(actual[1], expected[1])


@pytest.mark.parametrize("values", [16, 24, 48])
def test_attention_of_values_of_another_width(values):
    q, k, v, out = (drawn(n, 2, 3, 5, width) for n, width in enumerate((32, 32, values, values)))
    segments = jnp.array([[1, 1, 2, 2, 2], [1, 1, 1, 1, 0]])
    mask = attention.AttentionMask(segments, segments, jnp.arange(5)).as_array()

    def of(attend):
        loss = lambda q, k, v: jnp.sum(attend(q, k, v) * out)  # noqa: E731
        return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(q, k, v)

    actual = of(lambda q, k, v: native_attention.attend(q, k, v, mask))
    close(actual, of(lambda q, k, v: attention.attend(q, k, v, mask, None)))


def test_what_the_kernel_of_whole_windows_does_not_take():
    q, mask = drawn(0, 1, 1, 4, 16), jnp.ones((1, 1, 4, 4), bool)
    assert not native_attention.fits(q, mask, jnp.zeros((1, 4, 4)))
    assert not native_attention.fits(drawn(0, 1, 1, 4, 8), mask, None)
    assert not native_attention.fits(q, mask[:, :, :1], None)


def test_norms():
    tree = {"a": drawn(0, 300, 1000), "b": [drawn(1, 3), drawn(2, 70_001)], "c": jnp.ones(9, jnp.bfloat16)}
    exact = sum(float(np.sum(np.square(np.asarray(x, np.float64)))) for x in jax.tree.leaves(tree)) ** 0.5
    assert float(native.global_norm(tree)) == pytest.approx(exact, rel=1e-6)


def test_calls_from_several_threads_at_once():
    weight, inputs = native.pack(drawn(0, 96, 64), 1), [drawn(seed, 64, 8) for seed in range(4)]
    product = jax.jit(native.product)
    expected = [np.asarray(product(weight, x)) for x in inputs]
    wrong = []

    def work(number: int) -> None:
        found = (np.asarray(product(weight, inputs[number])) for _ in range(50))
        wrong.extend(number for y in found if not np.array_equal(y, expected[number]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


CONFIG = EncoderDecoderConfig(
    vocab_size=97, d_model=32, d_ff=48, heads=2, encoder_layers=2, decoder_layers=2, dropout=0.0
)


@pytest.fixture(scope="module", params=["rotary", "relative"])
def model(request):
    from flax import nnx

    config = dataclasses.replace(CONFIG, position=request.param)
    return config, nnx.to_pure_dict(nnx.state(EncoderDecoder(config, nnx.Rngs(0))))


def test_a_loss_and_its_gradients(model):
    config, params = model
    rng = np.random.default_rng(0)
    tokens = lambda n: jnp.asarray(rng.integers(3, 97, (3, n)))  # noqa: E731
    segments = lambda n: jnp.asarray(np.sort(rng.integers(1, 3, (3, n)), 1))  # noqa: E731
    places = lambda n: jnp.broadcast_to(jnp.arange(n), (3, n))  # noqa: E731
    batch = {
        **{f"encoder_{name}": array for name, array in _features(tokens, segments, places, 20).items()},
        **{f"decoder_{name}": array for name, array in _features(tokens, segments, places, 12).items()},
        "decoder_target_tokens": tokens(12),
        "decoder_loss_weights": jnp.ones((3, 12)),
    }

    def of(placement):
        loss = lambda params: Forward(config, placement).loss(params, batch).total  # noqa: E731
        return jax.jit(jax.value_and_grad(loss))(params)

    by_kernel, plain = of(KERNELS), of(OneDevice())
    close(by_kernel[0], plain[0])
    close(by_kernel[1], plain[1], 1e-5)


def _features(tokens, segments, places, length: int) -> dict[str, jax.Array]:
    return {"input_tokens": tokens(length), "segment_ids": segments(length), "positions": places(length)}


@pytest.mark.parametrize("settings_", [Greedy(), Beam(beams=3)], ids=["greedy", "beams"])
def test_texts(model, settings_):
    config, params = model
    rng = np.random.default_rng(1)
    asked = [
        Query(rng.integers(3, 97, n).astype(np.int32), rng.integers(3, 97, g)) for n, g in ((9, 0), (4, 3))
    ]

    def texts(placement):
        return Generator(Forward(config, placement), params).generate(asked, settings_, 12)

    for by_kernel, plain in zip(texts(KERNELS), texts(OneDevice()), strict=True):
        assert by_kernel.tokens.tolist() == plain.tokens.tolist()
        assert by_kernel.score == pytest.approx(plain.score, rel=1e-5)


def test_switched_off_or_not_built(monkeypatch):
    assert library.built()
    monkeypatch.setenv(library.SWITCH, "0")
    assert not library.built()
    monkeypatch.delenv(library.SWITCH)
    monkeypatch.setattr(library, "path", lambda: library.SOURCES / "nowhere" / library.NAME)
    assert not library.built()


def test_without_a_compiler(monkeypatch, tmp_path):
    monkeypatch.setattr(library, "path", lambda: tmp_path / "kernels" / library.NAME)
    with pytest.raises(BackendError, match="no C\\+\\+ compiler 'no-such-compiler' to build the kernels of"):
        build.build("no-such-compiler")


def test_kernels_are_for_fp32_on_one_device():
    x = jnp.ones((2, 2))
    assert native.takes(KERNELS, x) and not native.takes(OneDevice(), x)
    assert not native.takes(KERNELS, x, x.astype(jnp.bfloat16))
