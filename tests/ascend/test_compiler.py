"""The Ascend compiler: programs compiled to kernels, run by the simulator, and compared with XLA on CPU."""

import json
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tpu_npu_backends.ascend import compiler
from tpu_npu_backends.ascend.compiler import bishengir, evaluating
from tpu_npu_backends.errors import BackendError

compiles = pytest.mark.skipif(find_spec("ascendnpuir") is None, reason="ascendnpu-ir is not installed")

DRAW = np.random.default_rng(0)
X_32x64, Y_32x64 = DRAW.standard_normal((2, 32, 64)).astype(np.float32)
W_64x64 = (DRAW.standard_normal((64, 64)) / 8).astype(np.float32)
TABLE_40x16 = DRAW.standard_normal((40, 16)).astype(np.float32)
INDEX_6 = np.array([3, 5, 39, 5, -1, 0], np.int32)
KEY_2 = np.array([0x92345678, 0x9ABCDEF1], np.uint32)
AMOUNT_8 = np.array([0, 1, 31, 32, 40, 7, 19, 16], np.uint32)
COUNT_8 = np.arange(8, dtype=np.uint32) * 0x9E3779B9


@pytest.fixture(scope="module")
def build(request):
    """Compiles a function, with the kernels of earlier test runs."""
    folder = request.config.cache.mkdir("ascend_kernels")
    return lambda function, *arguments: compiler.compile_program(
        jax.jit(function).lower(*arguments).as_text(debug_info=True), cache_dir=folder
    )


def attend(q, k, v):
    scores = jnp.einsum("htk,hsk->hts", q, k)
    mask = jnp.tril(jnp.ones(scores.shape[1:], bool))
    return jnp.einsum("hts,hsk->htk", jax.nn.softmax(jnp.where(mask, scores, -1e30)), v)


HEADS_4x16x32 = DRAW.standard_normal((3, 4, 16, 32)).astype(np.float32)

# name: function, arguments. Each compiles whole: nothing is left to the host.
PROGRAMS = {
    "dense": (lambda x, w: jax.nn.gelu(x @ w + 1), X_32x64, W_64x64),
    "dense_gradient": (
        lambda x, w: jax.grad(lambda w: (jnp.tanh(x @ w) ** 2).sum())(w),
        X_32x64,
        W_64x64,
    ),
    "attention": (attend, *HEADS_4x16x32),
    "embedding": (lambda table, i: table[i], TABLE_40x16, INDEX_6),
    "embedding_gradient": (
        lambda table, i: jax.grad(lambda t: (t[i] ** 2).sum())(table),
        TABLE_40x16,
        INDEX_6,
    ),
    "scan": (
        lambda x, w: jax.lax.scan(lambda c, w: (jnp.tanh(c @ w), c.sum()), x, w),
        X_32x64,
        np.stack([W_64x64] * 3),
    ),
    "while": (lambda x: jax.lax.while_loop(lambda c: c.sum() < 9e4, lambda c: c * 1.5 + 1, x), X_32x64),
    "branch": (lambda x: jax.lax.cond(x.sum() > 0, lambda x: x * 2, lambda x: x - 1, x), X_32x64),
    "cumulative_sum": (lambda x: jnp.cumsum(x, -1), X_32x64),
    "slices": (lambda x: (x[:, 3:9], x[::2, 1::3], jnp.pad(x, ((1, 0), (0, 2)))), X_32x64),
    "update": (
        lambda x, i: jax.lax.dynamic_update_slice(x, x[:3, :8] * 2, (i, 0)),
        X_32x64,
        np.int32(4),
    ),
    "positions_of_largest": (lambda x: jnp.argmax(x, -1), X_32x64),
    "unsigned": (lambda c: (c >> 7, c * c, c < c[::-1], c.astype(jnp.float32)), COUNT_8),
    "keys": (lambda k: jax.random.key_data(jax.random.split(jax.random.wrap_key_data(k), 3)), KEY_2),
    "random_numbers": (
        lambda k: jax.random.truncated_normal(jax.random.wrap_key_data(k), -2, 2, (9, 8)),
        KEY_2,
    ),
    "shifts": (lambda c, n: (c >> n, c << n, c.astype(jnp.int32) >> n.astype(jnp.int32)), COUNT_8, AMOUNT_8),
    "angles": (lambda y, x: (jnp.arctan(y), jnp.arctan2(y, x), jnp.arctan2(0 * y, x)), X_32x64, Y_32x64),
    "adam": (
        lambda p, m, v, t: p - 1e-3 * m / (1 - 0.9**t) / (jnp.sqrt(v * v / (1 - 0.99**t)) + 1e-8),
        *(X_32x64, Y_32x64, X_32x64, np.float32(3)),
    ),
}


def apart(made, expected) -> float:
    """Norm-wise relative difference; the share of wrong elements where they are no floats."""
    assert made.shape == expected.shape and made.dtype == expected.dtype
    if expected.dtype.kind in "biu":
        return float(np.mean(made != expected))
    return float(np.linalg.norm(made - expected) / np.linalg.norm(expected))


@compiles
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_compiles_whole_and_agrees_with_xla(build, name):
    function, *arguments = PROGRAMS[name]
    program = build(function, *arguments)
    made = program.run(arguments)
    expected = [np.asarray(leaf) for leaf in jax.tree.leaves(jax.jit(function)(*arguments))]
    assert max(map(apart, made, expected)) < 1e-5
    assert program.report["host_ops"] == [] and program.report["flops_covered"] == 1.0
    assert program.report["kernels_unchecked"] == 0


@compiles
def test_a_loop_stays_in_the_plan_and_its_body_is_compiled_once(build):
    function, *arguments = PROGRAMS["scan"]
    report = build(function, *arguments).report
    assert report["loops"] == 1 and report["loops_whose_end_the_host_reads"] == 0
    assert report["products"] == 1 and report["launches_by_core"]["cube"] == 3
    assert report["copies"] > 0  # slices at the counter are copies, from where the host says


@compiles
def test_bfloat16_products_are_summed_in_float32(build):
    x, w = X_32x64.astype(jnp.bfloat16), W_64x64.astype(jnp.bfloat16)
    (made,) = build(lambda x, w: x @ w.T, x, w).run([x, w])
    expected = x.astype(np.float32) @ w.astype(np.float32).T
    assert made.dtype == jnp.bfloat16
    assert np.linalg.norm(made.astype(np.float32) - expected) < 4e-3 * np.linalg.norm(expected)


@compiles
def test_equal_layers_share_their_kernels(build):
    layer = lambda x, w: jax.nn.silu(x @ w)  # noqa: E731
    once = build(lambda x, w: layer(x, w), X_32x64, W_64x64).report
    thrice = build(lambda x, w: layer(layer(layer(x, w), w), w), X_32x64, W_64x64).report
    assert thrice["kernels"] == once["kernels"] and thrice["launches"] == 3 * once["launches"]


@compiles
def test_what_is_left_to_the_host_is_listed_with_its_line(build):
    program = build(lambda x: jnp.sort(x, -1) + 1, X_32x64)
    (left,) = program.report["host_ops"]
    assert left["op"] == "sort" and left["count"] == 1
    assert np.array_equal(program.run([X_32x64])[0], np.sort(X_32x64, -1) + 1)


@compiles
def test_an_op_without_a_kernel_is_named_with_its_line(build):
    with pytest.raises(BackendError, match=r"unsupported op stablehlo\.convolution .*test_compiler\.py:\d+"):
        build(lambda x: jnp.convolve(x[0], x[1]), X_32x64)


@compiles
def test_a_program_is_written_and_read_back(build, tmp_path):
    function, *arguments = PROGRAMS["scan"]
    program = build(function, *arguments)
    program.write(tmp_path / "program")
    again = compiler.AscendProgram.read(tmp_path / "program")
    assert json.loads((tmp_path / "program" / "report.json").read_text()) == program.report
    assert len(list((tmp_path / "program" / "kernels").glob("*.hivm.mlir"))) == program.report["kernels"]
    for first, second in zip(program.run(arguments), again.run(arguments), strict=True):
        assert np.array_equal(first, second)


@compiles
def test_kernels_come_from_the_cache_and_a_damaged_one_is_made_again(tmp_path):
    text = jax.jit(lambda x: x + 1).lower(X_32x64).as_text()
    assert compiler.compile_program(text, cache_dir=tmp_path).report["compiler_runs"] == 1
    assert compiler.compile_program(text, cache_dir=tmp_path).report["compiler_runs"] == 0
    (kept,) = tmp_path.glob("*.json")
    kept.write_text(kept.read_text()[:100])
    assert compiler.compile_program(text, cache_dir=tmp_path).report["compiler_runs"] == 1


@compiles
@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "takes 1 arguments, and was given 0"), ([X_32x64[:3]], r"argument 0 .* shape \[32, 64\]")],
)
def test_wrong_arguments_are_told(build, arguments, message):
    with pytest.raises(BackendError, match=message):
        build(lambda x: x + 1, X_32x64).run(arguments)


@compiles
def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(BackendError, match="not a StableHLO program"):
        compiler.compile_program("nonsense", cache_dir=tmp_path)
    with pytest.raises(BackendError, match="unknown Ascend target 'Ascend1'"):
        compiler.compile_program("module {}", target="Ascend1", cache_dir=tmp_path)
    with pytest.raises(BackendError, match="holds no compiled program"):
        compiler.AscendProgram.read(tmp_path)


def test_a_missing_compiler_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(bishengir.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"pip install 'pangu-jax\[ascend\]'"):
        compiler.compile_program("module {}")


def test_flags_stand_in_a_kernels_text():
    text = bishengir.with_flags("module {}\n", "--one=1", "--two")
    assert bishengir.flags_of(text) == ("--one=1", "--two") and text.endswith("module {}\n")
    assert bishengir.flags_of("module {}\n") == ()


def test_host_ops_keep_hlos_meaning():
    """Shifts by the width, division by zero and unsigned order, where NumPy means something else."""
    minus, one = np.array([-8], np.int32), np.array([1], np.int32)
    of = lambda kind, a, b, dtype="i32", **facts: evaluating.evaluate(kind, facts, [a, b], (1,), dtype)[0]  # noqa: E731
    assert of("arith.shrui", minus, one) == 0x7FFFFFFC and of("arith.shrsi", minus, one) == -4
    assert of("arith.shli", one, np.array([32], np.int32)) == 0
    assert of("arith.divsi", np.array([-7], np.int32), np.array([2], np.int32)) == -3
    assert of("arith.remsi", np.array([-7], np.int32), np.array([2], np.int32)) == -1
    assert not of("arith.cmpi", minus, one, "i1", predicate=6) and of(
        "arith.cmpi", minus, one, "i1", predicate=2
    )
