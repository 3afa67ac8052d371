"""Matrix products as kernels in tiles that fit the cube core: global memory -> L1 -> L0C -> global memory.

bishengir-compile has two ways to a product. A `linalg.matmul` on tensors becomes one call of a library
function from global memory to global memory, which the wheel's library holds for float16 and int8 to float16
alone. What is here is the other way, that of Triton kernels: a function on memrefs that copies tiles and
multiplies them. It becomes nd2nz, mmadL1 and fixpipe at planned addresses of L1 and L0C, and the wheel's
library holds what those call for float32, bfloat16, float16 and int8 to int32.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

# Added to the compiler's other flags for kernels of this kind.
FLAGS = ("-enable-triton-kernel-compile=true",)

# Of one core of an Ascend 910B, in bytes; L0C holds float32 or int32 sums.
L1_BYTES = 524288
L0C_BYTES = 131072
_BYTES = {"f32": 4, "bf16": 2, "f16": 2, "i8": 1}
_ROWS, _COLUMNS, _INNER = 128, 256, 256  # of the largest tiles: L0C is then full
_FRACTAL = 16


@dataclass(frozen=True)
class Matmul:
    """c[g] = a[g] b[g], summed in float32 (int32 for int8 factors).

    Attributes:
      batch, m, k, n: [batch, m, k] times [batch, k, n].
      dtype: of the factors: "f32", "bf16", "f16" or "i8".
      transpose_a: a is stored [batch, k, m].
      transpose_b: b is stored [batch, n, k].
    """

    batch: int
    m: int
    k: int
    n: int
    dtype: str
    transpose_a: bool = False
    transpose_b: bool = False

    @property
    def sums(self) -> str:
        """The dtype of c."""
        return "i32" if self.dtype == "i8" else "f32"


def tiles(product: Matmul) -> tuple[int, int, int]:
    """Rows, columns and inner length of a tile: as large as L0C and L1 allow, alike in size.

    L1 holds one tile of each factor, in fractals that are filled up to 16 rows and 32 bytes.
    """
    rows, columns = _even(product.m, _ROWS), _even(product.n, _COLUMNS)
    width = _BYTES[product.dtype]
    fits = L1_BYTES // width // (_up(rows) + _up(columns))
    return rows, columns, _even(product.k, min(_INNER * 4 // width, max(fits // 32 * 32, _FRACTAL)))


def _even(length: int, most: int) -> int:
    """The length of tiles that cut a length into as few parts as `most` allows."""
    parts = -(-length // most)
    even = -(-length // parts)
    return length if parts == 1 else min(_up(even), most)


def _up(length: int) -> int:
    return -(-length // 32) * 32


def source(product: Matmul) -> str:
    """The kernel's text; its arguments are a, b and c."""
    return _Writer(product).write()


class _Writer:
    def __init__(self, product: Matmul):
        self._product = product
        self._lines: list[str] = []
        self._names = count()
        self._depth = 2

    def write(self) -> str:
        p = self._product
        self._a = (p.batch, p.k, p.m) if p.transpose_a else (p.batch, p.m, p.k)
        self._b = (p.batch, p.n, p.k) if p.transpose_b else (p.batch, p.k, p.n)
        self._c = (p.batch, p.m, p.n)
        self._rows, self._columns, self._inner = tiles(p)
        arguments = [
            "%lock: memref<?xi8>",
            "%space: memref<?xi8>",
            f"%a: {_memref(self._a, p.dtype)} {_role('input', 0)}",
            f"%b: {_memref(self._b, p.dtype)} {_role('input', 1)}",
            f"%c: {_memref(self._c, p.sums)} {_role('output', 0)}",
            *(f"%grid{i}: i32" for i in range(6)),
        ]
        for value in {0, p.batch, 1}:
            self._line(f"%at{value} = arith.constant {value} : index")
        zero = "0" if p.sums == "i32" else "0.0"
        self._line(f"%zero = arith.constant {zero} : {p.sums}")
        if p.batch == 1:
            self._matrix("%at0")
        else:
            self._line(f"scf.for %g = %at0 to %at{p.batch} step %at1 {{")
            self._depth += 1
            self._matrix("%g")
            self._close()
        body = "\n".join(self._lines)
        return (
            f"module {{\n  func.func @main({', '.join(arguments)}) attributes {{{_ATTRIBUTES}}} {{\n"
            f"{body}\n    return\n  }}\n}}\n"
        )

    def _matrix(self, g: str) -> None:
        p = self._product
        for rows, i in self._parts(p.m, self._rows):
            for columns, j in self._parts(p.n, self._columns):
                self._tile(g, i, j, rows, columns)

    def _parts(self, length: int, tile: int) -> Iterator[tuple[int, str]]:
        """A dimension in tiles, a loop over whole ones and then what is left: the size and place of each."""
        whole = length // tile * tile
        if whole == tile:
            yield tile, self._constant(0)
        elif whole:
            at = self._name()
            low, high, step = self._constant(0), self._constant(whole), self._constant(tile)
            self._line(f"scf.for {at} = {low} to {high} step {step} {{")
            self._depth += 1
            yield tile, at
            self._close()
        if whole < length:
            yield length - whole, self._constant(whole)

    def _tile(self, g: str, i: str, j: str, rows: int, columns: int) -> None:
        """One tile of c: the sum over the inner dimension's tiles, and its store."""
        p = self._product
        sums = f"tensor<{rows}x{columns}x{p.sums}>"
        empty, total = self._name(), self._name()
        self._line(f"{empty} = tensor.empty() : {sums}")
        self._line(f"{total} = linalg.fill ins(%zero : {p.sums}) outs({empty} : {sums}) -> {sums}")
        whole = p.k // self._inner * self._inner
        if whole > self._inner:
            low, high, step = self._constant(0), self._constant(whole), self._constant(self._inner)
            result, at, carried = self._name(), self._name(), self._name()
            loop = f"scf.for {at} = {low} to {high} step {step} iter_args({carried} = {total})"
            self._line(f"{result} = {loop} -> ({sums}) {{")
            self._depth += 1
            added = self._multiply(g, i, j, at, rows, columns, self._inner, carried)
            self._line(f"scf.yield {added} : {sums}")
            self._close()
            total = result
        elif whole:
            total = self._multiply(g, i, j, self._constant(0), rows, columns, whole, total)
        if whole < p.k:
            total = self._multiply(g, i, j, self._constant(whole), rows, columns, p.k - whole, total)
        there, type_ = self._window("%c", self._c, p.sums, g, (i, j), (rows, columns))
        stored = f"bufferization.materialize_in_destination {total} in writable {there}"
        self._line(f"{stored} : ({sums}, {type_}) -> ()")

    def _multiply(
        self, g: str, i: str, j: str, l: str, rows: int, columns: int, inner: int, total: str
    ) -> str:
        p = self._product
        a = self._factor("%a", self._a, g, (i, l), (rows, inner), p.transpose_a)
        b = self._factor("%b", self._b, g, (l, j), (inner, columns), p.transpose_b)
        result, sums = self._name(), f"tensor<{rows}x{columns}x{p.sums}>"
        types = f"tensor<{rows}x{inner}x{p.dtype}>, tensor<{inner}x{columns}x{p.dtype}>"
        self._line(f"{result} = linalg.matmul ins({a}, {b} : {types}) outs({total} : {sums}) -> {sums}")
        return result

    def _factor(self, name, shape, g, at, size, transposed) -> str:
        """A tile of a factor in L1, as a tensor; the cube reads it across where it is stored transposed."""
        dtype = self._product.dtype
        stored_at, stored = (at[::-1], size[::-1]) if transposed else (at, size)
        there, type_ = self._window(name, shape, dtype, g, stored_at, stored)
        here, tensor = self._name(), self._name()
        local = _memref(stored, dtype)
        self._line(f"{here} = memref.alloc() : {local}")
        self._line(f"memref.copy {there}, {here} : {type_} to {local}")
        self._line(f"{tensor} = bufferization.to_tensor {here} restrict writable : {local}")
        if not transposed:
            return tensor
        empty, result = self._name(), self._name()
        stored_type, wanted = (f"tensor<{'x'.join(map(str, s))}x{dtype}>" for s in (stored, size))
        self._line(f"{empty} = tensor.empty() : {wanted}")
        across = f"linalg.transpose ins({tensor} : {stored_type}) outs({empty} : {wanted})"
        self._line(f"{result} = {across} permutation = [1, 0]")
        return result

    def _window(self, name, shape, dtype, g, at, size) -> tuple[str, str]:
        """A tile of an argument, and its type."""
        result = self._name()
        type_ = f"memref<{size[0]}x{size[1]}x{dtype}, strided<[{shape[2]}, 1], offset: ?>>"
        self._line(
            f"{result} = memref.subview {name}[{g}, {at[0]}, {at[1]}] [1, {size[0]}, {size[1]}] [1, 1, 1] : "
            f"{_memref(shape, dtype)} to {type_}"
        )
        return result, type_

    def _constant(self, value: int) -> str:
        name = self._name()
        self._line(f"{name} = arith.constant {value} : index")
        return name

    def _name(self) -> str:
        return f"%v{next(self._names)}"

    def _line(self, text: str) -> None:
        self._lines.append("  " * self._depth + text)

    def _close(self) -> None:
        self._depth -= 1
        self._line("}")


_ATTRIBUTES = (
    "hacc.entry, hacc.function_kind = #hacc.function_kind<DEVICE>, "
    'mix_mode = "aic", global_kernel = "local", WorkspaceArgIdx = 1 : i64, SyncBlockLockArgIdx = 0 : i64'
)


def _memref(shape, dtype: str) -> str:
    return f"memref<{''.join(f'{size}x' for size in shape)}{dtype}>"


def _role(kind: str, index: int) -> str:
    return f"{{hacc.arg_type = #hacc.arg_type<{kind}>, hacc.{kind}_idx = #hacc.{kind}_idx<{index}>}}"
