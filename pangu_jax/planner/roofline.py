"""Seconds of one matrix product on a chip: whichever of compute and memory takes longer."""

import numpy as np

from pangu_jax.planner.efficiency import Efficiency
from tpu_npu_backends.chips import Chip

Side = float | np.ndarray


def product_seconds(
    chip: Chip, reached: Efficiency, bytes_each: int, tokens: Side, rows: Side, columns: Side
) -> np.ndarray:
    """Of [tokens, rows] x [rows, columns], without launching a kernel.

    Args:
      chip: where.
      reached: of its peak.
      bytes_each: of a number.
      tokens, rows, columns: numbers, or arrays of candidates.
    """
    smallest = np.minimum(np.minimum(tokens, rows), columns)
    smallest = np.where(smallest > 0, smallest, 1.0)  # what rests in a step multiplies nothing
    rate = chip.peak_flops * reached.matmul * smallest / (smallest + reached.narrow)
    moved = bytes_each * (tokens * rows + rows * columns + tokens * columns)
    return np.maximum(2.0 * tokens * rows * columns / rate, moved / chip.hbm_bytes_per_s)
