"""Kernels of training and decoding on a CPU, called through jax.ffi.

XLA leaves speed on a CPU: products with few columns go at a third of the speed at which memory gives the
weight, attention with one query per head on one core, batched products of attention at half the speed of
others, and sums of squares at a tenth of memory's. These kernels are optional: `make kernels` (or
`python -m tpu_npu_backends.cpu_kernels.build`) builds them where there is a C++ compiler, for the processor
at hand. Without them everything runs the same, slower.

Few rows, for decoding: products.cc, attention.cc. Whole windows, for training: matmul.cc, grouped.cc,
linear.cc, flash.cc, norms.cc, layer_norm.cc.
"""
