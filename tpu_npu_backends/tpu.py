"""Options of XLA for TPU: the one table of them, each with its reason, and what a person says instead.

Measured by compiling, never run on hardware: figures are MFU by the count of docs/scaling.md, of a 107B
encoder-decoder with tensor and fully sharded data parallelism, on 64 chips of v5p unless said otherwise.
"""

import os

from tpu_npu_backends.errors import BackendError

VARIABLE = "PANGU_TPU_OPTIONS"

COMPILER_OPTIONS = {
    # Vector memory that one fused program may take, instead of a small default: most of the 128 MiB of v5e
    # and v6e, all of the 64 MiB per core of v5p and tpu7x (the compiler takes the limit down to what there
    # is). Large products get larger tiles: 71.9% -> 81.2% compute-only, together with saving the residual
    # stream; one product of size 8192 on a device of tpu7x takes 92% of the peak, 80% without the limit.
    "xla_tpu_scoped_vmem_limit_kib": "98304",
    # Orders the program so that what a collective waits for lies between its start and its done.
    "xla_tpu_enable_latency_hiding_scheduler": "true",
}

# Collectives are carried out by the SparseCores, beside the TensorCore: 51.8% -> 62.4% with exposed
# communication. Gathers over the whole mesh then become zero-fill + all-reduce: gather over one torus ring
# after another (`fsdp` as one-dimensional rings) instead.
SPARSE_CORE_OPTIONS = {
    "xla_tpu_enable_sparse_core_collective_offload_all_gather": "true",
    "xla_tpu_enable_sparse_core_collective_offload_reduce_scatter": "true",
    "xla_tpu_enable_sparse_core_collective_offload_all_reduce": "true",
    # Operands keep the tiling that the TensorCore gave them: no copies on the way to the SparseCore.
    "xla_tpu_use_tc_device_shape_on_sc": "true",
    # The other way to overlap, fusing a collective with a product. It takes collectives away from the
    # SparseCores, and on v5p the compiler refuses it.
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather": "false",
    "xla_tpu_enable_async_collective_fusion_fuse_all_reduce": "false",
    "xla_tpu_enable_async_collective_fusion_fuse_reduce_scatter": "false",
}

# v4 has 16 MiB per core: a large product takes the same cycles with the limit and without.
_SMALL_VECTOR_MEMORY = ("v4",)
_SPARSE_CORE_OFFLOAD = ("v5p", "v6e", "tpu7x")

# `Device.device_kind` -> name of the chip in tpu_npu_backends.chips.
CHIP_OF_KIND = {
    "TPU v4": "v4",
    "TPU v5 lite": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
    "TPU7x": "tpu7x",
}


def compiler_options(chip_name: str) -> dict[str, str | bool | int]:
    """XLA options for jit or `lowered.compile` on a chip ("v5p"); {} for a chip not known."""
    if chip_name not in CHIP_OF_KIND.values():
        return {}
    options: dict[str, str | bool | int] = {**COMPILER_OPTIONS}
    if chip_name in _SMALL_VECTOR_MEMORY:
        del options["xla_tpu_scoped_vmem_limit_kib"]
    if chip_name in _SPARSE_CORE_OFFLOAD:
        options |= SPARSE_CORE_OPTIONS
    return options | told()


def told() -> dict[str, str]:
    """Options by PANGU_TPU_OPTIONS, NAME=VALUE with commas between; BackendError where it is no such list.

    They take the place of the table's in runs, plans and programs that are compiled for a look.
    """
    pairs = [part.strip() for part in os.environ.get(VARIABLE, "").split(",") if part.strip()]
    options = {}
    for pair in pairs:
        name, equals, value = (piece.strip() for piece in pair.partition("="))
        if not (name.startswith("xla_") and equals and value):
            raise BackendError(
                f"{VARIABLE}: {pair!r} is no option of XLA; say NAME=VALUE, several with commas, such as "
                "xla_tpu_scoped_vmem_limit_kib=32768"
            )
        options[name] = value
    return options
