"""XLA's options for CPU, each with its reason."""

COMPILER_OPTIONS = {
    # XLA hands products to the YNN library by default. In a training step of width 512 on 2 cores its
    # batched products of attention ran at two thirds of Eigen's speed, and a whole step took 2% longer.
    "xla_cpu_experimental_ynn_fusion_type": "",
}
