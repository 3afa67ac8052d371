"""Kernels of decoding on a CPU: products and attention of a few rows, by jax.ffi.

XLA computes a product with few columns at a third of the speed at which memory gives the weight, and attention
with one query per head on one core. These kernels do both on all cores, as fast as memory allows. They are
optional: built by `make kernels` (or `python -m tpu_npu_backends.cpu_kernels.build`) where there is a C++ compiler,
for the processor at hand. Without them everything runs the same, slower.
"""
