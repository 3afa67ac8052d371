"""Plain operations compute what the function does; what formats cannot have is rewritten or named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.apps.vision.exporting import exported_model, int8_weights
from pangu_jax.apps.vision.exporting.gelu_pattern import steps
from pangu_jax.apps.vision.exporting.op_writer import OpWriter
from pangu_jax.apps.vision.exporting.plain_program import plain, transposed
from pangu_jax.errors import UserError
from tests.apps.vision.exporting.runs import VIT, classifier, trunk


def names(closed):
    return [equation.primitive.name for equation in closed.jaxpr.eqns]


def test_einsum_becomes_products_of_two_matrices_or_stacks_of_them():
    weight = jax.random.normal(jax.random.key(0), (6, 2, 3, 4))
    x = jax.random.normal(jax.random.key(1), (5, 7, 6))

    def function(x):
        q, k, v = jnp.moveaxis(jnp.einsum("btd,dhck->cbhtk", x, weight), 0, 0)
        return jnp.einsum("bhts,bhsk->bthk", jax.nn.softmax(jnp.einsum("bhtk,bhsk->bhts", q, k)), v)

    closed = jax.make_jaxpr(plain(function))(x)
    products = [e for e in closed.jaxpr.eqns if e.primitive.name == "dot_general"]
    assert {e.params["dimension_numbers"] for e in products} == {
        (((1,), (0,)), ((), ())), (((2,), (1,)), ((0,), (0,)))
    }  # fmt: skip
    assert all(e.invars[0].aval.ndim <= 3 for e in products)
    np.testing.assert_allclose(plain(function)(x), function(x), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "permutation", "rank"),
    [
        ((2, 4, 4, 2, 4, 4, 2, 3), (0, 1, 4, 2, 5, 3, 6, 7), 6),  # what cuts a picture into units
        ((2, 1, 3, 1, 4), (1, 0, 2, 4, 3), None),
        ((2, 3, 1, 4), (3, 2, 0, 1), 2),
        ((5,), (0,), None),
    ],
)
def test_a_transposition_moves_few_dimensions(shape, permutation, rank):
    x = jnp.arange(np.prod(shape)).reshape(shape)
    np.testing.assert_array_equal(transposed(x, permutation), x.transpose(permutation))
    closed = jax.make_jaxpr(lambda x: transposed(x, permutation))(x)
    moved = [e.invars[0].aval.ndim for e in closed.jaxpr.eqns if e.primitive.name == "transpose"]
    assert moved == ([rank] if rank else [])


def test_layers_are_cut_out_of_their_stacks_and_gelu_is_seen():
    model = exported_model.of_run(classifier())
    shape = jax.ShapeDtypeStruct((jax.export.symbolic_shape("b")[0], 16, 16, 3), jnp.uint8)
    closed = jax.make_jaxpr(plain(jax.vmap(model.of_picture)))(shape)
    found = names(closed)
    assert {"scan", "gather", "jit", "custom_vjp_call", "select_n"}.isdisjoint(found)
    # Queries, keys and values of two blocks, the channel that each norm counts from, and no layer of a stack.
    assert found.count("slice") == 3 * 2 + found.count("rsqrt")
    assert sum(of_gelu is not None for _, of_gelu in steps(closed.jaxpr)) == found.count("erfc") == 6


@pytest.mark.parametrize("run", [classifier, trunk, lambda: trunk(VIT)], ids=["classes", "features", "vit"])
def test_any_batch_gives_what_the_model_gives(run):
    model = exported_model.of_run(run())
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    function = jax.jit(plain(jax.vmap(model.of_picture)))
    for count in (1, 3):
        np.testing.assert_allclose(function(pixels[:count]), model.reference(pixels[:count]), atol=2e-5)


def test_a_branch_on_the_size_of_a_batch_is_that_of_one_picture():
    """jax.export answers `shape[0] != 1` of a symbolic size once, as if it were never 1."""

    def answers(x_BxN):
        return x_BxN + 1.0 if x_BxN.shape[0] != 1 else x_BxN

    argument = jax.ShapeDtypeStruct((jax.export.symbolic_shape("b")[0], 2), jnp.float32)
    bare, ours = (
        jax.export.export(jax.jit(function))(argument)
        for function in (answers, plain(jax.vmap(lambda x: answers(x[None])[0])))
    )
    zero = np.zeros((1, 2), np.float32)
    assert np.asarray(bare.call(zero)).all() and answers(zero).sum() == 0  # what is guarded against
    assert (
        not np.asarray(ours.call(zero)).any()
        and not np.asarray(ours.call(np.zeros((3, 2), np.float32))).any()
    )


def test_eight_bits_are_the_nearest_of_each_output_channel():
    weight = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32) * np.arange(32)
    values, scale = int8_weights.rounded(weight, 0)
    assert (
        values.dtype == np.int8 and scale.shape == (1, 32) and values.max() == 127 and not values[:, 0].any()
    )
    assert np.all(np.abs(values * scale - weight) <= scale / 2 * 1.0001)
    assert isinstance(int8_weights.kept(weight[:8], 0), np.ndarray)  # so few are not worth it
    x = np.ones((2, 64), np.float32)
    function = plain(lambda x: x @ weight, int8=True)
    closed = jax.make_jaxpr(function)(x)
    assert sorted(str(np.asarray(const).dtype) for const in closed.consts) == ["float32", "int8"]
    np.testing.assert_allclose(jax.jit(function)(x)[0], (values * scale).sum(0), rtol=1e-4, atol=1e-4)


def test_an_operation_that_a_format_lacks_is_named_with_its_place():
    def spectral_layer(x):
        return jnp.abs(jnp.fft.rfft(x))

    closed = jax.make_jaxpr(plain(spectral_layer))(np.ones((2, 8), np.float32))
    writer = OpWriter()
    writer.format = "onnx"
    with pytest.raises(UserError, match=r"onnx has no operation 'fft', .*spectral_layer, test_plain_program"):
        writer.write(closed, ["x"])
