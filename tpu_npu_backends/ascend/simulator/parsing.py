"""Text of a kernel to MLIR operations, and their attributes to Python values.

jaxlib's MLIR knows func, scf, affine, memref and arith, and keeps HIVM's own operations and attributes as
opaque ones, of which names and numbers are all that is needed here.
"""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import ml_dtypes
import numpy as np
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import arith, func, memref, scf  # noqa: F401  (registers their attributes)

from tpu_npu_backends.ascend.simulator.faults import Fault

# jaxlib looks for Python classes of a dialect each time an operation of it is read. It has none of these: a
# None in sys.modules says so at once, where a search of the path takes half the time of a parse.
for _name in (f"jaxlib.mlir.dialects.{dialect}" for dialect in ("hivm", "annotation", "affine")):
    if _name not in sys.modules and find_spec(_name) is None:
        sys.modules[_name] = None  # pyrefly: ignore[unsupported-operation]  typeshed has modules only

DYNAMIC = -(1 << 63)  # MLIR's mark of a size, offset or stride that an operand gives

# A memref's memory space must be an attribute that MLIR knows: a string does.
_ADDRESS_SPACE = re.compile(r"#hivm\.address_space<(\w+)>")
_FLOATS = {"f16": np.float16, "f32": np.float32, "f64": np.float64, "bf16": ml_dtypes.bfloat16}


@dataclass(frozen=True)
class MemRef:
    """A memref type: shape and strides in elements (None where dynamic), dtype, and address space.

    i1 has dtype bool; on the chip it is packed, one bit per element.
    """

    shape: tuple[int | None, ...]
    strides: tuple[int | None, ...]
    dtype: np.dtype
    space: str

    @property
    def packed(self) -> bool:
        return self.dtype == np.bool_ and self.space != "gm"

    @property
    def bits(self) -> int:
        """Of one element."""
        return 1 if self.packed else 8 * self.dtype.itemsize


def parse_module(text: str) -> ir.Module:
    """The module; Fault("unsupported") when the text is no MLIR of the generic form."""
    context = ir.Context()
    context.load_all_available_dialects()
    context.allow_unregistered_dialects = True
    try:
        with context:
            return ir.Module.parse(_ADDRESS_SPACE.sub(r'"\1"', text))
    except ir.MLIRError as error:
        raise Fault(
            "unsupported", "the text is not generic MLIR: " + str(error).split("\n")[0], "parse"
        ) from None


def where(op: ir.Operation, function: str) -> str:
    """Such as `main_mix_aiv, line 57: hivm.hir.vadd`."""
    line = re.search(r":(\d+):\d+", str(op.location))
    return f"{function}, line {line[1] if line else '?'}: {op.name}"


def text_of(op: ir.Operation, name: str, default: str = "") -> str:
    """A string attribute without its quotes, an enum attribute such as #hivm.pipe<PIPE_V> as PIPE_V."""
    if name not in op.attributes:
        return default
    written = str(op.attributes[name])
    inner = re.search(r"<@?([\w.]+)>$", written)
    return inner[1] if inner else written.strip('"')


def integers(op: ir.Operation, name: str) -> tuple[int, ...]:
    """An array<i64: ...> or array<i32: ...>; () where absent."""
    if name not in op.attributes:
        return ()
    attribute = op.attributes[name]
    if not isinstance(attribute, ir.DenseI64ArrayAttr | ir.DenseI32ArrayAttr):
        raise Fault("unsupported", f"{name} = {attribute}, no array of integers", op.name)
    return tuple(attribute)


def integer(op: ir.Operation, name: str) -> int:
    return ir.IntegerAttr(op.attributes[name]).value


def segments(op: ir.Operation) -> tuple[tuple[int, int], ...]:
    """Where each group of operands begins and ends, from operandSegmentSizes."""
    begin, groups = 0, []
    for size in integers(op, "operandSegmentSizes"):
        groups.append((begin, begin + size))
        begin += size
    return tuple(groups)


def reassociation(op: ir.Operation) -> tuple[tuple[int, ...], ...]:
    return tuple(
        tuple(ir.IntegerAttr(i).value for i in ir.ArrayAttr(group))
        for group in ir.ArrayAttr(op.attributes["reassociation"])
    )


def dtype_of(element_type: ir.Type) -> np.dtype:
    name = str(element_type)
    if name == "i1":
        return np.dtype(np.bool_)
    if name == "index":
        return np.dtype(np.int64)
    if name in _FLOATS:
        return np.dtype(_FLOATS[name])
    if re.fullmatch(r"u?i(8|16|32|64)", name):
        return np.dtype(name.replace("i", "int"))
    raise Fault("unsupported", f"elements of type {name}", "types")


def is_memref(type_: ir.Type) -> bool:
    return isinstance(type_, ir.MemRefType)


def memref_of(type_: ir.Type) -> MemRef:
    """Fault("unsupported") for the type of a scalar."""
    if not isinstance(type_, ir.MemRefType):
        raise Fault("unsupported", f"{type_} where a memref belongs", "types")
    memref_type = ir.MemRefType(type_)
    strides, _ = memref_type.get_strides_and_offset()
    dynamic_stride = ir.ShapedType.get_dynamic_stride_or_offset()
    space = memref_type.memory_space
    return MemRef(
        tuple(
            None if memref_type.is_dynamic_dim(i) else memref_type.get_dim_size(i)
            for i in range(memref_type.rank)
        ),
        tuple(None if stride == dynamic_stride else stride for stride in strides),
        dtype_of(memref_type.element_type),
        str(space).strip('"') if space is not None else "gm",
    )


def affine_function(map_: ir.AffineMap) -> Callable[[Sequence[int]], list[int]]:
    """The map as a function of its dimensions and symbols, in that order."""
    results = [_affine_expression(expression, map_.n_dims) for expression in map_.results]
    return lambda values: [result(values) for result in results]


Number = Callable[[Sequence[int]], int]  # of dimensions and symbols

_BINARY: dict[type[ir.AffineExpr], Callable[[Number, Number], Number]] = {
    ir.AffineAddExpr: lambda a, b: lambda v: a(v) + b(v),
    ir.AffineMulExpr: lambda a, b: lambda v: a(v) * b(v),
    ir.AffineModExpr: lambda a, b: lambda v: a(v) % b(v),
    ir.AffineFloorDivExpr: lambda a, b: lambda v: a(v) // b(v),
    ir.AffineCeilDivExpr: lambda a, b: lambda v: -(-a(v) // b(v)),
}


def _affine_expression(expression: ir.AffineExpr, dimensions: int) -> Number:
    expression = expression.maybe_downcast()
    if isinstance(expression, ir.AffineConstantExpr):
        constant = expression.value
        return lambda v: constant
    if isinstance(expression, ir.AffineDimExpr | ir.AffineSymbolExpr):
        position = expression.position + (dimensions if isinstance(expression, ir.AffineSymbolExpr) else 0)
        return lambda v: v[position]
    if not isinstance(expression, ir.AffineBinaryExpr):
        raise Fault("unsupported", f"affine expression {expression}", "affine map")
    left, right = (_affine_expression(side, dimensions) for side in (expression.lhs, expression.rhs))
    return _BINARY[type(expression)](left, right)
