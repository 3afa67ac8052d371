"""Compiling for a topology: the real compiler, with or without the hardware."""

import warnings
from typing import Any

import jax

from tpu_npu_backends import cpu, gpu, tpu
from tpu_npu_backends.errors import BackendError
from tpu_npu_backends.topologies import Topology


def compiler_options(topology: Topology) -> dict[str, str | bool | int]:
    """The table's XLA options for the chips of a topology."""
    platform = topology.chip.platform
    if platform == "tpu":
        return {**tpu.compiler_options(topology.chip.name)}
    return {**(cpu.COMPILER_OPTIONS if platform == "cpu" else gpu.compiler_options(topology.chip.name))}


def compile_for(
    topology: Topology, lowered: jax.stages.Lowered, **options: str | bool | int
) -> jax.stages.Compiled:
    """The compiled program of a step that was lowered for the devices of a topology.

    `.as_text()` is for pangu_jax.planner.cost; `.memory_analysis()` gives bytes per device. It runs only
    where the devices are real. BackendError in one line where it does not fit a device's memory, or where
    the compiler does not take an option of PANGU_TPU_OPTIONS.

    Args:
      topology: gives the compiler options.
      lowered: `jax.jit(step).lower(...)`, its inputs sharded over `topologies.devices(topology)`.
      options: XLA options on top of the table's.
    """
    told: dict[str, Any] = {**compiler_options(topology), **options}  # JAX's type leaves out numbers
    with warnings.catch_warnings():
        # A program for a chip that is not there goes into JAX's compilation cache and cannot be read back:
        # it warns and compiles.
        warnings.filterwarnings("ignore", message="Error reading persistent compilation cache entry")
        try:
            return lowered.compile(compiler_options=told)
        except jax.errors.JaxRuntimeError as error:
            if "INVALID_ARGUMENT" in str(error) and any(name in str(error) for name in tpu.told()):
                said = str(error).splitlines()[0].removeprefix("INVALID_ARGUMENT: ")
                raise BackendError(f"the compiler for {topology.name}: {said}; mend {tpu.VARIABLE}") from None
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            said = str(error).splitlines()[0].removeprefix("RESOURCE_EXHAUSTED: ")
            raise BackendError(
                f"the step does not fit a {topology.chip.unit} of {topology.name}: {said}"
            ) from None
