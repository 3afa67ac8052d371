"""PANGU_ASCEND_MODE: what is compiled, what is verified, and what a disagreement says."""

import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax._src.interpreters import mlir
from jaxlib._jax import mlir as jaxlib_mlir
from jaxlib.mlir.dialects import stablehlo

from tpu_npu_backends.ascend import compiler, modes
from tpu_npu_backends.ascend.comparison import differences
from tpu_npu_backends.ascend.plugin.hooks import CompiledProgram, HookAnswer, RefusedError
from tpu_npu_backends.ascend.sensitivity import Sensitivity
from tpu_npu_backends.errors import BackendError

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


class Doubling:
    """A compiled program that doubles, by a factor that a test may spoil."""

    factor = 2.0

    def run(self, arguments):
        return [np.asarray(x * self.factor, x.dtype) for x in arguments]

    def write(self, folder):
        (folder / "report.json").write_text("{}")


@pytest.fixture
def doubling(monkeypatch):
    program = Doubling()
    monkeypatch.setattr(compiler, "compile_program", lambda code, target: program)
    monkeypatch.setattr(modes, "has_half_precision", lambda code: b"bf16" in code)
    return program


def seen(devices=1, code=b"f32", name="jit_double") -> CompiledProgram:
    return CompiledProgram(1, name, code, "mlir", devices)


def record(folder) -> dict:
    [path] = folder.glob(f"*/{modes.REPORT}")
    return json.loads(path.read_text("utf-8"))


def test_verified_executions_are_counted(doubling, tmp_path, capsys):
    watcher = modes.Watcher("verify", tmp_path)
    assert watcher.compiled(seen()) == HookAnswer.WATCH_EXECUTIONS
    doubling.factor = 2.000001
    watcher.executed(1, [X], [X * 2])
    watcher.executed(1, [X], [X * 2])
    kept = record(tmp_path)
    assert (kept["compiled"], kept["executions"]) == ("whole", 2)
    assert 1e-7 < kept["largest_difference"] < 1e-6
    watcher.sum_up()
    assert "1 programs compiled for Ascend910B1; 2 executions of 1 verified" in capsys.readouterr().err


def test_a_disagreement_is_an_error_in_words(doubling, tmp_path):
    watcher = modes.Watcher("verify", tmp_path)
    watcher.compiled(seen())
    doubling.factor = 2.001
    with pytest.raises(
        RefusedError, match=r"jit_double: .* disagree with XLA: output 0 \(float32\[3, 4\]\) by 5"
    ):
        watcher.executed(1, [X], [X * 2])


def test_an_infinite_difference_is_kept_as_json(doubling, tmp_path):
    watcher = modes.Watcher("verify", tmp_path)
    watcher.compiled(seen())
    with pytest.raises(RefusedError, match="infinities and NaN"):
        watcher.executed(1, [X * np.nan], [X])
    assert record(tmp_path)["largest_difference"] is None


def test_half_precision_anywhere_gives_its_tolerance(doubling, tmp_path):
    watcher = modes.Watcher("verify", tmp_path)
    watcher.compiled(seen(code=b"bf16"))
    doubling.factor = 2.01
    watcher.executed(1, [X], [X * 2])
    doubling.factor = 2.1
    with pytest.raises(RefusedError, match="2e-02 is allowed"):
        watcher.executed(1, [X], [X * 2])


@pytest.mark.parametrize("mode", ["compile", "verify"])
def test_a_partitioned_program_is_compiled_whole_and_not_verified(doubling, tmp_path, mode, capsys):
    watcher = modes.Watcher(mode, tmp_path)
    assert watcher.compiled(seen(devices=8)) == HookAnswer.GO_ON
    kept = record(tmp_path)
    assert (kept["compiled"], kept["devices"]) == ("unpartitioned", 8)
    assert kept["verification"].startswith("none: it runs on 8 devices" if mode == "verify" else "not asked")
    watcher.sum_up()
    said = capsys.readouterr().err
    assert "1 of them as they were before partitioning" in said
    assert ("1 programs not verified" in said) == (mode == "verify")


def test_a_program_that_cannot_be_compiled(monkeypatch, tmp_path, caplog):
    def refuse(code, target):
        raise BackendError("no kernel for custom_call at model.py:3")

    monkeypatch.setattr(compiler, "compile_program", refuse)
    assert modes.Watcher("compile", tmp_path / "a").compiled(seen()) == HookAnswer.GO_ON
    assert "jit_double was not compiled for Ascend910B1: no kernel for custom_call" in caplog.text
    assert record(tmp_path / "a")["compiled"].startswith("no: no kernel")
    with pytest.raises(RefusedError, match=r"cannot be compiled for Ascend910B1: .* at model.py:3"):
        modes.Watcher("verify", tmp_path / "b").compiled(seen())


def test_a_name_is_no_path(doubling, tmp_path):
    modes.Watcher("compile", tmp_path).compiled(seen(name="../../jit/x"))
    assert [path.parent for path in tmp_path.rglob(modes.REPORT)] == [tmp_path / ".._.._jit_x-1"]


@pytest.mark.parametrize(
    ("expected", "actual", "relative"),
    [
        (X, X, 0.0),
        (X, X + np.float32(1e-3), 1e-3),
        (X, X[:2], np.inf),
        (X, X.astype(np.float16), np.inf),
        (np.float32([1, np.nan, np.inf]), np.float32([1, np.nan, np.inf]), 0.0),
        (np.float32([1, np.nan]), np.float32([1, 2]), np.inf),
        (np.float32([1, 2]), np.float32([1, np.nan]), np.inf),
        (np.float32([0, 0]), np.float32([0, 1e-3]), 1e-3),
        (np.float32([]), np.float32([]), 0.0),
        (np.int32([1, 2]), np.int32([1, 3]), 0.5),
        (np.uint32([1, 2**32 - 1]), np.int32([1, -1]), 0.0),
        (np.uint32([1, 2]), np.int64([1, 2]), np.inf),
        (np.bool_([True]), np.int8([1]), np.inf),
        (X.astype(ml_dtypes.bfloat16), X.astype(ml_dtypes.bfloat16), 0.0),
        (X * 1j, X * 1j, 0.0),
    ],
)
def test_differences(expected, actual, relative):
    [found] = differences([expected], [actual], half_precision=False)
    assert found.relative == pytest.approx(relative, rel=1e-3)
    assert (found.excess() > 1) == (relative > 0)


def test_a_missing_output_differs():
    assert differences([X, X], [X], half_precision=False)[1].relative == np.inf


class Given:
    """A compiled program that gives what a test says."""

    def __init__(self, result):
        self.result = result

    def run(self, arguments):
        return [self.result]

    def write(self, folder):
        (folder / "report.json").write_text("{}")


def signs(a, b):
    """AdamW's first step: what it makes of gradients (a - b) near zero is their rounding's."""
    g = a - b
    return g / (jnp.abs(g) + 1e-8)


@pytest.fixture
def magnifying(monkeypatch):
    """A program of `signs`, its bytecode, inputs with the first of 4096 gradients near zero, their result."""
    a = np.linspace(1, 2, 4096, dtype=np.float32)
    b = a + np.float32(0.5)
    b[0] = np.nextafter(a[0], np.float32(2))
    lowered = jax.jit(signs).lower(a, b)
    program = Given(np.asarray(lowered.compile()(a, b)))
    monkeypatch.setattr(compiler, "compile_program", lambda code, target: program)
    module = mlir.module_to_bytecode(lowered.compiler_ir("stablehlo"))
    code = jaxlib_mlir.serialize_portable_artifact(module, stablehlo.get_minimum_version())
    return program, code, [a, b], program.result.copy()


def test_rounding_moves_what_it_magnifies_alone(magnifying):
    _, code, inputs, right = magnifying
    [spread] = Sensitivity(code).spread(inputs, [right], half_precision=False)
    assert spread[0] > 0.5
    assert spread[1:].max() < 2e-6


def test_a_few_magnified_elements_are_counted_and_others_refused(magnifying, tmp_path, capsys):
    program, code, inputs, right = magnifying
    watcher = modes.Watcher("verify", tmp_path)
    watcher.compiled(seen(code=code))
    program.result = right.copy()
    program.result[0] = -right[0]
    watcher.executed(1, inputs, [right])
    kept = record(tmp_path)
    assert (kept["magnified"], kept["largest_difference"]) == (1, 0.0)
    watcher.sum_up()
    assert "but for 1 elements that rounding alone moves as far" in capsys.readouterr().err
    program.result[7] *= 1.0001
    with pytest.raises(RefusedError, match=r"output 0 .* by 1\.00e-04"):
        watcher.executed(1, inputs, [right])


def test_rounding_explains_no_more_than_few_elements(magnifying, tmp_path):
    program, code, inputs, _ = magnifying
    watcher = modes.Watcher("verify", tmp_path)
    watcher.compiled(seen(code=code))
    a, b = (x.copy() for x in inputs)
    b[:100] = np.nextafter(a[:100], np.float32(3))
    expected = np.asarray(signs(a, b))
    program.result = -expected
    program.result[100:] = expected[100:]
    with pytest.raises(RefusedError, match="disagree with XLA"):
        watcher.executed(1, [a, b], [expected])


VERIFIED = """
import jax, jax.numpy as jnp
from tpu_npu_backends.ascend import compiler
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
import numpy as np

step = jax.jit(lambda x, w: (jax.nn.softmax(x @ w), x + 1), donate_argnums=0)
w = np.linspace(-1, 1, 1024, dtype=np.float32).reshape(32, 32)
x = jax.device_put(w.copy())
step(x, w)
print("donated", x.is_deleted())

sharded = jax.device_put(w, NamedSharding(Mesh(np.array(jax.devices()), "i"), P("i")))
jax.jit(jnp.sin)(sharded)

right = compiler.AscendProgram.run
compiler.AscendProgram.run = lambda self, inputs: [x * np.float32(1.001) for x in right(self, inputs)]
try:
    step(jax.device_put(w.copy()), w)
    print("agreed")
except (jax.errors.JaxRuntimeError, ValueError) as error:  # JAX's fast path raises the second
    print(error)
compiler.AscendProgram.run = right
step(jax.device_put(w.copy()), w)
"""


def test_jax_programs_are_verified(on_npu, tmp_path):
    """The real compiler and simulator, through PJRT: agreement, a planted disagreement, and on again."""
    done = on_npu(
        "-c", VERIFIED, PANGU_ASCEND_MODE="verify", PANGU_ASCEND_REPORTS=str(tmp_path), XLA_FLAGS=""
    )
    assert done.returncode == 0, done.stderr
    donated, disagreed = done.stdout.splitlines()
    assert donated == "donated True"
    assert "jit__lambda: the kernels for Ascend910B1 disagree with XLA: output" in disagreed
    assert "2 programs compiled for Ascend910B1; 1 of them as they were before partitioning" in done.stderr
    assert "1 programs not verified" in done.stderr
    records = [json.loads(path.read_text("utf-8")) for path in tmp_path.glob(f"*/{modes.REPORT}")]
    assert sorted((it["devices"], it["compiled"], it["executions"]) for it in records) == [
        (1, "whole", 3),
        (8, "unpartitioned", 0),
    ]
    assert all((path / "report.json").is_file() for path in tmp_path.iterdir())
