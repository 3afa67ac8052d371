"""Options of XLA on CPU, each with its reason."""

import ctypes
import importlib.metadata
import importlib.util

COMPILER_OPTIONS: dict[str, str | bool | int] = {
    # XLA hands products, reductions and what is fused with them to the YNN library by default. Single
    # products are what it is good at: they alone make a training step of width 512 on 2 cores of Zen 3 1.2
    # times as fast as by Eigen. On first-generation EPYC all of YNN cost 2%.
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
}

# mallopt(3) of the GNU C library, <malloc.h>.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def is_only_choice() -> bool:
    """Whether no accelerator's plugin is installed, so that `auto` can only mean CPU. Touches no device.

    Our own plugin, for npu, simulates on the CPU, and only for who asks for it by name.
    """
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    others = [one for one in plugins if not one.value.startswith("tpu_npu_backends.")]
    return not others and importlib.util.find_spec("libtpu") is None


def one_arena() -> bool:
    """Let the C library have one arena of memory; False where it is not the GNU C library.

    Threads that a library starts when it is imported (polars does) get arenas of their own, and XLA's threads
    share these later: then nothing that XLA frees is kept, and a step of a small ViT faults 80 000 pages in,
    22% more of CPU time. So this comes before recipes import what they name.
    """
    return _set(_ARENA_MAX, 1)


def keep_freed_memory() -> bool:
    """Let the C library keep the memory that XLA frees; False where it is not the GNU C library.

    XLA allocates the working memory of a step (1.2 GB for gin/bench/small.gin) at its start and frees it
    at its end. By default that goes back to the kernel, and the next step pays for 300 000 page faults: 4% of
    a step on a quiet machine, an eighth beside another process that also takes and returns memory. Kept, and
    in one arena (others cannot hold blocks this large), it is faulted in during the first steps only. The
    price: a few times the working memory stays with the process, three for that recipe, nine for a program
    of 64 MiB on a busy machine. Must come before JAX starts threads.
    """
    return all([one_arena(), _set(_MMAP_MAX, 0), _set(_TRIM_THRESHOLD, -1)])


def _set(parameter: int, value: int) -> bool:
    try:
        return bool(ctypes.CDLL(None).mallopt(parameter, value))
    except (AttributeError, OSError):  # musl, macOS
        return False
