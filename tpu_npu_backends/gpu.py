"""XLA's compiler for NVIDIA's GPUs: where it is, devices of it that are not there, and its options.

The plugin alone is enough (`pip install 'pangu-jax[cuda-compile]'`, 130 MB): no driver and no CUDA toolkit. A
program that is compiled so is for looking at, memory, collectives and schedule: on the chip its products are
tuned.
"""

import importlib.metadata
import importlib.util
import re
from typing import Any

import jax
import jaxlib
from jax.experimental import topologies

from tpu_npu_backends import gpu_options
from tpu_npu_backends.errors import BackendError
from tpu_npu_backends.gpu_cards import CARDS

PLUGINS = ("jax_cuda13_plugin", "jax_cuda12_plugin")  # each with its PJRT half of the same version
INSTALL = "pip install 'pangu-jax[cuda-compile]'"

COMPILER_OPTIONS: dict[str, str | bool | int] = {
    # Without a chip nothing can be tuned, and every product would be a Triton kernel with a tile of 16 x 8.
    # The large ones of a step go to cuBLASLt on the chip too.
    "xla_gpu_enable_triton_gemm": False,
    **gpu_options.COMPILER_OPTIONS,
}

# Compute capabilities of which the compiler has tables of products and collectives: it writes what it expects
# each instruction to take, which planner/gpu_work.py reads. For others (8.0, 8.9, 10.3) it fails.
TIMED = ((9, 0), (10, 0))
_TIMES: dict[str, str | bool | int] = {
    "xla_gpu_collect_cost_model_stats": True,
    # Also what the scheduler reckons with. Its network between nodes (`xla_gpu_analytical_latency_estimator_
    # options`) is no option of a program: it can be given to a process alone, in XLA_FLAGS.
    "xla_gpu_enable_analytical_sol_latency_estimator": True,
}


def compiler_options(card: str) -> dict[str, str | bool | int]:
    """To compile for a card that is not there."""
    return COMPILER_OPTIONS | (_TIMES if CARDS[card].capability in TIMED else {})


# What a program that was compiled without a card leaves open; said wherever one is shown.
CANNOT_SAY = (
    "products are cuBLASLt's, not tuned: on the card each is timed in several forms, Triton's too, and the "
    "fastest is kept, with another workspace",
    "what NCCL takes for its buffers, and which algorithm it chooses: collectives are priced by links",
    "which engine cuDNN chooses for attention, and its workspace",
)


def plugin() -> tuple[str, str] | None:
    """The plugin that JAX would take, and its version; None where none is installed. Loads nothing."""
    for name in PLUGINS:
        if importlib.util.find_spec(name):
            try:
                return name, importlib.metadata.version(name.replace("_", "-"))
            except importlib.metadata.PackageNotFoundError:
                return name, "unknown"
    return None


def mismatch() -> str | None:
    """What is wrong with the plugin's version: JAX takes none but of jaxlib's own. None where nothing is."""
    package, version = plugin() or ("", "")
    if not package or _numbers(version) == _numbers(jaxlib.__version__):
        return None
    return f"{package} {version} does not go with jaxlib {jaxlib.__version__}"


def devices(name: str, card: str, shape: tuple[int, int]) -> list[Any]:
    """Devices of nodes that are not there, to compile for; BackendError where the plugin is not.

    Args:
      name: of the topology.
      card: one of CARDS.
      shape: nodes, and cards of each.
    """
    found = plugin()
    if found is None:
        raise BackendError(f"compiling for {name} needs a plugin: {INSTALL} (no GPU is needed)")
    if why := mismatch():
        raise BackendError(
            f"compiling for {name}: {why}; take this JAX's: {INSTALL} 'jax=={jax.__version__}'"
        )
    nodes, cards = shape
    try:
        described = topologies.get_topology_desc(
            name, "cuda", target_config=CARDS[card].target_text, topology=f"1x{nodes}x{cards}"
        )
    except (RuntimeError, ValueError, NotImplementedError, jax.errors.JaxRuntimeError) as error:
        said = str(error).splitlines()[0]
        if "not implemented for" in said:  # the plugin did not register: it wants a driver, or failed to load
            raise BackendError(
                f"compiling for {name}: {found[0]} did not load; set JAX_PLATFORMS=cpu: that is for "
                "machines without a GPU"
            ) from None
        raise BackendError(f"the plugin refuses {name}: {said}") from None
    return list(described.devices)


def _numbers(version: str) -> str:
    """What versions are compared by, as JAX does: 0.10.2 of 0.10.2.dev1."""
    found = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return found[0] if found else version
