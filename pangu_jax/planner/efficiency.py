"""What programs reach of what chips can do: every constant of the planner that is not on a data sheet.

To calibrate: `pangu plan --verify K` prints predicted beside compiled; change a figure here, and write where
it comes from. Figures marked [A] are from the 107B recipe compiled for v5p:8x8x8 (fsdp 64 x model 8, streams
2, "dots": 59.5 GiB; 3.60 s of compute, of it 2.90 s products and 0.14 s kernels, and 0.58 s exposed, or 1.06
s with one stream), [B] also from other programs without a pipeline, [C] from that recipe in four stages
(gpipe, 9 rounds, 8 microbatches: 64.1 GiB, 4.09 s + 0.99 s), [D] from the same as one ring of both towers
(circular, 18 rounds: 58.2 GiB, 5.79 s + 1.38 s), [E] from `vision/3b.gin` compiled for v5p:4x4x4,
[F] from `openpangu/pro_moe_72b.gin` compiled for v5p:8x8x4 (fsdp 64 x expert 4, "dots": 65.4 GiB; 7.11 s of
compute, gathers aside, of it 2.90 s products by group, and 0.52 s exposed). All others are assumptions.
"""

from dataclasses import dataclass, replace

from tpu_npu_backends.chips import CHIPS, Chip


@dataclass(frozen=True)
class Efficiency:
    """One platform.

    Attributes:
      matmul: of peak, for products with large sides.
      narrow: a product whose smallest side is n reaches n / (n + narrow) of that.
      grouped: of peak, products of rows by group by a kernel; None where there is none and blocks of rows are
        multiplied as any.
      passes: of experts, bytes over what is read and written by passes over rows; gathers have none.
      attention: of peak, for attention by a kernel.
      attention_backward: FLOPs of attention's backward pass over those of its forward pass.
      hidden_model: part of the tensor axis' collectives that overlaps with compute.
      hidden_model_streams: the same with two streams, each computing while the other communicates.
      hidden_fsdp: the same of weights and their gradients, which are asked for less urgently.
      hidden_expert: the same of tokens on their way to experts and back.
      hidden_most: of the compute, the part that can at most have collectives beside it.
      elementwise: traffic of everything but products, forward and backward, in times what a layer keeps.
      elementwise_pipeline: the same in a pipeline, as a factor: weights and the stash are cut out and put in.
      elementwise_branches: the same where a tick chooses between towers: branches copy what they return.
      streams_of_all: fp32 arrays as wide as a block's input that it leaves where all is kept.
      products_of_all: arrays like its products that it leaves beside them.
      kept_in_scan: what the stash of a compiled program takes, over the arrays that are kept in it.
      kept_in_scan_alone: the same of a tower that is the only one, or whose attention is of short rows,
        without the flash kernel.
      kept_in_ring: the same of a pipeline of one tower.
      working: arrays alive at once in the backward pass of a layer, for each of its two widths.
      scores: matrices of a layer's scores alive at once in its backward pass, where no kernel attends.
      shares: whether what is alive at different times of a step shares its room: the loss, each tower's
        backward pass. Where not, the largest of each counts.
      score_traffic: bytes of memory traffic for a score, forward, where no kernel attends; 1.5 times
        that back, and once more where scores are made again.
      gathered: copies of a layer's gathered weights alive at once: one in use, one on its way.
      reserve: bytes of a chip that no item explains.
    """

    matmul: float = 0.985  # [A]
    narrow: float = 16.0  # [A]
    grouped: float | None = 0.65  # by the count of compiled programs, which prices kernels so
    passes: float = 2.4  # [F] 0.75 s of 7.11 s
    attention: float = 0.5  # by the count of compiled programs, which prices kernels so
    attention_backward: float = 2.5  # scores are computed again
    hidden_model: float = 0.33  # [A] 0.995 s of 1.485 s exposed
    hidden_model_streams: float = 0.70  # [A] with streams 2: 0.440 s of 1.488 s exposed
    hidden_fsdp: float = 0.78  # [A] 0.101 s of 0.450 s exposed
    hidden_expert: float = 0.6  # [F] 0.264 s of 0.680 s exposed
    hidden_most: float = 0.4  # [B] a prototype without a tensor axis had 1.58 s of 3.5 s exposed
    # [A] with streams 2: 0.5 s of 3.6 s compute is neither products nor kernels. It is much: a prototype of
    # 107B written by hand, without rotary positions, had 12.
    elementwise: float = 28.0
    elementwise_pipeline: float = 2.0  # [C] 0.84 s of 4.09 s are neither products nor kernels
    elementwise_branches: float = 4.0  # [D] 2.12 s of 5.79 s
    streams_of_all: float = 1.0
    products_of_all: float = 1.0
    kept_in_scan: float = 1.5  # [A] of 35 GiB of two towers
    # [E] 13.8 GiB where 13.6 are predicted, [F] 40.1 GiB, which is what is told
    kept_in_scan_alone: float = 1.0
    kept_in_ring: float = 1.25  # [C] of 37 GiB
    working: float = 10.0  # [A, B]
    scores: float = 3.0
    shares: bool = False
    score_traffic: float = 0.0
    gathered: float = 2.0
    reserve: float = 0.25 * 2**30

    @property
    def by_group(self) -> "Efficiency":
        """The same of products of rows by group."""
        return replace(self, matmul=self.grouped, narrow=0.0) if self.grouped else self


_SPARSE_CORES = Efficiency()
# Without SparseCores a prototype on 64 chips had 2.5 times as much exposed.
_TENSOR_CORE_ALONE = Efficiency(
    hidden_model=0.05, hidden_model_streams=0.05, hidden_fsdp=0.2, hidden_expert=0.0
)
_NODES = Efficiency(
    kept_in_scan=1.0,
    kept_in_ring=1.0,
    matmul=0.7,
    narrow=32.0,
    grouped=None,
    passes=1.0,
    hidden_expert=0.0,
    attention=0.4,
    hidden_model=0.3,
    hidden_model_streams=0.6,
    hidden_fsdp=0.7,
    elementwise=20.0,
    working=10.0,
)
# Fitted on eight programs, compiled and counted: docs/gpu_scaling.md, which also has those that were not.
_GPUS = replace(
    _NODES,
    scores=0.0,  # counted with what else is alive then
    shares=True,
    working=4.0,
    gathered=0.5,
    reserve=0.1 * 2**30,
    matmul=0.83,
    narrow=280.0,
    attention=0.5,
    elementwise=21.0,
    score_traffic=20.0,
    hidden_most=0.5,
    streams_of_all=3.0,
    products_of_all=2.0,
)
_CPU = Efficiency(
    matmul=0.8, narrow=8.0, grouped=None, passes=1.0, attention=0.3, attention_backward=2.0,
    hidden_model=0.0, hidden_model_streams=0.0, hidden_fsdp=0.0, hidden_expert=0.0, kept_in_scan=1.0,
    kept_in_ring=1.0, elementwise=12.0, working=4.0, gathered=1.0, reserve=0.0,
)  # fmt: skip

# Bytes/s one way between a chip and its host's memory: PCIe 4 x16 shared by two chips. An assumption.
HOST_BYTES_PER_S = 16e9

# A layout is offered when it takes at most this much of a chip's memory: the rest is for what is not counted.
FITS_WITHIN = 0.92


def efficiency(chip: Chip) -> Efficiency:
    """What programs reach on a chip."""
    if chip.platform == "tpu":
        return _SPARSE_CORES if chip.sparse_cores else _TENSOR_CORE_ALONE
    if chip.platform == "cuda":
        # A faster card is filled by larger products: of width 768 XLA's tables have 57% of H100's peak, 37%
        # of B200's.
        return replace(_GPUS, narrow=_GPUS.narrow * (chip.peak_flops / CHIPS["h100"].peak_flops) ** 1.5)
    return _CPU if chip.platform == "cpu" else _NODES
