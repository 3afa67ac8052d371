"""FLOPs of the matrix products of a compiled program, from the shapes of its text."""

import itertools
import math
import re

from pangu_jax.planner.hlo import Array, Computation, Instruction

_WINDOW = re.compile(r"(\w+)=([\w\-]+)")
_COST_ESTIMATE = re.compile(r'"cost_estimate":\{[^}]*"flops":"?(\d+)')


def product_flops(computation: Computation, product: Instruction) -> int:
    """2 x multiply-adds of a `dot` or `convolution`; 0 for anything else.

    The TPU compiler writes dots as convolutions, a batch dimension sometimes as a window that lies almost
    wholly in its padding: positions outside the data are not counted, as in XLA's HloCostAnalysis.
    """
    if product.opcode == "dot":
        left = computation.by_name[product.operands[0]].arrays[0]
        contracted = product.attribute("lhs_contracting_dims") or "{}"
        inner = math.prod(left.dims[int(dim)] for dim in contracted.strip("{}").split(",") if dim)
        return 2 * math.prod(product.arrays[0].dims) * inner
    if product.opcode == "convolution":
        left, right = (computation.by_name[name].arrays[0] for name in product.operands[:2])
        return _convolution_flops(product, left, right)
    return 0


def _convolution_flops(product: Instruction, left: Array, right: Array) -> int:
    labels, result_label = product.required("dim_labels").split("->")
    left_label, right_label = labels.split("_")
    window = dict(_WINDOW.findall(product.attribute("window") or ""))
    spatial = sorted(letter for letter in left_label if letter.isdigit())

    def per_dimension(name: str, default: str) -> list[str]:
        return window[name].split("x") if name in window else [default] * len(spatial)

    strides, left_steps, right_steps, pads = (
        per_dimension(name, default)
        for name, default in (("stride", "1"), ("lhs_dilate", "1"), ("rhs_dilate", "1"), ("pad", "0_0"))
    )
    positions = 1
    for dim, stride, left_step, right_step, pad in zip(
        spatial, strides, left_steps, right_steps, pads, strict=True
    ):
        positions *= _valid_positions(
            left.dims[left_label.index(dim)],
            right.dims[right_label.index(dim)],
            product.arrays[0].dims[result_label.index(dim)],
            int(stride),
            int(left_step),
            int(right_step),
            int(pad.split("_")[0]),
        )
    inner = right.dims[right_label.index("i")]  # of one feature group
    features = product.arrays[0].dims[result_label.index("f")]
    groups = int(product.attribute("batch_group_count") or 1)
    batch = left.dims[left_label.index("b")] // groups
    return 2 * batch * features * inner * positions


def _valid_positions(size, window, result, stride, left_step, right_step, pad) -> int:
    """Pairs of a result and a window position that meet data: neither padding nor a dilation hole."""
    if size == result and window == 1 and stride == left_step == 1 and pad == 0:
        return result
    extent = (size - 1) * left_step + 1
    count = 0
    for at in range(window):
        offset = at * right_step - pad
        if left_step == 1:
            first = max(0, -(offset // stride)) if offset < 0 else 0
            last = min(result - 1, (extent - 1 - offset) // stride)
            count += max(0, last - first + 1)
        else:
            places = (position * stride + offset for position in range(result))
            count += sum(1 for place in places if 0 <= place < extent and place % left_step == 0)
    return count


def kernel_flops(computation: Computation, call: Instruction) -> int | None:
    """FLOPs of a Pallas kernel; None for one that says nothing of itself and is no attention known here.

    From its own cost estimate where it gives one. Splash and flash attention by their shapes: 2 products
    forward, 5 in the fused backward pass, 3 and 4 in the separate ones; of a causal mask the blocks that
    are computed, which for one block are all of it.
    """
    estimate = _COST_ESTIMATE.search(call.attributes)
    if estimate:
        return int(estimate[1])
    name = f"{call.op_name} {call.name}"
    if not any(word in name for word in ("splash", "flash_attention", "mha")):
        return None
    operands = [computation.by_name[operand].arrays[0] for operand in call.operands]
    queries = next((a for a in operands if len(a.dims) >= 3 and a.dtype in ("bf16", "f32", "f16")), None)
    if queries is None:
        return None
    rest = operands[operands.index(queries) + 1 :]
    keys = next((a for a in rest if a.dims[-1] == queries.dims[-1] and len(a.dims) >= 2), queries)
    causal = any(a.dtype == "s32" and len(a.dims) >= 2 and max(a.dims) == queries.dims[-2] for a in operands)
    share = _causal_share(operands) if causal else 1.0
    return int(2 * _products_of_attention(call, queries) * math.prod(queries.dims) * keys.dims[-2] * share)


def _products_of_attention(call: Instruction, queries: Array) -> int:
    if "dkv" in call.name:
        # One pass also gives the queries' gradients: three results of at least their size instead of two.
        large = sum(math.prod(array.dims) >= math.prod(queries.dims) for array in call.arrays)
        return 5 if large >= 3 else 4
    return 3 if "dq" in call.name else 2


def _causal_share(operands: list[Array]) -> float:
    """Computed part of a causal mask cut into n x n blocks: (n + 1) / 2n. The kernel's table of blocks, s8 or
    s32 [heads, blocks, blocks], comes first."""
    table = next((a for a in operands if len(a.dims) == 3 and a.dtype in ("s8", "s16", "s32")), None)
    blocks = max(table.dims[1:]) if table else 1
    return (blocks + 1) / (2 * blocks)


def all_products(computation: Computation, computations: dict[str, Computation]) -> int:
    """FLOPs of all products of a fused computation, those of fusions inside it included."""
    own = (product_flops(computation, instruction) for instruction in computation.instructions)
    called = itertools.chain.from_iterable(
        instruction.called for instruction in computation.instructions if instruction.opcode == "fusion"
    )
    return sum(own) + sum(all_products(computations[name], computations) for name in called)
