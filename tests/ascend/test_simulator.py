"""The simulator of Ascend kernels: what kernels compute, and that each planted fault is found."""

import re
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from tests.ascend import hivm
from tpu_npu_backends.ascend.simulator import Fault, SimulatedKernel, parsing, scalars
from tpu_npu_backends.ascend.simulator.building import FunctionBuilder
from tpu_npu_backends.ascend.simulator.memory import Memory, View, row_major

pytestmark = pytest.mark.skipif(find_spec("ascendnpuir") is None, reason="ascendnpu-ir is not installed")

X_64x128 = np.random.default_rng(0).standard_normal((64, 128)).astype(np.float32)
A_64x32 = np.random.default_rng(1).standard_normal((64, 32)).astype(np.float32)
B_32x48 = np.random.default_rng(2).standard_normal((32, 48)).astype(np.float32)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def run_softmax(text: str) -> np.ndarray:
    return SimulatedKernel.parse(text).run([X_64x128], [((64, 128), np.float32)])[0]


def run_matmul_softmax(text: str) -> np.ndarray:
    return SimulatedKernel.parse(text).run([A_64x32, B_32x48], [((64, 48), np.float32)])[0]


def without(text: str, number: int) -> str:
    """The text without a line, by its number from one."""
    lines = text.split("\n")
    return "\n".join(lines[: number - 1] + lines[number:])


def lines_with(text: str, *patterns: str) -> list[int]:
    """Numbers of the lines that match all patterns, from one, of the functions that the device starts."""
    return [
        number for number, line in _entry_lines(text) if all(re.search(pattern, line) for pattern in patterns)
    ]


def _entry_lines(text: str) -> list[tuple[int, str]]:
    found, function = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        function.append((number, line))
        if line.startswith("  }) {"):
            found += function if "hacc.entry" in line else []
            function = []
    return found


def test_softmax_in_tiles():
    kernel = SimulatedKernel.parse(hivm.instructions(hivm.softmax(64, 128)))
    (y,) = kernel.run([X_64x128], [((64, 128), np.float32)])
    np.testing.assert_allclose(y, softmax(X_64x128), atol=2.5e-8)
    assert kernel.usage.core_types == ("AIV",) and 0 < kernel.usage.bytes["ub"] <= 196608
    # The compiler stores each tile, loads it back and stores it again.
    assert kernel.loaded == 2 * y.nbytes and kernel.stored == 2 * y.nbytes


def test_cube_and_both_vector_cores_of_a_fused_kernel():
    kernel = SimulatedKernel.parse(hivm.instructions(hivm.matmul_softmax(64, 32, 48)))
    (y,) = kernel.run([A_64x32, B_32x48], [((64, 48), np.float32)])
    np.testing.assert_allclose(y, softmax(A_64x32 @ B_32x48), atol=6e-7)
    assert kernel.usage.core_types == ("AIC", "AIV")


@pytest.mark.parametrize("block_dim", [2, 7])
def test_several_blocks(block_dim):
    x = np.random.default_rng(3).standard_normal((300, 256)).astype(np.float32)
    kernel = SimulatedKernel.parse(hivm.instructions(hivm.softmax(300, 256), block_dim))
    assert kernel.usage.block_dim == block_dim
    (y,) = kernel.run([x], [(x.shape, x.dtype)])
    np.testing.assert_allclose(y, softmax(x), atol=3e-8)


def test_packed_i1_and_padded_rows():
    text = hivm.instructions(hivm.select_equal(32, 100))
    assert re.search(r"memref<[\dx?]*xi1", text) and "strided<[104, 1]>" in text
    x = np.random.default_rng(4).standard_normal((32, 100)).astype(np.float32)
    label, column = np.arange(32, dtype=np.int32) * 3, np.arange(100, dtype=np.int32)
    (y,) = SimulatedKernel.parse(text).run([x, label, column], [(x.shape, x.dtype)])
    np.testing.assert_array_equal(y, np.where(label[:, None] == column, x, -1))


def test_every_predicate_of_a_comparison_of_floats():
    """MLIR's sixteen: false, six that are false for a NaN, is none a NaN; six that are true, is one, true."""
    text = "\n".join(
        f'%r{p} = "arith.cmpf"(%a, %b) <{{fastmath = #arith.fastmath<none>, predicate = {p} : i64}}> '
        ": (f32, f32) -> i1"
        for p in range(16)
    )
    module = parsing.parse_module(
        '"func.func"() <{sym_name = "main", function_type = (f32, f32) -> ()}> ({\n^bb0(%a: f32, %b: f32):\n'
        f'{text}\n"func.return"() : () -> ()\n}}) : () -> ()'
    )
    with module.context:
        (main,) = (op.operation for op in module.body.operations)
        function, block = FunctionBuilder("main", scalars.OPERATIONS), main.regions[0].blocks[0]
        left, right = function.arguments(block.arguments)
        compare = function.block(block)
        results = [function.number(op.operation.results[0]) for op in block.operations if op.results]
    for a, b in ((1.0, 2.0), (2.0, 1.0), (1.0, 1.0), (np.nan, 1.0), (1.0, np.nan)):
        core = SimpleNamespace(registers=[None] * function.registers)
        core.registers[left], core.registers[right] = np.float32(a), np.float32(b)
        for step in (*function.prologue, *compare.steps):
            step(core)
        nan = np.isnan(a) or np.isnan(b)
        says = [] if nan else [a == b, a > b, a >= b, a < b, a <= b, a != b]
        expected = [False, *(says or [False] * 6), not nan, *(says or [True] * 6), nan, True]
        assert [core.registers[n] for n in results] == expected, (a, b)


def test_packed_bits_leave_their_neighbours_alone():
    memory = Memory("ub", np.zeros(64, np.uint8))
    memory.data[:] = 0xFF
    rows = View(memory, 8 * 4, (3, 5), (16, 1), np.dtype(bool), (4, 12), 1, True, "test")
    rows.write(np.zeros((3, 5), bool))
    rows.mark_written()
    assert memory.data[4:10].tolist() == [0xE0, 0xFF] * 3
    rows.write(np.eye(3, 5, dtype=bool))
    np.testing.assert_array_equal(rows.read(), np.eye(3, 5, dtype=bool))
    assert memory.tags[4:10].tolist() == [1, 0] * 3  # the bytes between rows stay unwritten


def test_a_view_past_its_buffer_is_out_of_bounds():
    memory = Memory("ub", np.zeros(64, np.uint8))
    with pytest.raises(Fault, match="out of bounds"):
        View(memory, 0, (4, 5), row_major((4, 5)), np.dtype(np.float32), (0, 64), 1, False, "test")


# Planted faults.


def test_each_sync_block_set_that_is_removed_is_found():
    text = hivm.instructions(hivm.matmul_softmax(64, 32, 48))
    numbers = lines_with(text, "sync_block_set")
    assert len(numbers) == 4
    for number in numbers:
        with pytest.raises(Fault, match=r"deadlock: .* waits for flag"):
            run_matmul_softmax(without(text, number))


def test_the_tools_default_leaves_out_the_flags_between_cores():
    text = hivm.instructions(hivm.matmul_softmax(64, 32, 48), cross_core_solver=True)
    with pytest.raises(Fault, match=r"missing sync: .* of workspace"):
        run_matmul_softmax(text)


def test_both_vector_cores_store_tiles_of_a_large_fused_kernel():
    """What the tool emits when the vector half is in tiles: a race, and no invention of a test."""
    text = hivm.instructions(hivm.matmul_softmax(512, 64, 256))
    a, b = np.ones((512, 64), np.float32), np.ones((64, 256), np.float32)
    with pytest.raises(Fault, match=r"missing sync: PIPE_MTE2 of core 2 reads .* PIPE_MTE3 of core 1 wrote"):
        SimulatedKernel.parse(text).run([a, b], [((512, 256), np.float32)])


def test_an_overlapped_buffer_is_found():
    text = hivm.instructions(hivm.softmax(64, 128))
    # The sums of the rows are planned where the exponentials still wait to be divided by them.
    address = re.search(r"(%\d+) = \"arith.constant\"\(\) <\{value = 49184 : i64\}>", text)
    with pytest.raises(Fault, match=r"overlap: .* another allocation has written over"):
        run_softmax(text.replace(address[0], address[0].replace("49184", "128")))


def test_a_read_before_write_is_found():
    text = hivm.instructions(hivm.softmax(64, 128))
    with pytest.raises(Fault, match="unwritten: reads bytes 0 to 15872 of ub"):
        run_softmax(without(text, lines_with(text, "hivm.hir.load")[0]))


def test_an_output_that_is_not_stored_is_found():
    text = hivm.instructions(hivm.matmul_softmax(64, 32, 48))
    with pytest.raises(Fault, match="unwritten: 12288 bytes of output 0"):
        run_matmul_softmax(without(text, lines_with(text, "hivm.hir.store")[-1]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("memref<16352xi8", "memref<12000xi8"),  # smaller than what a view takes of it
        ("value = 82016 : i64", "value = 196000 : i64"),  # planned past the end of UB
        ("(s0 * 31)", "(s0 * 32)"),  # the last tile past the end of the argument
    ],
)
def test_an_out_of_bounds_view_is_found(old, new):
    text = hivm.instructions(hivm.softmax(64, 128))
    assert old in text
    with pytest.raises(Fault, match="out of bounds"):
        run_softmax(text.replace(old, new))


def test_each_flag_and_barrier_that_is_needed_is_missed_when_it_is_gone():
    text = hivm.instructions(hivm.softmax(64, 128))
    for number in lines_with(text, "wait_flag"):
        with pytest.raises(Fault, match="missing sync"):
            run_softmax(without(text, number))
    for number in lines_with(text, "set_flag"):
        with pytest.raises(Fault, match="unbalanced sync: waits for the flag"):
            run_softmax(without(text, number))
    for number in lines_with(text, "pipe_barrier", "PIPE_V"):
        with pytest.raises(Fault, match="missing sync"):
            run_softmax(without(text, number))


def test_a_flag_left_set_is_found():
    text = hivm.instructions(hivm.matmul_softmax(64, 32, 48))
    (number,) = lines_with(text, "sync_block_wait", "CUBE", "flag_id = 2")
    with pytest.raises(Fault, match="unbalanced sync: still set at the end: flag 2 at core 0"):
        run_matmul_softmax(without(text, number))


def test_inputs_are_not_written():
    text = hivm.instructions(hivm.softmax(64, 128))
    first = lines_with(text, "memref.subview", "%arg1")[0]
    lines = text.split("\n")
    lines[first - 1] = lines[first - 1].replace("%arg1", "%arg0")
    with pytest.raises(Fault, match="arguments: writes to input 0, an input"):
        run_softmax("\n".join(lines))


def test_what_it_does_not_know_is_named():
    text = hivm.instructions(hivm.softmax(64, 128))
    with pytest.raises(Fault, match=r"unsupported: operation hivm.hir.vmystery \(main, line \d+"):
        SimulatedKernel.parse(text.replace("hivm.hir.vexp", "hivm.hir.vmystery"))
    with pytest.raises(Fault, match="unsupported: the text is not generic MLIR"):
        SimulatedKernel.parse("this is no kernel")


def test_arguments_of_another_size_are_refused():
    kernel = SimulatedKernel.parse(hivm.instructions(hivm.softmax(64, 128)))
    with pytest.raises(Fault, match="arguments: input 0 has 32768 bytes, given 16384"):
        kernel.run([X_64x128[:32]], [((64, 128), np.float32)])
