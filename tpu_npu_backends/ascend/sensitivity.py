"""How far a program's own outputs move when its inputs change in their last bits.

Two right computations of a program differ by their roundings, and an output can magnify them without bound:
AdamW's first step, g / (|g| + eps), is a sign where g is near zero. What the rounding of inputs alone does to
XLA's result is no fault of a kernel's (mixed forward-backward error: N. J. Higham, Accuracy and Stability of
Numerical Algorithms, 2nd ed., section 1.5; sampled as in D. S. Parker, Monte Carlo Arithmetic, 1997).
"""

from collections.abc import Sequence

import ml_dtypes
import numpy as np

_FLOATS = tuple(map(np.dtype, (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)))

# Relative change of each floating-point input, up or down by chance: several times what another order of sums
# comes to, so that nearly every element which that moves is moved by some draw. In programs that compute in
# bfloat16, one machine epsilon of it: two XLAs differ by such a program's own roundings.
FLOAT_STEP = 4 * 2.0**-23
HALF_STEP = 2.0**-7
DRAWS = 32
# The largest of the draws is passed by one further draw in 33, twice the largest by next to none.
MARGIN = 2.0


class Sensitivity:
    """A StableHLO program (portable bytecode), compiled by an XLA CPU client of its own for one device.

    Not by the plugin: a hook of the plugin is where this is asked, and must not come back to it. Raises
    what XLA raises where this client cannot compile the program (calls back to Python).
    """

    def __init__(self, code: bytes):
        from jax._src.interpreters import mlir
        from jaxlib import xla_client
        from jaxlib.mlir.dialects import stablehlo

        client = xla_client.make_cpu_client()
        self._device = client.local_devices()[0]
        with mlir.make_ir_context() as context:
            module = mlir.module_to_bytecode(stablehlo.deserialize_portable_artifact(context, code))
        self._program = client.compile_and_load(
            module, xla_client.DeviceList((self._device,)), xla_client.CompileOptions()
        )

    def spread(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], half_precision: bool
    ) -> list[np.ndarray]:
        """For each element of each output, how far rounding may move it from where it is.

        Args:
          inputs: of the program.
          outputs: what another XLA made of them; that they differ from this one's counts too.
          half_precision: whether it computes in bfloat16 or float16 anywhere.

        Returns:
          float64 of the outputs' shapes; 0 where an output is no floating-point number, or not finite.
        """
        step = HALF_STEP if half_precision else FLOAT_STEP
        generator = np.random.default_rng(0)  # the same inputs have the same spread
        widest = [np.zeros(x.shape) for x in outputs]
        for _ in range(DRAWS):
            after = self._run([_nudged(x, step, generator) for x in inputs])
            for most, a, b in zip(widest, outputs, after, strict=True):
                if _is_float(a):
                    moved = np.abs(b.astype(np.float64) - a.astype(np.float64))
                    np.maximum(most, moved, out=most, where=np.isfinite(moved))
        return [MARGIN * most for most in widest]

    def _run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        import jax

        results = self._program.execute_sharded([jax.device_put(x, self._device) for x in inputs])
        return [np.asarray(one) for (one,) in results.disassemble_into_single_device_arrays()]


def _nudged(x: np.ndarray, step: float, generator: np.random.Generator) -> np.ndarray:
    """Zero stays zero: it is exact (padding, masks, the moments of a first step)."""
    if not _is_float(x):
        return x
    step = max(step, float(ml_dtypes.finfo(x.dtype).eps))
    signs = generator.choice((-1.0, 1.0), x.shape)
    return (x.astype(np.float64) * (1 + step * signs)).astype(x.dtype)


def _is_float(x: np.ndarray) -> bool:
    return x.dtype in _FLOATS
