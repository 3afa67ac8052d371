"""Operators written so that the Ascend compiler makes few kernels of them: int8 products and fused chains.

Each is a JAX function, and runs on any platform.
"""

from tpu_npu_backends.ascend.operators.chains import bias_activation, rms_norm, rms_norm_residual
from tpu_npu_backends.ascend.operators.quantised import (
    dequantise,
    int8_matmul,
    int8_product,
    quantise_columns,
    quantise_rows,
)

__all__ = [
    "bias_activation",
    "dequantise",
    "int8_matmul",
    "int8_product",
    "quantise_columns",
    "quantise_rows",
    "rms_norm",
    "rms_norm_residual",
]
