"""What each chip can do, from its data sheet: the numbers that predictions divide by."""

from dataclasses import dataclass

from tpu_npu_backends.gpu_cards import CARDS

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One accelerator, which JAX sees as one device or as several.

    Attributes:
      name: as in a topology's name: "v5p", "ascend910b".
      platform: "tpu", "npu", "cuda" or "cpu". Speeds and memory, up to the links, are of one device.
      peak_flops: dense bfloat16 FLOP/s (float16 where the chip has no bfloat16).
      hbm_bytes: device memory. For TPU what libtpu 0.0.42 says it gives: less than the data sheet by what the
        runtime keeps. For GPUs the card's: a program may use a part (`Topology.memory_bytes`).
      hbm_bytes_per_s: device memory bandwidth.
      clock_hz: cycles per second of `estimated_cycles` in compiled programs; 0 where no compiler
        reports cycles.
      link_bytes_per_s: one link, one way. For chips without a torus, all links inside a node together.
      torus_dims: dimensions of the torus that chips form: 3, 2, or 0 for none.
      sparse_cores: whether collectives can be handed to SparseCores.
      source: where the numbers are from.
      devices: of a chip. They share its links.
      inside_bytes_per_s: from a device to the others of its chip, one way; 0 where there are none.
    """

    name: str
    platform: str
    peak_flops: float
    hbm_bytes: int
    hbm_bytes_per_s: float
    clock_hz: float
    link_bytes_per_s: float
    torus_dims: int
    sparse_cores: bool
    source: str
    devices: int = 1
    inside_bytes_per_s: float = 0.0

    @property
    def unit(self) -> str:
        """What has the speeds and the memory above, in words: "chip" where that is one device."""
        return "chip" if self.devices == 1 else "device"


def _tpu(name, peak, gib, hbm, clock, link, dims, sparse_cores):
    source = f"Google Cloud TPU documentation, {name}; links and clock: 'How to scale your model', 2025"
    return Chip(name, "tpu", peak, int(gib * GIB), hbm, clock, link, dims, sparse_cores, source)


# Ironwood: two devices a chip, each with half of its 2,307 TFLOP/s and 7,380 GB/s. Between them Google writes
# of six times "a 1D ICI link", taken here as a link one way; nothing published says it in bytes.
_IRONWOOD_LINK = 100e9
_IRONWOOD = Chip(
    "tpu7x", "tpu", 2307e12 / 2, int(94.75 * GIB), 7380e9 / 2, 2.2e9, _IRONWOOD_LINK, 3, True,
    "Google Cloud TPU documentation, TPU7x (Ironwood): 1,200 GB/s of links both ways together, six of them",
    devices=2, inside_bytes_per_s=6 * _IRONWOOD_LINK,
)  # fmt: skip

# The clock is the peak over what the matrix units do in a cycle: 2 x 128 x 128 x 8 on v4 and v5p, half of
# that on v5e, 2 x 256 x 256 x 4 on v6e and a device of tpu7x. A product of size 8192 takes 94% of the peak in
# the compiler's cycles on v4, 98% on v5e and v5p, 90% on v6e and 92% on tpu7x: compare programs for those two
# with each other only.
_TPUS = (
    _tpu("v4", 275e12, 30.75, 1228e9, 1.05e9, 45e9, 3, False),
    _tpu("v5e", 197e12, 15.75, 819e9, 1.5e9, 45e9, 2, False),
    _tpu("v5p", 459e12, 95.74, 2765e9, 1.75e9, 90e9, 3, True),
    _tpu("v6e", 918e12, 31.25, 1638e9, 1.75e9, 90e9, 2, True),
    _IRONWOOD,
)

# Huawei publishes servers rather than chips. These are the figures as commonly quoted, the lower where they
# differ; no data sheet was at hand to check them against.
_NPUS = (
    Chip(
        "ascend910", "npu", 256e12, 32 * GIB, 1200e9, 0, 90e9, 0, False,
        "Huawei Atlas 800 (model 9000): 2 PFLOPS FP16 of 8, 32 GB each; three HCCS links of 30 GB/s",
    ),
    Chip(
        "ascend910b", "npu", 313e12, 64 * GIB, 1600e9, 0, 196e9, 0, False,
        "Huawei Atlas 800T A2: 2.5 PFLOPS FP16 of 8, 64 GB each; HCCS 392 GB/s both ways together",
    ),
)  # fmt: skip

_GPUS = tuple(
    Chip(
        card.name, "cuda", card.peak_flops, card.memory_bytes, card.bytes_per_s, 0, card.link_bytes_per_s, 0,
        False, card.source,
    )
    for card in CARDS.values()
)  # fmt: skip

_CPU = Chip(
    "cpu", "cpu", 1e11, 4 * GIB, 1e10, 0, 1e10, 0, False,
    "nominal: virtual devices of one machine, for ratios only; tpu_npu_backends.peak measures",
)  # fmt: skip

# One network card per chip: bytes/s one way between nodes. Those of GPUs are in gpu_cards.py.
NODE_LINK_BYTES_PER_S = {
    "ascend910": 12.5e9,  # RoCE, 100 Gb/s
    "ascend910b": 25e9,  # RoCE, 200 Gb/s
}

# What people call chips whose name, as JAX and libtpu have it, is another.
OTHER_NAMES = {
    "ironwood": "tpu7x", "tpu7": "tpu7x", "v7": "tpu7x", "v7x": "tpu7x", "trillium": "v6e", "v6": "v6e",
    "v5litepod": "v5e",
}  # fmt: skip

CHIPS = {chip.name: chip for chip in (*_TPUS, *_NPUS, *_GPUS, _CPU)}
