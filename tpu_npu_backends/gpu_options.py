"""Options of XLA for NVIDIA's GPUs in a run: the one table of them, each with its reason.

Seen in compiled programs, never run on hardware. Figures are of the step of nlp/small.gin, batch 64, fsdp 8
on one node of 8 H100s: MiB that a step moves between the GPUs, and how many of them while a product is
computed (docs/gpu_numbers.md, with what was tried and left out).
"""

COMPILER_OPTIONS: dict[str, str | bool | int] = {
    # Orders the program so that what a collective waits for lies between its start and its done. This
    # compiler does so for these chips unasked: the same program with and without.
    "xla_gpu_enable_latency_hiding_scheduler": True,
    # A layer's weights are gathered while the layer before computes: 0 -> 101 of 158 MiB, for memory of one
    # layer more (2.24 -> 2.39 GiB of temporary memory).
    "xla_gpu_enable_pipelined_all_gather": True,
    # A layer's gradients are added up while the next computes. With the one for all-reduce, from which these
    # are made: 68 -> 101 of 140 MiB, 2.24 -> 2.26 GiB. That for reduce-scatter alone changed nothing.
    "xla_gpu_enable_pipelined_all_reduce": True,
    "xla_gpu_enable_pipelined_reduce_scatter": True,
    # All weights of a layer are gathered at once, not each by itself, as they are from 30 MB on. The step of
    # nlp/13b.gin, batch 256, fsdp 64 on 8 x 8 H100s: 703 gathers -> 108, a step of 0.741 -> 0.561 s by the
    # count (docs/gpu_scaling.md).
    "xla_gpu_all_gather_combine_threshold_bytes": 2**30,
}
