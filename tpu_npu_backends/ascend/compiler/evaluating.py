"""What each kind of node computes, by NumPy: for folding constants, and for host steps of a plan."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.special

from tpu_npu_backends.ascend.compiler.graph import DTYPES


def _unsigned(x: np.ndarray) -> np.ndarray:
    return x.view(f"u{x.dtype.name}") if x.dtype.kind == "i" else x


def _truncated_division(a, b):
    quotient = np.floor_divide(np.abs(a.astype(np.int64)), np.maximum(np.abs(b.astype(np.int64)), 1))
    return np.where(b == 0, -1, np.sign(a) * np.sign(b) * quotient).astype(a.dtype)


def _divided_unsigned(a, b):
    return (_unsigned(a) // np.maximum(_unsigned(b), 1)).view(a.dtype)


def _shift(function):
    """Shifts by the width or more leave no bit."""

    def shift(a, b):
        width = a.dtype.itemsize * 8
        inside = _unsigned(b) < width
        return np.where(inside, function(a, np.where(inside, b, 0).astype(a.dtype)), 0).astype(a.dtype)

    return shift


def _numpy_max(a, b):
    return np.where(np.isnan(a), b, np.where(np.isnan(b), a, np.maximum(a, b)))


_INTEGER_PREDICATES = [
    np.equal,
    np.not_equal,
    np.less,
    np.less_equal,
    np.greater,
    np.greater_equal,
    *(
        (lambda a, b, f=f: f(_unsigned(a), _unsigned(b)))
        for f in (np.less, np.less_equal, np.greater, np.greater_equal)
    ),
]
_ORDERED = {1: np.equal, 2: np.greater, 3: np.greater_equal, 4: np.less, 5: np.less_equal, 6: np.not_equal}


def _compare_floats(predicate: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """arith.cmpf's predicates: 1 to 7 ordered, 8 to 14 unordered, where NaN gives true."""
    if predicate in (0, 15):
        return np.full(a.shape, predicate == 15)
    unordered = np.isnan(a) | np.isnan(b)
    if predicate == 7:
        return ~unordered
    if predicate == 14:
        return unordered
    if predicate == 8:
        return unordered | (a == b)
    if predicate < 7:
        return ~unordered & _ORDERED[predicate](a, b)
    return unordered | _ORDERED[predicate - 7](a, b)


_UNARY: dict[str, Callable] = {
    "arith.negf": np.negative,
    "math.absf": np.abs,
    "math.absi": np.abs,
    "math.exp": np.exp,
    "math.exp2": np.exp2,
    "math.expm1": np.expm1,
    "math.log": np.log,
    "math.log1p": np.log1p,
    "math.log2": np.log2,
    "math.sqrt": np.sqrt,
    "math.rsqrt": lambda x: 1 / np.sqrt(x),
    "math.cbrt": np.cbrt,
    "math.tanh": np.tanh,
    "math.sin": np.sin,
    "math.cos": np.cos,
    "math.tan": np.tan,
    "math.atan": np.arctan,
    "math.erf": scipy.special.erf,
    "math.floor": np.floor,
    "math.ceil": np.ceil,
    "math.trunc": np.trunc,
    "math.round": lambda x: np.trunc(x + np.copysign(0.5, x)),
    "math.roundeven": np.rint,
    "math.ctpop": np.bitwise_count,
    "math.ctlz": lambda x: x.dtype.itemsize * 8 - np.ceil(np.log2(_unsigned(x).astype(np.float64) + 1)),
}
_BINARY: dict[str, Callable] = {
    "arith.addf": np.add,
    "arith.subf": np.subtract,
    "arith.mulf": np.multiply,
    "arith.divf": np.divide,
    "arith.remf": np.fmod,
    "arith.maximumf": np.maximum,
    "arith.minimumf": np.minimum,
    "arith.maxnumf": np.fmax,
    "arith.minnumf": np.fmin,
    "math.powf": np.power,
    "math.atan2": np.arctan2,
    "math.copysign": np.copysign,
    "arith.addi": np.add,
    "arith.subi": np.subtract,
    "arith.muli": np.multiply,
    "arith.divsi": _truncated_division,
    "arith.divui": _divided_unsigned,
    "arith.remsi": lambda a, b: np.where(b == 0, a, a - _truncated_division(a, b) * b).astype(a.dtype),
    "arith.remui": lambda a, b: (_unsigned(a) % np.maximum(_unsigned(b), 1)).view(a.dtype),
    "arith.andi": np.bitwise_and,
    "arith.ori": np.bitwise_or,
    "arith.xori": np.bitwise_xor,
    "arith.maxsi": np.maximum,
    "arith.minsi": np.minimum,
    "arith.maxui": lambda a, b: np.maximum(_unsigned(a), _unsigned(b)).view(a.dtype),
    "arith.minui": lambda a, b: np.minimum(_unsigned(a), _unsigned(b)).view(a.dtype),
    "arith.shli": _shift(np.left_shift),
    "arith.shrsi": lambda a, b: np.right_shift(
        a, np.minimum(_unsigned(b), a.dtype.itemsize * 8 - 1).astype(a.dtype)
    ),
    "arith.shrui": _shift(lambda a, b: (_unsigned(a) >> _unsigned(b)).view(a.dtype)),
}
_CASTS = {
    "arith.sitofp",
    "arith.uitofp",
    "arith.fptosi",
    "arith.fptoui",
    "arith.extsi",
    "arith.extui",
    "arith.trunci",
    "arith.extf",
    "arith.truncf",
    "arith.index_cast",
}
_SMALL_FLOATS = ("float16", "bfloat16")


def _cast(kind: str, x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if kind in ("arith.sitofp", "arith.extsi") and x.dtype == np.bool_:
        return -x.astype(dtype)
    if kind in ("arith.uitofp", "arith.extui"):
        x = _unsigned(x)
    if kind == "arith.trunci" and dtype == np.bool_:
        return (x & 1).astype(np.bool_)
    return x.astype(dtype)


def _in_float32(function: Callable, arrays: Sequence[np.ndarray], dtype: np.dtype) -> np.ndarray:
    """16-bit floats are computed in float32, as the vector unit does."""
    arrays = [x.astype(np.float32) if x.dtype.name in _SMALL_FLOATS else x for x in arrays]
    return np.asarray(function(*arrays)).astype(dtype)


def _reduce(facts: dict[str, Any], x: np.ndarray, start: np.ndarray) -> np.ndarray:
    axes = tuple(facts["dimensions"])
    function = _BINARY[facts["combiner"]]
    if not isinstance(function, np.ufunc):
        raise TypeError(f"{facts['combiner']} reduces nothing")
    if facts["combiner"] in ("arith.addf", "arith.mulf") and x.dtype.name in _SMALL_FLOATS:
        x = x.astype(np.float32)
    return function(function.reduce(x, axis=axes).astype(start.dtype), start)


def _broadcast(facts: dict[str, Any], x: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    middle = [1] * len(shape)
    for dimension, size in zip(facts["dimensions"], x.shape, strict=True):
        middle[dimension] = size
    return np.broadcast_to(x.reshape(middle), shape)


def _pad(facts: dict[str, Any], x: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Negative padding takes away."""
    low, high = np.array(facts["low"]), np.array(facts["high"])
    inside = tuple(slice(max(0, -a), n - max(0, -b)) for a, b, n in zip(low, high, x.shape, strict=True))
    widths = np.maximum(np.stack([low, high], 1), 0)
    return np.pad(x[inside], widths, constant_values=value)


def _window(facts: dict[str, Any]) -> tuple[slice, ...]:
    return tuple(
        slice(start, start + (size - 1) * stride + 1, stride)
        for start, size, stride in zip(facts["offsets"], facts["sizes"], facts["strides"], strict=True)
    )


def _insert(facts: dict[str, Any], small: np.ndarray, large: np.ndarray) -> np.ndarray:
    out = large.copy()
    out[_window(facts)] = small.reshape(facts["sizes"])
    return out


def sort(facts: dict[str, Any], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """All arrays in the stable order of the first along a dimension."""
    keys, dimension = arrays[0], facts["dimension"]
    if facts["descending"]:  # stable: the order of equal ones stays
        order = np.flip(np.argsort(np.flip(keys, dimension), dimension, kind="stable"), dimension)
        order = keys.shape[dimension] - 1 - order
    else:
        order = np.argsort(keys, dimension, kind="stable")
    return [np.take_along_axis(array, order, dimension) for array in arrays]


def product(facts: dict[str, Any], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A "matmul"; leading dimensions are batches."""
    wide = np.int32 if a.dtype.kind == "i" else np.float32
    a, b = a.astype(wide), b.astype(wide)
    a = a.swapaxes(-1, -2) if facts["transpose_a"] else a
    b = b.swapaxes(-1, -2) if facts["transpose_b"] else b
    return a @ b


def evaluate(
    kind: str, facts: dict[str, Any], arrays: Sequence[np.ndarray], shape: Sequence[int], dtype: str
) -> np.ndarray:
    """The result of a node with one result.

    Args:
      kind: a node's kind, but for loops, branches and slices at a counter.
      facts: its facts.
      arrays: its operands.
      shape: its result's shape.
      dtype: its result's element type, by MLIR's name.

    Raises:
      KeyError: NumPy has no such kind here.
    """
    made = DTYPES[dtype]
    with np.errstate(all="ignore"):
        if kind in _UNARY:
            out = _in_float32(_UNARY[kind], arrays, made)
        elif kind in _BINARY:
            out = _in_float32(_BINARY[kind], arrays, made)
        elif kind in _CASTS:
            out = _cast(kind, arrays[0], made)
        else:
            out = _OTHERS[kind](facts, arrays, shape, made)
    return np.asarray(out, made).reshape(shape)


_OTHERS: dict[str, Callable[[dict[str, Any], Sequence[np.ndarray], Sequence[int], np.dtype], np.ndarray]] = {
    "arith.select": lambda facts, a, shape, made: np.where(a[0], a[1], a[2]),
    "arith.cmpi": lambda facts, a, shape, made: _INTEGER_PREDICATES[facts["predicate"]](a[0], a[1]),
    "arith.cmpf": lambda facts, a, shape, made: _compare_floats(facts["predicate"], a[0], a[1]),
    "arith.bitcast": lambda facts, a, shape, made: np.ascontiguousarray(a[0]).view(made),
    "matmul": lambda facts, a, shape, made: product(facts, a[0], a[1]),
    "broadcast": lambda facts, a, shape, made: _broadcast(facts, a[0], shape),
    "reshape": lambda facts, a, shape, made: a[0].reshape(shape),
    "reduce": lambda facts, a, shape, made: _reduce(facts, a[0], a[1]),
    "transpose": lambda facts, a, shape, made: a[0].transpose(facts["permutation"]),
    "slice": lambda facts, a, shape, made: a[0][_window(facts)],
    "insert": lambda facts, a, shape, made: _insert(facts, a[0], a[1]),
    "concatenate": lambda facts, a, shape, made: np.concatenate(a, facts["dimension"]),
    "pad": lambda facts, a, shape, made: _pad(facts, a[0], a[1]),
}
KINDS = {*_UNARY, *_BINARY, *_CASTS, *_OTHERS}
