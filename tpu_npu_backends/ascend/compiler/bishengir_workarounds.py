"""Nodes in the forms that the tool gets right: first always, then for what it refused.

bishengir 1.2 folds the dimensions around a sliced one together as if it were whole, and reads the wrong
elements (a slice of dimension 3 of [2, 32, 4, 2, 16]). So each dimension is sliced by itself, with what is
outside of it as rows and what is inside as columns; a stride is a slice of the dimension cut into pieces as
long as it. Concatenations and padding of inner dimensions, which overflow its buffers or never end, are
treated alike.
"""

import math

import numpy as np

from tpu_npu_backends.ascend.compiler.graph import DTYPES, Function, Node, Value


def rewrite(function: Function) -> None:
    """Replace a function's slices and concatenations in place."""
    nodes: list[Node] = []
    for node in function.nodes:
        if node.kind == "slice":
            nodes += _Slice(node).nodes
        elif node.kind == "concatenate" and node.facts["dimension"] < len(node.results[0].shape) - 1:
            nodes += _columns_joined(node)
        elif node.kind == "pad":
            nodes += _Pad(node).nodes
        else:
            nodes.append(node)
    function.nodes = nodes


def replace_misread(function: Function) -> None:
    """Replace in place what the tool compiles to something else and says nothing."""
    nodes: list[Node] = []
    for node in function.nodes:
        nodes += (alternative(node) if node.kind in _MISREAD else []) or [node]
    function.nodes = nodes


class _Form:
    """The nodes that replace one."""

    def __init__(self, node: Node):
        self.nodes: list[Node] = []
        self._location = node.location

    def _add(
        self, kind: str, operands: list[Value], shape: tuple[int, ...], dtype: str | None = None, **facts
    ) -> Value:
        node = Node(kind, operands, facts, location=self._location)
        made = Value(tuple(shape), dtype or operands[0].dtype, node)
        node.results = [made]
        self.nodes.append(node)
        return made

    def _end(self, result: Value) -> None:
        """The last node makes what the node that is replaced made."""
        last = self.nodes[-1]
        last.results, result.node = [result], last


class _Slice(_Form):
    """A slice, dimension by dimension."""

    def __init__(self, node: Node):
        super().__init__(node)
        (result,) = node.results
        value = node.operands[0]
        for dimension, facts in enumerate(
            zip(node.facts["offsets"], node.facts["sizes"], node.facts["strides"], strict=True)
        ):
            value = self._along(value, dimension, *facts)
        self._add("reshape", [value], result.shape)
        self._end(result)

    def _along(self, value: Value, dimension: int, offset: int, size: int, stride: int) -> Value:
        shape = value.shape
        if size == shape[dimension] and stride == 1:
            return value
        outer, inner = math.prod(shape[:dimension]), math.prod(shape[dimension + 1 :])
        stride = stride if size > 1 else 1
        end = offset + size * stride
        if end > shape[dimension]:  # the last piece is not whole
            value = self._pad(value, outer, shape[dimension] * inner, end * inner)
        columns = math.prod(value.shape) // outer
        value = self._columns(value, outer, columns, offset * inner, end * inner)
        if stride > 1:
            value = self._columns(value, outer * size, stride * inner, 0, inner)
        return self._add("reshape", [value], (*shape[:dimension], size, *shape[dimension + 1 :]))

    def _columns(self, value: Value, rows: int, columns: int, first: int, end: int) -> Value:
        if (first, end) == (0, columns):
            return value
        matrix = self._add("reshape", [value], (rows, columns))
        return self._add(
            "slice",
            [matrix],
            (rows, end - first),
            offsets=[0, first],
            sizes=[rows, end - first],
            strides=[1, 1],
        )

    def _pad(self, value: Value, rows: int, columns: int, wanted: int) -> Value:
        matrix = self._add("reshape", [value], (rows, columns))
        filler = Value((), value.dtype, constant=np.zeros((), value.numpy))
        return self._add("pad", [matrix, filler], (rows, wanted), low=[0, 0], high=[0, wanted - columns])


class _Pad(_Form):
    """Padding, dimension by dimension; negative padding is a slice."""

    def __init__(self, node: Node):
        super().__init__(node)
        (result,) = node.results
        value, filler = node.operands
        for dimension, (low, high) in enumerate(zip(node.facts["low"], node.facts["high"], strict=True)):
            shape = value.shape
            rows, inner = math.prod(shape[:dimension]), math.prod(shape[dimension + 1 :])
            if low < 0 or high < 0:
                offsets, sizes = [0] * len(shape), list(shape)
                offsets[dimension] = max(0, -low)
                sizes[dimension] = shape[dimension] + min(0, low) + min(0, high)
                facts = {"offsets": offsets, "sizes": sizes, "strides": [1] * len(shape)}
                cut = Node("slice", [value], facts, location=node.location)
                value = Value(tuple(sizes), value.dtype, cut)
                cut.results = [value]
                self.nodes += _Slice(cut).nodes
            for before, after in (
                (max(0, low), 0),
                (0, max(0, high)),
            ):  # on both sides the tool may never end
                if not (before or after):
                    continue
                columns = value.size // rows
                matrix = self._add("reshape", [value], (rows, columns))
                wide = (rows, columns + (before + after) * inner)
                facts = {"low": [0, before * inner], "high": [0, after * inner]}
                padded = self._add("pad", [matrix, filler], wide, **facts)
                size = wide[1] // inner
                value = self._add("reshape", [padded], (*shape[:dimension], size, *shape[dimension + 1 :]))
        self._add("reshape", [value], result.shape)
        self._end(result)


def _columns_joined(node: Node) -> list[Node]:
    """A concatenation as one of matrices' columns."""
    dimension, (result,) = node.facts["dimension"], node.results
    rows = math.prod(result.shape[:dimension])
    nodes, matrices = [], []
    for operand in node.operands:
        reshaped = Node("reshape", [operand], {}, location=node.location)
        matrices.append(Value((rows, operand.size // rows), operand.dtype, reshaped))
        reshaped.results = [matrices[-1]]
        nodes.append(reshaped)
    joined = Node("concatenate", matrices, {"dimension": 1}, location=node.location)
    joined.results = [Value((rows, result.size // rows), result.dtype, joined)]
    back = Node("reshape", joined.results, {}, [result], node.location)
    result.node = back
    return [*nodes, joined, back]


def alternative(node: Node) -> list[Node]:
    """Other nodes for one that the tool refused by itself; none where there is no other form."""
    if node.kind in _ALTERNATIVES and not node.facts.get("alternative"):
        form = _Alternative(node)
        for each in form.nodes:
            each.facts["alternative"] = True
        return form.nodes
    return []


class _Alternative(_Form):
    """Another way to the same result."""

    def __init__(self, node: Node):
        super().__init__(node)
        (result,) = node.results
        self._shape = result.shape
        _ALTERNATIVES[node.kind](self, node, result)
        if self.nodes:
            self._end(result)

    def _number(self, number: float, dtype: str) -> Value:
        return Value(self._shape, dtype, constant=np.array(number, DTYPES[dtype]))

    def _of(self, kind: str, *operands: Value, dtype: str | None = None, **facts) -> Value:
        """An elementwise node."""
        return self._add(kind, list(operands), self._shape, dtype, **facts)

    def _moved_as_integers(self, node: Node, result: Value) -> None:
        """Booleans are moved and reduced as integers."""
        if result.dtype != "i1":
            return
        wide = []
        for operand in node.operands:
            if operand.constant is not None and operand.constant.ndim == 0:
                constant = operand.constant.astype(np.int32)
                wide.append(Value(operand.shape, "i32", constant=constant))
            else:
                wide.append(self._add("arith.extui", [operand], operand.shape, "i32"))
        facts = dict(node.facts)
        if node.kind == "reduce":
            facts["combiner"] = {"arith.andi": "arith.minsi", "arith.ori": "arith.maxsi"}.get(
                facts["combiner"], facts["combiner"]
            )
        moved = self._add(node.kind, wide, result.shape, "i32", **facts)
        self._of("arith.cmpi", moved, self._number(0, "i32"), dtype="i1", predicate=1)

    def _compared_floats(self, node: Node, result: Value) -> None:
        """Whether either is NaN: whether it differs from itself."""
        a, b = node.operands
        predicate = {7: 1, 14: 13}.get(node.facts["predicate"])
        if predicate is not None:
            of_a = self._of("arith.cmpf", a, a, dtype="i1", predicate=predicate)
            of_b = self._of("arith.cmpf", b, b, dtype="i1", predicate=predicate)
            self._of("arith.andi" if predicate == 1 else "arith.ori", of_a, of_b)

    def _compared_unsigned(self, node: Node, result: Value) -> None:
        """Unsigned integers have the order of signed ones with the highest bit turned."""
        a, b = node.operands
        if node.facts["predicate"] >= 6 and a.dtype == "i32":
            lowest = self._number(-(2**31), "i32")
            a, b = self._of("arith.xori", a, lowest), self._of("arith.xori", b, lowest)
            self._of("arith.cmpi", a, b, dtype="i1", predicate=node.facts["predicate"] - 4)

    def _from_unsigned(self, node: Node, result: Value) -> None:
        """Both halves of the bits are exact as signed integers."""
        (x,) = node.operands
        if x.dtype != "i32" or result.dtype != "f32":
            return
        high = self._of("arith.shrsi", x, self._number(16, "i32"))
        high = self._of("arith.andi", high, self._number(0xFFFF, "i32"))
        low = self._of("arith.andi", x, self._number(0xFFFF, "i32"))
        high, low = self._of("arith.sitofp", high, dtype="f32"), self._of("arith.sitofp", low, dtype="f32")
        self._of("arith.addf", self._of("arith.mulf", high, self._number(65536, "f32")), low)

    def _shifted_logically(self, node: Node, result: Value) -> None:
        """An arithmetic shift, and the bits that the sign filled cleared. By the width or more: undefined."""
        x, bits = node.operands
        width = DTYPES[result.dtype].itemsize * 8
        if result.dtype == "i1":
            return
        if bits.constant is not None and bits.constant.ndim == 0:
            kept = width - int(bits.constant)
            if 0 < kept < width:
                shifted = self._of("arith.shrsi", x, bits)
                self._of("arith.andi", shifted, self._number(2**kept - 1, result.dtype))
            return
        lowest, one = self._number(-(2 ** (width - 1)), result.dtype), self._number(1, result.dtype)
        filled = self._of("arith.shli", self._of("arith.shrsi", lowest, bits), one)
        kept_bits = self._of("arith.xori", filled, self._number(-1, result.dtype))
        self._of("arith.andi", self._of("arith.shrsi", x, bits), kept_bits)

    def _with_sign(self, magnitude: Value, x: Value) -> None:
        negative = self._of("arith.cmpf", x, self._number(0, x.dtype), dtype="i1", predicate=4)
        self._of("arith.select", negative, self._of("arith.negf", magnitude), magnitude, dtype=x.dtype)

    def _truncated(self, node: Node, result: Value) -> None:
        (x,) = node.operands
        self._with_sign(self._of("math.floor", self._of("math.absf", x)), x)

    def _rounded(self, node: Node, result: Value) -> None:
        (x,) = node.operands
        half_up = self._of("arith.addf", self._of("math.absf", x), self._number(0.5, x.dtype))
        self._with_sign(self._of("math.floor", half_up), x)

    def _rounded_to_even(self, node: Node, result: Value) -> None:
        """2^23 has no bits below one, so adding it rounds; from there on all numbers are whole."""
        (x,) = node.operands
        if x.dtype != "f32":
            return
        whole, size = self._number(2.0**23, "f32"), self._of("math.absf", x)
        rounded = self._of("arith.subf", self._of("arith.addf", size, whole), whole)
        small = self._of("arith.cmpf", size, whole, dtype="i1", predicate=4)
        self._with_sign(self._of("arith.select", small, rounded, size, dtype="f32"), x)

    def _arc_tangent(self, node: Node, result: Value) -> None:
        """Cephes' atanf, within 2e-7 (the tool's own is off by 4e-3), of the smaller over the larger."""
        y, dtype = node.operands[0], result.dtype
        x = node.operands[1] if len(node.operands) > 1 else None

        def number(value: float) -> Value:
            return self._number(value, dtype)

        def below(a: Value, b: Value) -> Value:
            return self._of("arith.cmpf", a, b, dtype="i1", predicate=4)

        def select(condition: Value, yes: Value, no: Value) -> Value:
            return self._of("arith.select", condition, yes, no, dtype=dtype)

        def negative(of: Value, yes: Value, no: Value) -> Value:
            """By the sign; 1/x shows that of a zero."""
            inverse = self._of("arith.divf", number(1), of)
            return select(below(inverse, number(0)), yes, select(below(of, number(0)), yes, no))

        height = self._of("math.absf", y)
        width = number(1) if x is None else self._of("math.absf", x)
        steep = below(width, height)
        small, large = select(steep, width, height), select(steep, height, width)
        ratio = self._of("arith.divf", small, large)
        if x is not None:  # 0/0 is the angle 0, inf/inf is 45 degrees
            same = self._of("arith.cmpf", small, large, dtype="i1", predicate=1)
            zero = self._of("arith.cmpf", large, number(0), dtype="i1", predicate=1)
            ratio = select(zero, number(0), select(same, number(1), ratio))
        wide = below(number(math.tan(math.pi / 8)), ratio)
        turned = self._of(
            "arith.divf",
            self._of("arith.subf", ratio, number(1)),
            self._of("arith.addf", ratio, number(1)),
        )
        t = select(wide, turned, ratio)
        square = self._of("arith.mulf", t, t)
        series = number(8.05374449538e-2)
        for coefficient in (-1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1):
            series = self._of("arith.addf", self._of("arith.mulf", series, square), number(coefficient))
        angle = self._of("arith.addf", self._of("arith.mulf", self._of("arith.mulf", series, square), t), t)
        angle = select(wide, self._of("arith.addf", angle, number(math.pi / 4)), angle)
        angle = select(steep, self._of("arith.subf", number(math.pi / 2), angle), angle)
        if x is not None:
            beyond = self._of("arith.subf", number(math.pi), angle)
            angle = negative(x, beyond, angle)
            negative(y, self._of("arith.negf", angle), angle)
        else:
            self._with_sign(angle, y)

    def _copied_sign(self, node: Node, result: Value) -> None:
        size, sign = node.operands
        if result.dtype != "f32":
            return
        bits = self._of("arith.bitcast", size, dtype="i32")
        bits = self._of("arith.andi", bits, self._number(2**31 - 1, "i32"))
        high = self._of("arith.bitcast", sign, dtype="i32")
        high = self._of("arith.andi", high, self._number(-(2**31), "i32"))
        self._of("arith.bitcast", self._of("arith.ori", bits, high), dtype="f32")


_ALTERNATIVES = {
    **{
        kind: _Alternative._moved_as_integers
        for kind in ("broadcast", "transpose", "reduce", "slice", "concatenate", "pad")
    },
    "arith.cmpf": _Alternative._compared_floats,
    "arith.cmpi": _Alternative._compared_unsigned,
    "arith.uitofp": _Alternative._from_unsigned,
    "arith.shrui": _Alternative._shifted_logically,
    "math.trunc": _Alternative._truncated,
    "math.round": _Alternative._rounded,
    "math.roundeven": _Alternative._rounded_to_even,
    "math.copysign": _Alternative._copied_sign,
    "math.atan": _Alternative._arc_tangent,
    "math.atan2": _Alternative._arc_tangent,
}
# A logical shift becomes an arithmetic one, unsigned integers count as signed, and its arc tangent is coarse.
_MISREAD = ("arith.shrui", "arith.cmpi", "arith.uitofp", "math.atan", "math.atan2")
