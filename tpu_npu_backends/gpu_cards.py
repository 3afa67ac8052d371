"""NVIDIA's cards: what each can do, how it is told from others, and what a compiler is told of it.

Figures marked XLA are of the specifications that XLA publishes (xla/backends/gpu/target_config/specs, Apache
2.0), others of NVIDIA's data sheets: dense bfloat16, rates one way. Rates between nodes and of cards on PCIe
are assumptions, said where they are.
"""

from dataclasses import dataclass

from tpu_npu_backends.errors import BackendError

# Compute capability of the first cards that have it, Ampere: on V100 (7.0) and T4 (7.5) products are slow.
BFLOAT16_FROM = (8, 0)

_PCIE_3, _PCIE_4, _PCIE_5 = 16e9, 32e9, 64e9  # bytes/s one way over 16 lanes
_AMPERE = {"shared_memory": 167_936, "threads_per_core": 2048, "capability": (8, 0), "l2_bytes": 41_943_040}
_HOPPER = {"shared_memory": 233_472, "threads_per_core": 2048, "capability": (9, 0), "l2_bytes": 52_428_800}
_BLACKWELL = {"shared_memory": 233_472, "threads_per_core": 2048}
_ADA = {"shared_memory": 102_400, "threads_per_core": 1536, "capability": (8, 9)}


@dataclass(frozen=True, kw_only=True)
class Card:
    """One NVIDIA card.

    Attributes:
      name: as in a topology's name: "h100", "h100-pcie".
      kinds: what a device of it says it is (`Device.device_kind`), to the letter.
      capability: compute capability, (major, minor).
      peak_flops: dense bfloat16 FLOP/s with float32 accumulation (float16 where there is no bfloat16).
      memory_bytes: of the card; a program may use a part of it (`topologies.memory_fraction`).
      bytes_per_s: of that memory.
      link_bytes_per_s: what a card sends, one way, to the others of its NVLink domain together; over PCIe
        where there is no NVLink.
      domain: cards that NVLink joins, or that share a host's PCIe: no node has more.
      network_bytes_per_s: what a card sends, one way, to other nodes.
      cores: streaming multiprocessors.
      lanes: float32 lanes of each.
      clock_ghz: the highest.
      l2_bytes: of the second cache.
      shared_memory: bytes of a core.
      threads_per_core: at most.
      source: where the numbers are from.
      told_as: the name that the compiler is told; the first of `kinds` unless given.
    """

    name: str
    kinds: tuple[str, ...]
    capability: tuple[int, int]
    peak_flops: float
    memory_bytes: int
    bytes_per_s: float
    link_bytes_per_s: float
    domain: int = 8
    network_bytes_per_s: float
    cores: int
    lanes: int = 128
    clock_ghz: float
    l2_bytes: int
    shared_memory: int
    threads_per_core: int
    source: str
    told_as: str = ""

    @property
    def target_text(self) -> str:
        """A GpuTargetConfigProto: what XLA's compiler is told of a card that is not there."""
        major, minor = self.capability
        # Kernels that are for one generation alone, such as Hopper's products of warp groups.
        accelerated = " feature_extension: ACCELERATED_FEATURES" if major >= 9 else ""
        # Of a core's shared memory the system keeps 1 KiB a block, from Ampere on.
        per_block = self.shared_memory - (1024 if major >= 8 else 0)
        return f"""
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: {self.shared_memory} threads_per_core_limit: {self.threads_per_core}
  core_count: {self.cores} fpus_per_core: {self.lanes}
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  memory_bandwidth: {self.bytes_per_s:.0f} l2_cache_size: {self.l2_bytes} clock_rate_ghz: {self.clock_ghz}
  device_memory_size: {self.memory_bytes} shared_memory_per_block_optin: {per_block}
  cuda_compute_capability {{ major: {major} minor: {minor}{accelerated} }}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
device_description_str: "{self.told_as or self.kinds[0]}"
"""


_ALL = (
    Card(
        name="a100-40", kinds=("NVIDIA A100-SXM4-40GB",), **_AMPERE, peak_flops=312e12,
        memory_bytes=42_331_013_120, bytes_per_s=1555.2e9, link_bytes_per_s=300e9, network_bytes_per_s=25e9,
        cores=108, lanes=64, clock_ghz=1.41,
        source="A100 SXM data sheet: NVLink 600 GB/s both ways together; memory: XLA; HDR InfiniBand, 200 "
        "Gb/s a card (DGX A100)",
    ),
    Card(
        name="a100", kinds=("NVIDIA A100-SXM4-80GB",), **_AMPERE, peak_flops=312e12,
        memory_bytes=85_100_068_864, bytes_per_s=2039e9, link_bytes_per_s=300e9, network_bytes_per_s=25e9,
        cores=108, lanes=64, clock_ghz=1.41,
        source="A100 80GB SXM data sheet: NVLink 600 GB/s both ways together; memory: XLA; HDR InfiniBand, "
        "200 Gb/s a card (DGX A100)",
    ),
    Card(
        name="a100-pcie", kinds=("NVIDIA A100 80GB PCIe",), **_AMPERE, peak_flops=312e12,
        memory_bytes=79_050_250_240, bytes_per_s=1935e9, link_bytes_per_s=_PCIE_4, network_bytes_per_s=12.5e9,
        cores=108, lanes=64, clock_ghz=1.41,
        source="A100 80GB PCIe data sheet, without its bridge of two; memory: XLA; network: an assumption",
    ),
    Card(
        name="h100", kinds=("NVIDIA H100 80GB HBM3",), **_HOPPER, peak_flops=989e12,
        memory_bytes=84_942_979_072, bytes_per_s=3350e9, link_bytes_per_s=450e9, network_bytes_per_s=50e9,
        cores=132, clock_ghz=1.98,
        source="H100 SXM data sheet: NVLink 900 GB/s both ways together; memory: XLA; NDR InfiniBand, 400 "
        "Gb/s a card (DGX H100)",
    ),
    Card(
        name="h100-pcie", kinds=("NVIDIA H100 PCIe",), **_HOPPER, peak_flops=756e12,
        memory_bytes=84_942_979_072, bytes_per_s=2039e9, link_bytes_per_s=_PCIE_5, network_bytes_per_s=25e9,
        cores=114, clock_ghz=1.755,
        source="H100 PCIe data sheet, without its bridge of two; memory: XLA; network: an assumption",
    ),
    Card(
        name="h100-nvl", kinds=("NVIDIA H100 NVL",), **_HOPPER, peak_flops=835e12,
        memory_bytes=100_485_038_080, bytes_per_s=3938e9, link_bytes_per_s=_PCIE_5, network_bytes_per_s=25e9,
        cores=132, clock_ghz=1.785,
        source="H100 NVL data sheet, without its bridge of two; memory as its driver reports it (95,830 "
        "MiB); network: an assumption",
    ),
    Card(
        name="gh200", kinds=("NVIDIA GH200 480GB", "NVIDIA GH200 120GB"), **_HOPPER, peak_flops=989e12,
        memory_bytes=102_625_181_696, bytes_per_s=4000e9, link_bytes_per_s=450e9, network_bytes_per_s=25e9,
        domain=4, cores=132, clock_ghz=1.98,
        source="GH200 data sheet, 96 GB of HBM3, in nodes of four; memory as its driver reports it (97,871 "
        "MiB); network: 200 Gb/s a card, an assumption",
    ),
    Card(
        name="h200", kinds=("NVIDIA H200",), **_HOPPER, peak_flops=989e12,
        memory_bytes=150_754_820_096, bytes_per_s=4800e9, link_bytes_per_s=450e9, network_bytes_per_s=50e9,
        cores=132, clock_ghz=1.98,
        source="H200 SXM data sheet: NVLink 900 GB/s both ways together; memory as its driver reports it "
        "(143,771 MiB; XLA has 151.4e9); 400 Gb/s a card (DGX H200)",
    ),
    Card(
        name="b200", kinds=("NVIDIA B200",), **_BLACKWELL, capability=(10, 0), peak_flops=2.225e15,
        memory_bytes=191_514_411_008, bytes_per_s=7672e9, link_bytes_per_s=900e9, network_bytes_per_s=50e9,
        cores=148, clock_ghz=1.965, l2_bytes=132_644_864,
        source="XLA: rate of the matrix units at their clock, memory; NVLink 1.8 TB/s both ways together; "
        "400 Gb/s a card (DGX B200)",
    ),
    Card(
        name="gb200", kinds=("NVIDIA GB200",), **_BLACKWELL, capability=(10, 0), peak_flops=2.40e15,
        memory_bytes=197_897_748_480, bytes_per_s=7928e9, link_bytes_per_s=900e9, network_bytes_per_s=50e9,
        # By its own name XLA (jaxlib 0.10.2) finds a table of collectives it cannot read ("Non homogenous
        # replica group"), whatever the program.
        told_as="NVIDIA B200", domain=72, cores=152, clock_ghz=2.062, l2_bytes=135_528_448,
        source="XLA: rate of the matrix units at their clock (data sheet: 2.5e15), memory; GB200 NVL72: 72 "
        "cards in one NVLink domain, 1.8 TB/s both ways together; 400 Gb/s a card",
    ),
    Card(
        name="b300", kinds=("NVIDIA B300 SXM6 AC", "NVIDIA B300"), **_BLACKWELL, capability=(10, 3),
        peak_flops=2.25e15, memory_bytes=297_021_865_984, bytes_per_s=7936e9, link_bytes_per_s=900e9,
        network_bytes_per_s=100e9, cores=158, clock_ghz=1.965, l2_bytes=135_528_448,
        source="DGX B300 data sheet; memory: XLA; NVLink 1.8 TB/s both ways together; 800 Gb/s a card",
    ),
    Card(
        name="l40s", kinds=("NVIDIA L40S",), **_ADA, peak_flops=362e12,
        memory_bytes=48 * 10**9, bytes_per_s=864e9, link_bytes_per_s=_PCIE_4, network_bytes_per_s=6.25e9,
        cores=142, clock_ghz=2.52, l2_bytes=100_663_296,
        source="L40S data sheet: no NVLink, PCIe 4 x16; network: 400 Gb/s for eight cards, an assumption",
    ),
    Card(
        name="rtx4090", kinds=("NVIDIA GeForce RTX 4090",), **_ADA, peak_flops=165e12,
        memory_bytes=24 * 10**9, bytes_per_s=1008e9, link_bytes_per_s=_PCIE_4, network_bytes_per_s=1.5e9,
        cores=128, clock_ghz=2.52, l2_bytes=75_497_472,
        source="Ada whitepaper, float32 accumulation: no NVLink, PCIe 4 x16 through the host's memory; "
        "network: 100 Gb/s for eight cards, an assumption",
    ),
    Card(
        name="t4", kinds=("Tesla T4",), capability=(7, 5), peak_flops=65e12,
        memory_bytes=15_843_721_216, bytes_per_s=320e9, link_bytes_per_s=_PCIE_3, network_bytes_per_s=1.5e9,
        cores=40, lanes=64, clock_ghz=1.59, l2_bytes=4_194_304, shared_memory=65_536, threads_per_core=1024,
        source="T4 data sheet, float16: no bfloat16, no NVLink; network: 100 Gb/s for eight cards, an "
        "assumption",
    ),
)  # fmt: skip


def require_bfloat16(name: str, capability: tuple[int, int]) -> None:
    """BackendError for a card that is too old for it.

    Args:
      name: of the card, for people.
      capability: its compute capability.
    """
    if capability < BFLOAT16_FROM:
        has, needed = (".".join(map(str, one)) for one in (capability, BFLOAT16_FROM))
        raise BackendError(
            f"{name} has compute capability {has} and no bfloat16, which needs {needed}: give "
            "--gin.Layout.compute_dtype=float32"
        )


CARDS = {card.name: card for card in _ALL}
CARD_OF_KIND = {kind: card.name for card in _ALL for kind in card.kinds}
