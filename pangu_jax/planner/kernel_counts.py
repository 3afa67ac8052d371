"""The kernels of a compiled program, counted by who makes them."""

import re
from collections import Counter

from pangu_jax.planner import hlo
from pangu_jax.planner.collectives import KINDS
from pangu_jax.planner.hlo import Instruction, Module

# Of a custom call: the first that its target begins with.
_CALLS = (
    ("__cublas$", "cublas_products"),
    ("__cudnn$fmha", "cudnn_attention"),
    ("__cudnn$", "cudnn_convolutions"),
    ("__gpu$xla.gpu.triton", "pallas"),
    ("tpu_custom_call", "pallas"),
)
_TARGET = re.compile(r'custom_call_target="([^"]*)"')
_TRITON = '"kind":"__triton'
# What launches nothing: names, places, and what other lines are the beginning or the end of.
_NOTHING = {
    "parameter", "get-tuple-element", "tuple", "bitcast", "constant", "partition-id", "replica-id",
    "after-all", "opt-barrier", "while", "conditional", "call", "async-start", "async-update", "async-done",
}  # fmt: skip


def kernel_counts(hlo_text: str) -> dict[str, int]:
    """Kernels in the text of a program, most frequent first; those of a loop count once.

    Keys: "cublas_products", "cudnn_attention", "cudnn_convolutions", "pallas", "triton_fusions" (norms,
    softmax), "fusions" (XLA's own of elementwise work and reductions; on TPU products too), "copies",
    "custom_calls" (any other) and "others" (single operations). Collectives are not among them.

    Raises:
      HloError: the text is no program.
    """
    module = hlo.parse(hlo_text)
    inside = {
        name
        for computation in module.computations.values()
        for instruction in computation.instructions
        if instruction.opcode not in ("while", "conditional", "call")
        for name in instruction.called
    }
    counts = Counter(
        kind
        for name, computation in module.computations.items()
        if name not in inside
        for instruction in computation.instructions
        if (kind := _kind(module, instruction))
    )
    return dict(counts.most_common())


def _kind(module: Module, instruction: Instruction) -> str | None:
    opcode = instruction.opcode
    plain = opcode.removesuffix("-start").removesuffix("-done")
    if opcode in _NOTHING or plain in KINDS:
        return None
    if opcode.startswith("copy"):
        return None if opcode == "copy-done" else "copies"
    if opcode == "custom-call":
        target = _TARGET.search(instruction.attributes)
        return next(
            (kind for start, kind in _CALLS if target and target[1].startswith(start)), "custom_calls"
        )
    if opcode != "fusion":
        return "others"
    if _TRITON in instruction.attributes:
        return "triton_fusions"
    if '"kind":"__custom_fusion"' in instruction.attributes:  # a slice cut by a copy, or a call on slices
        kinds = {_kind(module, one) for one in module.computations[instruction.called[0]].instructions}
        named = kinds & {kind for _, kind in _CALLS}
        return named.pop() if named else "copies"
    return "fusions"
