"""Ascend 910B kernels executed in NumPy, instruction by instruction, at the addresses that were planned."""

from tpu_npu_backends.ascend.simulator.faults import Fault
from tpu_npu_backends.ascend.simulator.kernel import KernelTraffic, SimulatedKernel, counting

__all__ = ["Fault", "KernelTraffic", "SimulatedKernel", "counting"]
