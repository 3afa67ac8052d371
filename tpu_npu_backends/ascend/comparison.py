"""Whether two computations of a program agree: what the kernels give, against what XLA gives."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Relative to the largest value of an output. Programs that compute in half precision anywhere have its
# tolerance on every output.
FLOAT_TOLERANCE = 1e-5
HALF_TOLERANCE = 2e-2

_HALF = ("bfloat16", "float16")


@dataclass(frozen=True)
class Difference:
    """How one output differs.

    Attributes:
      output: its position.
      described: dtype and shape.
      relative: the largest difference over the largest value; infinite where one is NaN, or shapes differ.
        Elements that are `magnified` are left out.
      tolerance: what is allowed; 0 for integers and booleans.
      magnified: how many elements differ by more, and no further than rounding alone moves them.
    """

    output: int
    described: str
    relative: float
    tolerance: float
    magnified: int = 0

    def excess(self) -> float:
        """Above 1 it is too much."""
        if self.tolerance:
            return self.relative / self.tolerance
        return float("inf") if self.relative else 0.0

    def __str__(self) -> str:
        return (
            f"output {self.output} ({self.described}) by {self.relative:.2e} of its largest value, "
            f"{self.tolerance:.0e} is allowed"
        )


def differences(
    expected: Sequence[np.ndarray],
    actual: Sequence[np.ndarray],
    half_precision: bool,
    spread: Sequence[np.ndarray] | None = None,
) -> list[Difference]:
    """One for each expected output, in order.

    Args:
      expected: what XLA gave.
      actual: what the kernels gave.
      half_precision: whether the program computes in it anywhere.
      spread: how far rounding alone moves each element (`sensitivity.py`); none without it.
    """
    return [
        _difference(
            i,
            want,
            actual[i] if i < len(actual) else np.empty(0, want.dtype),
            half_precision,
            0.0 if spread is None else spread[i],
        )
        for i, want in enumerate(expected)
    ]


def has_half_precision(program: bytes) -> bool:
    """Whether a StableHLO program (portable bytecode) has bfloat16 or float16 anywhere."""
    from jax._src.interpreters import mlir
    from jaxlib.mlir.dialects import stablehlo

    with mlir.make_ir_context() as context:
        text = str(stablehlo.deserialize_portable_artifact(context, program))
    return any(f"{x}{kind}>" in text for x in ("x", "<") for kind in ("bf16", "f16"))


def _difference(
    output: int, want: np.ndarray, got: np.ndarray, half_precision: bool, spread: np.ndarray | float
) -> Difference:
    described = f"{want.dtype.name}{list(want.shape)}"
    exact = want.dtype.kind in "biu"
    if want.dtype.kind in "iu" and got.dtype.kind in "iu" and got.dtype.itemsize == want.dtype.itemsize:
        got = got.view(want.dtype)  # kernels have integers without a sign: the bits count
    half = half_precision or want.dtype.name in _HALF
    tolerance = 0.0 if exact else HALF_TOLERANCE if half else FLOAT_TOLERANCE
    if want.shape != got.shape or want.dtype != got.dtype:
        return Difference(output, f"{described}, not {got.dtype.name}{list(got.shape)}", np.inf, tolerance)
    if want.size == 0:
        return Difference(output, described, 0.0, tolerance)
    if exact:
        return Difference(output, described, float(np.mean(want != got)), tolerance)
    kind = np.complex128 if want.dtype.kind == "c" else np.float64
    a, b = want.astype(kind), got.astype(kind)
    finite = np.isfinite(a)
    # Where XLA has an infinity or NaN, the same; elsewhere close.
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(b[finite]).all():
        return Difference(output, f"{described}, infinities and NaN", np.inf, tolerance)
    largest = np.abs(a[finite]).max(initial=0.0) or 1.0
    apart = np.abs(a[finite] - b[finite]) / largest
    magnified = (apart > tolerance) & (apart <= np.broadcast_to(spread, want.shape)[finite] / largest)
    return Difference(
        output, described, float(apart[~magnified].max(initial=0.0)), tolerance, int(magnified.sum())
    )
