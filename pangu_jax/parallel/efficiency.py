"""What programs reach of what chips can do: every constant of the planner that is not on a data sheet.

To calibrate: `pangu plan --verify K` prints predicted beside compiled; change a figure here, and write where
it comes from. Figures marked (v5p) are from 107B-parameter programs compiled for 64 and 512 chips of v5p;
all others are assumptions.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Efficiency:
    """One platform.

    Attributes:
      matmul: of peak, for products with large sides.
      narrow: a product whose smallest side is n reaches n / (n + narrow) of that.
      attention: of peak, for attention by a kernel.
      attention_backward: FLOPs of attention's backward pass over those of its forward pass.
      hidden: part of collectives that overlaps with compute, at most as much of it as there is compute.
      elementwise: traffic of everything but products, forward and backward, in times what a layer keeps.
      saved: bytes of kept activations in memory over their sizes.
      working: arrays alive at once in the backward pass of a layer, for each of its two widths.
      gathered: copies of a layer's gathered weights alive at once: one in use, one on its way.
      reserve: bytes of a chip that no item explains.
    """

    matmul: float = 0.92  # (v5p) large products come within 5-8% of roofline
    narrow: float = 32.0
    attention: float = 0.5  # (v5p) by the count of compiled programs, which prices kernels so
    attention_backward: float = 2.5  # scores are computed again
    hidden: float = 0.5
    # (v5p) 107B at 82.4% without communication. A compiled 238M program has three times as much: cycles of
    # small elementwise work are pessimistic, and heads of 64 are padded to 128 lanes.
    elementwise: float = 12.0
    saved: float = 1.0
    working: float = 4.0
    gathered: float = 2.0
    reserve: float = 0.25 * 2**30


# (v5p) with SparseCores 1.04 s of 2.07 s of collectives were exposed on 512 chips with tensor 8, and 1.58 s
# of 3.5 s with tensor 1; without them a program on 64 chips had 2.5 times as much exposed.
_SPARSE_CORES = Efficiency(hidden=0.5)
_TENSOR_CORE_ALONE = Efficiency(hidden=0.1)
_NODES = Efficiency(matmul=0.7, attention=0.4, hidden=0.5)
_CPU = Efficiency(matmul=0.8, narrow=8.0, attention=0.3, attention_backward=2.0, hidden=0.0, reserve=0.0)

# Bytes/s one way between a chip and its host's memory: PCIe 4 x16 shared by two chips. An assumption.
HOST_BYTES_PER_S = 16e9

# A layout is offered when it takes at most this much of a chip's memory: the rest is for what is not counted.
FITS_WITHIN = 0.92


def efficiency(platform: str, sparse_cores: bool) -> Efficiency:
    """What programs reach on a platform ("tpu", "cuda", "npu", "cpu")."""
    if platform == "tpu":
        return _SPARSE_CORES if sparse_cores else _TENSOR_CORE_ALONE
    return _CPU if platform == "cpu" else _NODES
