"""Unsigned integers are moved as signed ones: jaxlib's lowering broadcasts and transposes no others."""

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from tpu_npu_backends.ascend.compiler.dots import element_of, shape_of
from tpu_npu_backends.ascend.compiler.rewriting import Rewrite


def _as(value: ir.Value, element: ir.Type) -> ir.Value:
    return stablehlo.bitcast_convert(ir.RankedTensorType.get(shape_of(value), element), value)


def _moved(op: ir.Operation) -> list[ir.Value] | None:
    element = element_of(op.operands[0])
    if not isinstance(element, ir.IntegerType) or not element.is_unsigned:
        return None
    signed = ir.IntegerType.get_signless(element.width)
    operand = _as(op.operands[0], signed)
    moved = op.clone().operation
    moved.operands[0] = operand
    moved.results[0].set_type(ir.RankedTensorType.get(shape_of(op.results[0]), signed))
    return [_as(moved.results[0], element)]


REWRITES: dict[str, Rewrite] = {
    f"stablehlo.{name}": _moved for name in ("broadcast_in_dim", "transpose", "reverse")
}
