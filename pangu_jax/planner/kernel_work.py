"""What a kernel that is no product takes: compilers do not say, so by FLOPs at a part of the peak, or bytes.

Kernels of Pallas, and of cuDNN for attention. Splash attention works on tiles that fill the matrix unit.
Attention of short rows does not: of its products whole tiles are counted, and what its scheduled instructions
come to (docs/scaling.md).
"""

import math
import re
from typing import NamedTuple

from pangu_jax.planner.gpu_work import BANDWIDTH
from pangu_jax.planner.hlo import Computation, Instruction
from pangu_jax.planner.products import kernel_flops
from tpu_npu_backends.chips import Chip

EFFICIENCY = 0.5  # of the peak, splash and flash attention, and cuDNN's
# Of rows by group, an assumption: what XLA's products reach (0.7), less a tile per group that two share.
EFFICIENCY_GROUPED = 0.65
# Of short rows, padding counted as work. For v5p the kernels' instructions, scheduled by its compiler, are a
# cycle each: 37% of the peak forward, 24% backward for 49 rows. For GPUs it is an assumption.
EFFICIENCY_SHORT = 0.25

_SHORT, _GROUPED = "short_attention", "gmm"
# Of rows by group, those in a group (models/grouped_products.py): the kernel passes over tiles without any.
_FILLED = re.compile(r"filled_(\d\.\d+)")
_ROWS_ON_GPU = 64  # of a program's arrays, as models/short_attention_gpu.py has them
_CUDNN_ATTENTION = 'custom_call_target="__cudnn$fmha'
_SCORES = re.compile(r'"intermediate_tensor_shape":\s*\{[^]]*?"dimensions":\s*\[([^]]*)\]')
_CAUSAL = re.compile(r'"mask_type":\s*"\w*CAUSAL')
_BYTES = re.compile(r'"bytes_accessed":"?(\d+)')


class KernelWork(NamedTuple):
    """Seconds of a kernel, and its FLOPs."""

    seconds: float
    flops: int


def on_tpu(computation: Computation, call: Instruction, chip: Chip) -> KernelWork | None:
    """Of a `tpu_custom_call`; None for one that says nothing of itself and is no attention known here."""
    flops = kernel_flops(computation, call)
    if flops is None:
        return None
    said = _BYTES.search(call.attributes)
    name = f"{call.op_name} {call.name}"
    filled = _FILLED.search(name) if _GROUPED in name else None
    flops = int(flops * float(filled[1])) if filled else flops
    reached = EFFICIENCY_SHORT if _SHORT in name else EFFICIENCY_GROUPED if _GROUPED in name else EFFICIENCY
    return _longest(flops, reached, int(said[1]) if said else 0, chip)


def on_gpu(computation: Computation, call: Instruction, chip: Chip) -> KernelWork | None:
    """Of a kernel of Triton's or cuDNN's; None for one that is not known here."""
    if _CUDNN_ATTENTION in call.attributes:
        return _cudnn_attention(computation, call, chip)
    if _SHORT not in call.op_name:
        return None
    arrays = [computation.by_name[name].arrays[0] for name in call.operands]
    batch, length, heads, _, width = arrays[0].dims
    rows = -(-length // _ROWS_ON_GPU) * _ROWS_ON_GPU
    products = 5 if f"{_SHORT}_backward" in call.op_name else 2
    flops = products * 2 * batch * heads * rows * rows * width
    return _longest(flops, EFFICIENCY_SHORT, sum(a.bytes for a in (*arrays, *call.arrays)), chip)


def _cudnn_attention(computation: Computation, call: Instruction, chip: Chip) -> KernelWork | None:
    """Two products forward, five backward, where scores are made again; half of each where the kernel is told
    that its mask is causal. Of a mask that it is handed as a bias it computes all."""
    scores, queries = _SCORES.search(call.attributes), computation.by_name[call.operands[0]].arrays[0]
    if scores is None:
        return None
    pairs = math.prod(int(size) for size in re.findall(r"\d+", scores[1]))
    products = 5 if 'Backward"' in call.attributes else 2
    flops = products * 2 * pairs * queries.dims[-1]
    if _CAUSAL.search(call.attributes):
        flops //= 2
    given = (computation.by_name[name].arrays for name in call.operands if name in computation.by_name)
    moved = sum(array.bytes for arrays in (*given, call.arrays) for array in arrays)
    return _longest(flops, EFFICIENCY, moved, chip)


def _longest(flops: int, efficiency: float, moved: int, chip: Chip) -> KernelWork:
    by_bytes = moved / (BANDWIDTH * chip.hbm_bytes_per_s)
    return KernelWork(max(flops / (efficiency * chip.peak_flops), by_bytes), flops)
