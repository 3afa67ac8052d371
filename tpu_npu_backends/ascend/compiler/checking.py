"""Kernels proved at compile time: what the tool made is run in the simulator beside NumPy, on random inputs.

bishengir 1.2 compiles some kernels wrongly and says nothing (slices of middle dimensions, vector halves of
mixed kernels without synchronisation). A kernel that disagrees, or that the simulator catches at a fault,
counts as refused: it is cut in two, and what is left of it at last goes to the host and is listed.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tpu_npu_backends.ascend import simulator
from tpu_npu_backends.ascend.compiler import evaluating
from tpu_npu_backends.ascend.compiler.emission import Emitted, base_of
from tpu_npu_backends.ascend.compiler.graph import DTYPES, Node, Value

_WRONG = 2e-2  # norm-wise; a wrong element is off by its own size, rounding by far less
_MOST_DRAWS, _NUMBERS = 16, 64  # as many draws as give a small kernel so many numbers
_SHIFTS = ("arith.shli", "arith.shrsi", "arith.shrui")
_LARGEST = 1e30  # of what is compared: beyond, overflow of random inputs says nothing


@dataclass(frozen=True)
class KernelVerdict:
    """What the simulator says of a kernel.

    Attributes:
      wrong: what is wrong with it; "" where nothing is.
      difference: how far it is from NumPy, norm-wise; None where it did not run to its end.
      on_chip: bytes that it uses of each memory.
    """

    wrong: str = ""
    difference: float | None = None
    on_chip: dict[str, int] = field(default_factory=dict)


@functools.cache
def version() -> str:
    """Of the simulator and this check: a verdict of another does not count."""
    hashed = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(Path(simulator.__file__).parent.glob("*.py")):
        hashed.update(path.read_bytes())
    return hashed.hexdigest()[:16]


def check(nodes: Sequence[Node], emitted: Emitted, instructions: str) -> KernelVerdict:
    """Run a kernel beside NumPy; nothing is wrong with one whose instructions the simulator does not know."""
    generator = np.random.default_rng(0)
    wanted = [(tensor.shape, DTYPES[tensor.dtype]) for _, tensor in emitted.outputs]
    on_chip: dict[str, int] = {}
    worst = 0.0
    try:
        kernel = simulator.SimulatedKernel.parse(instructions)
        on_chip = dict(kernel.usage.bytes)
        for _ in range(_draws(emitted)):
            values = _drawn(nodes, emitted, generator)
            inputs = [
                np.ascontiguousarray(values[value]).reshape(tensor.shape) for value, tensor in emitted.inputs
            ]
            made = kernel.run(inputs, wanted)
            expected = _expected(nodes, values, emitted)
            worst = max(worst, *(_apart(np.asarray(a), b) for a, b in zip(made, expected, strict=True)))
            if worst > _WRONG:
                break
    except simulator.Fault as fault:
        wrong = "" if fault.kind == "unsupported" else f"the simulator finds a fault: {fault}"[:300]
        return KernelVerdict(wrong, None, on_chip)
    wrong = f"its results are wrong by {worst:.1g} in the simulator" if worst > _WRONG else ""
    return KernelVerdict(wrong, worst, on_chip)


def _draws(emitted: Emitted) -> int:
    """How often inputs are drawn: one number may by chance show nothing of its sign, a thousand do."""
    largest = max((value.size for value, _ in (*emitted.inputs, *emitted.outputs)), default=1)
    return max(1, min(_MOST_DRAWS, _NUMBERS // max(largest, 1)))


def _drawn(
    nodes: Sequence[Node], emitted: Emitted, generator: np.random.Generator
) -> dict[Value, np.ndarray]:
    """Inputs: constants as they are, random ones, and amounts of shifts within the width."""
    amounts = {base_of(node.operands[1]) for node in nodes if node.kind in _SHIFTS}
    values: dict[Value, np.ndarray] = {}
    for value, _ in emitted.inputs:
        if value in values:
            continue
        if value.constant is not None:
            values[value] = _full(value)
        elif value in amounts:
            width = DTYPES[value.dtype].itemsize * 8
            values[value] = generator.integers(0, width, value.shape).astype(DTYPES[value.dtype])
        else:
            values[value] = _random(value, generator)
    return values


def _full(value: Value) -> np.ndarray:
    assert value.constant is not None
    return value.array().astype(DTYPES[value.dtype])


def _random(value: Value, generator: np.random.Generator) -> np.ndarray:
    if value.dtype == "i1":
        return generator.random(value.shape) < 0.5
    if value.dtype.startswith("i"):
        # Small ones are indices; large ones distinguish signed from unsigned, and whole from rounded
        # arithmetic.
        limits = np.iinfo(DTYPES[value.dtype])
        small = generator.integers(1, 8, value.shape)
        large = generator.integers(limits.min, limits.max, value.shape, DTYPES[value.dtype])
        return np.where(generator.random(value.shape) < 0.5, small, large).astype(DTYPES[value.dtype])
    return generator.standard_normal(value.shape, np.float32).astype(DTYPES[value.dtype])


def _expected(nodes: Sequence[Node], values: dict[Value, np.ndarray], emitted: Emitted) -> list[np.ndarray]:
    def array(value: Value) -> np.ndarray:
        base = base_of(value)
        if base not in values:  # a constant of one number is no argument of the kernel
            values[base] = _full(base)
        return values[base].reshape(value.shape)

    for node in nodes:
        if node.kind == "reshape":
            continue
        (result,) = node.results
        arrays = [array(operand) for operand in node.operands]
        values[result] = evaluating.evaluate(node.kind, node.facts, arrays, result.shape, result.dtype)
    return [values[value].reshape(tensor.shape) for value, tensor in emitted.outputs]


def _apart(made: np.ndarray, expected: np.ndarray) -> float:
    if expected.dtype.kind in "bi":
        return float(np.mean(made != expected))
    made, expected = made.astype(np.float64).reshape(expected.shape), expected.astype(np.float64)
    counted = np.isfinite(expected) & (np.abs(expected) < _LARGEST)
    made, expected = made[counted], expected[counted]
    if not np.isfinite(made).all():
        return float("inf")
    return float(np.linalg.norm(made - expected) / max(np.linalg.norm(expected), 1e-20))
