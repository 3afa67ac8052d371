"""Single instructions of the vector cores, in kernels written by hand: no compiler is needed."""

import numpy as np
import pytest

from tpu_npu_backends.ascend.simulator import Fault, SimulatedKernel

NAMES = {"float32": "f32", "float16": "f16", "int32": "i32", "int8": "i8", "int16": "i16", "bool": "i1"}
ELEMENTWISE = "broadcast = array<i64>, transpose = array<i64>"
CAST = "cast = #hivm.cast<cast_{sign}>, round_mode = #hivm.round_mode<{mode}>, " + ELEMENTWISE
AT = 8192  # bytes between buffers


def run(name: str, attributes: str, inputs: list, outputs: list, segments: str = "") -> list[np.ndarray]:
    """Loads the arrays among the inputs into UB, runs one instruction, and stores what it wrote.

    Args:
      name: of the instruction, such as "vadd".
      attributes: its own.
      inputs: arrays, and scalars as MLIR text such as "2 : i32".
      outputs: (shape, dtype) of each.
      segments: operandSegmentSizes, where it has them.
    """
    arrays = [x for x in inputs if isinstance(x, np.ndarray)]
    kinds = [(x.shape, x.dtype.name) for x in arrays] + outputs
    gm, ub = ([memref(*kind, space) for kind in kinds] for space in ("gm", "ub"))
    lines = [
        f'%at{i} = "arith.constant"() <{{value = {AT * i} : i64}}> : () -> i64' for i in range(len(kinds))
    ]
    for i, type_ in enumerate(ub):
        lines.append(f'%ub{i} = "hivm.hir.pointer_cast"(%at{i}) : (i64) -> {type_}')
    for i in range(len(arrays)):
        load = "operandSegmentSizes = array<i32: 1, 1, 0, 0, 0, 0>"
        lines.append(f'"hivm.hir.load"(%gm{i}, %ub{i}) <{{{load}}}> : ({gm[i]}, {ub[i]}) -> ()')
    lines += flag("PIPE_MTE2", "PIPE_V")
    operands, types, number = [], [], 0
    for i, x in enumerate(inputs):
        if isinstance(x, np.ndarray):
            operands.append(f"%ub{number}")
            types.append(ub[number])
            number += 1
        else:
            lines.append(f'%scalar{i} = "arith.constant"() <{{value = {x}}}> : () -> {x.split(" : ")[1]}')
            operands.append(f"%scalar{i}")
            types.append(x.split(" : ")[1])
    operands += [f"%ub{i}" for i in range(len(arrays), len(kinds))]
    types += ub[len(arrays) :]
    attributes = ", ".join(
        filter(None, [attributes, segments and f"operandSegmentSizes = array<i32: {segments}>"])
    )
    lines.append(f'"hivm.hir.{name}"({", ".join(operands)}) <{{{attributes}}}> : ({", ".join(types)}) -> ()')
    lines += flag("PIPE_V", "PIPE_MTE3")
    for i in range(len(arrays), len(kinds)):
        lines.append(f'"hivm.hir.store"(%ub{i}, %gm{i}) : ({ub[i]}, {gm[i]}) -> ()')
    roles = [("input", i) for i in range(len(arrays))] + [("output", i) for i in range(len(outputs))]
    arguments = ", ".join(
        f"{{hacc.arg_type = #hacc.arg_type<{role}>, hacc.{role}_idx = #hacc.{role}_idx<{i}>}}"
        for role, i in roles
    )
    block = ", ".join(f"%gm{i}: {type_}" for i, type_ in enumerate(gm))
    body, type_ = "\n".join(lines), f"({', '.join(gm)}) -> ()"
    text = f"""
"builtin.module"() ({{
  "func.func"() <{{arg_attrs = [{arguments}], function_type = {type_}, sym_name = "main"}}> ({{
  ^bb0({block}):
{body}
  "func.return"() : () -> ()
  }}) {{hacc.entry, hacc.function_kind = #hacc.function_kind<DEVICE>,
      hivm.func_core_type = #hivm.func_core_type<AIV>}} : () -> ()
}}) : () -> ()
"""
    return SimulatedKernel.parse(text).run(arrays, outputs)


def memref(shape, dtype: str, space: str) -> str:
    return f"memref<{''.join(f'{size}x' for size in shape)}{NAMES[dtype]}, #hivm.address_space<{space}>>"


def flag(set_pipe: str, wait_pipe: str) -> list[str]:
    pipes = f"set_pipe = #hivm.pipe<{set_pipe}>, wait_pipe = #hivm.pipe<{wait_pipe}>"
    return [f'"hivm.hir.{op}"() <{{{pipes}, static_event_id = #hivm.event<EVENT_ID0>}}> : () -> ()' for op in
            ("set_flag", "wait_flag")]  # fmt: skip


F = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.7, -3e9], np.float32)
I = np.array([-7, -1, 0, 1, 7, 300, -300, 2**31 - 1], np.int32)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("rint", [-2, -2, 0, 0, 2, 2, 4, -(2**31)]),
        ("floor", [-3, -2, -1, 0, 1, 2, 3, -(2**31)]),
        ("ceil", [-2, -1, 0, 1, 2, 3, 4, -(2**31)]),
        ("trunc", [-2, -1, 0, 0, 1, 2, 3, -(2**31)]),
        ("round", [-3, -2, -1, 1, 2, 3, 4, -(2**31)]),
    ],
)
def test_casts_to_integers_round_by_mode_and_saturate(mode, expected):
    attributes = CAST.format(sign="signed", mode=mode)
    (y,) = run("vcast", attributes, [F], [((8,), "int32")], "1, 1, 0")
    np.testing.assert_array_equal(y, expected)
    (y,) = run("vcast", attributes, [F], [((8,), "float32")], "1, 1, 0")  # to whole floats
    np.testing.assert_array_equal(y[:7], expected[:7])


def test_casts_between_integers():
    saturating, cutting = (CAST.format(sign="signed", mode=mode) for mode in ("rint", "truncwithoverflow"))
    (y,) = run("vcast", saturating, [I], [((8,), "int8")], "1, 1, 0")
    np.testing.assert_array_equal(y, np.clip(I, -128, 127))
    (y,) = run("vcast", cutting, [I], [((8,), "int8")], "1, 1, 0")
    np.testing.assert_array_equal(y, I.astype(np.int8))
    x = np.array([-1, 5, -128, 127], np.int8)
    (y,) = run("vcast", CAST.format(sign="unsigned", mode="rint"), [x], [((4,), "float32")], "1, 1, 0")
    np.testing.assert_array_equal(y, [255, 5, 128, 127])


@pytest.mark.parametrize(
    ("name", "inputs", "expected"),
    [
        ("vdiv", [I, "2 : i32"], [-3, 0, 0, 0, 3, 150, -150, 2**30 - 1]),  # towards zero
        ("vmod", [I, "4 : i32"], [-3, -1, 0, 1, 3, 0, 0, 3]),
        ("vshr", [I, "1 : i32"], I >> 1),
        ("vshl", [I, "3 : i32"], I << 3),  # wraps
        ("vadd", [I, "1 : i32"], I + np.int32(1)),
        ("vmax", [I, "0 : i32"], np.maximum(I, 0)),
        ("vxor", [I, I[::-1].copy()], I ^ I[::-1]),
        ("vabs", [F], abs(F)),
        ("vrelu", [F], np.maximum(F, 0)),
        ("vrec", [F], 1 / F),
        ("vpow", [abs(F), F / 10], abs(F) ** (F / 10)),
        ("vnot", [I], ~I),
    ],
)
def test_elementwise(name, inputs, expected):
    (y,) = run(name, ELEMENTWISE, inputs, [((8,), inputs[0].dtype.name)], f"{len(inputs)}, 1, 0")
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_sixteen_bit_floats_are_rounded_once():
    x = np.float16([1.0009765625, 100.3, 0.0117])
    (y,) = run("vmul", ELEMENTWISE, [x, x], [((3,), "float16")], "2, 1, 0")
    np.testing.assert_array_equal(y, (x.astype(np.float32) ** 2).astype(np.float16))


X = np.random.default_rng(0).standard_normal((5, 24)).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "reduce"), [("sum", np.sum), ("max", np.max), ("min", np.min), ("prod", np.prod)]
)
@pytest.mark.parametrize("axis", [0, 1])
def test_reductions(kind, reduce, axis):
    attributes = f"arith = #hivm.reduce_op<{kind}>, reduce_dims = array<i64: {axis}>"
    expected = reduce(X, axis=axis, keepdims=True)
    (y,) = run("vreduce", attributes, [X], [(expected.shape, "float32")], "1, 1, 0, 0")
    np.testing.assert_allclose(y, expected, rtol=1e-5)


def test_reductions_with_their_place():
    attributes = "arith = #hivm.reduce_op<max_with_index>, reduce_dims = array<i64: 1>"
    best, place = run("vreduce", attributes, [X], [((5, 1), "float32"), ((5, 1), "int32")], "1, 2, 0, 0")
    np.testing.assert_array_equal(best, X.max(1, keepdims=True))
    np.testing.assert_array_equal(place, X.argmax(1)[:, None])


@pytest.mark.parametrize(
    ("reverse", "expected"), [("false", X.cumsum(1)), ("true", X[:, ::-1].cumsum(1)[:, ::-1])]
)
def test_cumulative_sums(reverse, expected):
    (y,) = run("vcumsum", f"cum_dims = array<i64: 1>, reverse = {reverse}", [X], [(X.shape, "float32")])
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_movements():
    (y,) = run("vtranspose", "permutation = array<i64: 1, 0>", [X], [((24, 5), "float32")])
    np.testing.assert_array_equal(y, X.T)
    (y,) = run("vbrc", "broadcast_dims = array<i64: 1>", [X[:, :1].copy()], [((5, 9), "float32")])
    np.testing.assert_array_equal(y, np.repeat(X[:, :1], 9, 1))
    (y,) = run("vflip", "flip_axis = 1 : i64", [X], [(X.shape, "float32")])
    np.testing.assert_array_equal(y, X[:, ::-1])
    (y,) = run("copy", "", [X], [(X.shape, "float32")])
    np.testing.assert_array_equal(y, X)


def test_channels_are_taken_apart_and_put_together():
    both = run("vdeinterleave", "channel_num = 2 : i64", [X], [((5, 12), "float32")] * 2)
    np.testing.assert_array_equal(both, [X[:, 0::2], X[:, 1::2]])
    second = "channel_num = 2 : i64, index_mode = #hivm.deinterleave_mode<CHANNEL_1>"
    (y,) = run("vdeinterleave", second, [X], [((5, 12), "float32")])
    np.testing.assert_array_equal(y, X[:, 1::2])
    (y,) = run("vinterleave", "interleave_channel_nums = 2 : i64", both, [(X.shape, "float32")], "2, 1, 0")
    np.testing.assert_array_equal(y, X)


def test_gathers_stay_in_their_table():
    places = np.array([[3, 0, 23, 3]] * 5, np.int32)
    (y,) = run("vgather", "", [X, places], [((5, 4), "float32")])
    np.testing.assert_array_equal(y, np.take_along_axis(X, places, 1))
    for wrong in (24, -1):
        with pytest.raises(Fault, match="out of bounds: gathers element"):
            run("vgather", "", [X, np.full((5, 4), wrong, np.int32)], [((5, 4), "float32")])
