"""Clusters by name, present or not: `v5p:8x8x8`, `h100:2x8`, `ascend910b:512`, `cpu:8`.

A name alone gives chips, shape and links, for predictions. `devices` gives what one compiles for: libtpu
makes TPU devices that are not there, JAX's plugin for CUDA GPUs; other clusters are analytic only.
"""

import difflib
import importlib.util
import itertools
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.experimental import topologies

from tpu_npu_backends import gpu, gpu_clusters
from tpu_npu_backends.chips import CHIPS, NODE_LINK_BYTES_PER_S, OTHER_NAMES, Chip
from tpu_npu_backends.errors import BackendError
from tpu_npu_backends.gpu_cards import CARDS, require_bfloat16

_NAME = re.compile(r"(?P<chip>[a-z0-9-]+):(?P<shape>[0-9]+(x[0-9]+)*)")

# Largest slices: a v4 pod, the largest v5p job that can be scheduled, a v5e and a v6e pod (Google Cloud), and
# the 9,216 chips of a tpu7x pod as the cuboid nearest to a cube.
_LARGEST = {
    "v4": (16, 16, 16), "v5p": (16, 16, 24), "v5e": (16, 16), "v6e": (16, 16), "tpu7x": (16, 24, 24),
}  # fmt: skip
_HOST = (2, 2, 1)  # chips of a host; also v5e and v6e, whose larger hosts hold two of these
CHIPS_A_NODE = 8
_MOST_ANALYTIC = 2**17


@dataclass(frozen=True)
class Torus:
    """Neighbours in each dimension are linked, two links per dimension where it closes to a ring.

    Dimensions are those of `Topology.grid`: the devices of a chip are the first where it has several.

    Attributes:
      link_bytes_per_s: for each dimension one link, one way, a device's share: those of a chip use its links
        at once.
      wraps: for each dimension whether its last device is linked to its first.
    """

    link_bytes_per_s: tuple[float, ...]
    wraps: tuple[bool, ...]


@dataclass(frozen=True)
class Nodes:
    """Nodes of `size` chips: fast links inside, one network link per chip between them.

    Attributes:
      size: chips of a node; of several hosts where fast links join them (NVLink domains of 72).
      intra_bytes_per_s: what a chip sends, one way, to the others of its node together.
      inter_bytes_per_s: what a chip sends, one way, to other nodes.
      hosts: machines that all chips together are in.
    """

    size: int
    intra_bytes_per_s: float
    inter_bytes_per_s: float
    hosts: int = 1


@dataclass(frozen=True)
class Topology:
    """A cluster of equal chips. What programs are made for and run on are its devices.

    Attributes:
      name: canonical name, which `parse` reads: "v5p:8x8x8".
      chip: what each chip can do.
      shape: chips in each dimension of the torus; one number where there is none.
      analytic: described by numbers only: nothing can be compiled for it here.
      links: how chips are linked.
      memory_fraction: of a device's memory, what a program may use. For GPUs what JAX's allocator takes.
    """

    name: str
    chip: Chip
    shape: tuple[int, ...]
    analytic: bool
    links: Torus | Nodes
    memory_fraction: float = 1.0

    @property
    def memory_bytes(self) -> int:
        """What a program may use of a device's memory."""
        return round(self.memory_fraction * self.chip.hbm_bytes)

    @property
    def chips(self) -> int:
        """Number of chips."""
        return math.prod(self.shape)

    @property
    def device_count(self) -> int:
        """Number of devices, as JAX counts them."""
        return self.chips * self.chip.devices

    @property
    def grid(self) -> tuple[int, ...]:
        """Devices in each dimension: those of a chip, where it has several, then `shape`.

        Ids of devices count along it, the first dimension fastest, as libtpu gives them.
        """
        return (self.chip.devices, *self.shape) if self.chip.devices > 1 else self.shape

    def check_dtype(self, dtype: str) -> None:
        """BackendError for bfloat16, which is also what "auto" means on chips, where a card has none."""
        if self.chip.name in CARDS and dtype != "float32":
            require_bfloat16(self.chip.name, CARDS[self.chip.name].capability)

    def describe(self) -> str:
        """Such as `4 x tpu7x as 2x2x1 (8 devices)`, `16 x h100, 2 x 8` or `8 x ascend910, 8 per node
        (analytic only)`."""
        if isinstance(self.links, Torus):
            devices = f" ({self.device_count} devices)" if self.chip.devices > 1 else ""
            return f"{self.chips} x {self.chip.name} as {'x'.join(map(str, self.shape))}{devices}"
        if self.chip.platform == "cuda":
            hosts, size = self.links.hosts, self.links.size
            wide = f", NVLink over {size}" if size > self.chips // hosts else ""
            return f"{self.chips} x {self.chip.name}, {hosts} x {self.chips // hosts}{wide}"
        node = f", {self.links.size} per node" if self.chip.platform != "cpu" else ""
        return f"{self.chips} x {self.chip.name}{node}" + " (analytic only)" * self.analytic


def parse(text: str, memory_fraction: float | None = None) -> Topology:
    """The topology of that name; BackendError in one line where there is none. Needs no compiler.

    Args:
      text: such as "v5p:8x8x8" or "h100:2x8".
      memory_fraction: of a GPU's memory, what a program may use; None for what JAX would take.
    """
    match, (before, _, _) = _NAME.fullmatch(text), text.partition(":")
    if before in CARDS:
        return _of_gpus(text, match["shape"] if match else "", memory_fraction)
    if not match or match["chip"] not in CHIPS:
        called = OTHER_NAMES.get(before.lower())
        near = [called] if called else difflib.get_close_matches(before.lower(), CHIPS, n=1, cutoff=0.4)
        meant = f"; did you mean {near[0]!r}?" if near and before not in CHIPS else ""
        raise BackendError(
            f"no topology {text!r}{meant}; it is CHIP:SHAPE, such as v5p:8x8x8, v6e:16x16, h100:2x8 (nodes x "
            f"GPUs), ascend910b:512 or cpu:8; chips known: {', '.join(CHIPS)}"
        )
    if memory_fraction is not None:
        raise BackendError(
            f"--memory_fraction is for GPUs: of a {match['chip']} programs may use all there is"
        )
    chip, shape = CHIPS[match["chip"]], tuple(int(size) for size in match["shape"].split("x"))
    name = f"{chip.name}:{'x'.join(map(str, shape))}"
    if chip.torus_dims:
        _check_slice(text, chip, shape)
        return Topology(name, chip, shape, False, _torus(chip, shape))
    _check_cluster(text, chip, shape)
    if chip.platform == "cpu":
        return Topology(name, chip, shape, False, Nodes(shape[0], *(chip.link_bytes_per_s,) * 2))
    links = Nodes(
        CHIPS_A_NODE,
        chip.link_bytes_per_s,
        NODE_LINK_BYTES_PER_S[chip.name],
        hosts=max(1, shape[0] // CHIPS_A_NODE),
    )
    return Topology(name, chip, shape, True, links)


def _of_gpus(text: str, sizes: str, memory_fraction: float | None) -> Topology:
    card = CARDS[text.partition(":")[0]]
    numbers = tuple(int(size) for size in sizes.split("x")) if sizes else ()
    nodes, gpus = gpu_clusters.shape(text, card, numbers)
    links = Nodes(
        gpu_clusters.domain(card, nodes, gpus), card.link_bytes_per_s, card.network_bytes_per_s, hosts=nodes
    )
    fraction = gpu_clusters.memory_fraction(memory_fraction)
    name = f"{card.name}:{nodes}x{gpus}"
    return Topology(name, CHIPS[card.name], (nodes * gpus,), False, links, fraction)


def devices(topology: Topology) -> list[jax.Device]:
    """The devices of a topology, to compile for; BackendError where there is no compiler for it here.

    TPU and GPU devices only compile; those of a TPU know their place in the torus (`.coords`). For `cpu:N`
    the first N of JAX's own.
    """
    if topology.analytic:
        raise BackendError(
            f"{topology.name} is analytic only: layouts are predicted for it, and nothing is compiled"
        )
    if topology.chip.platform == "cpu":
        found = jax.devices("cpu")
        if len(found) < topology.chips:
            raise BackendError(
                f"{topology.name} needs {topology.chips} CPU devices and JAX started with {len(found)}: set "
                f"XLA_FLAGS=--xla_force_host_platform_device_count={topology.chips} before Python starts"
            )
        return found[: topology.chips]
    if isinstance(topology.links, Nodes):
        hosts = topology.links.hosts
        return gpu.devices(topology.name, topology.chip.name, (hosts, topology.chips // hosts))
    if not _libtpu_is_there():
        raise BackendError(
            f"compiling for {topology.name} needs libtpu: pip install 'pangu-jax[tpu]' (no TPU is needed)"
        )
    _prepare_libtpu()
    # Both cores of a v4 chip as one device, as on v5p; a host of one chip for a slice of one.
    config: dict[str, Any] = {"chip_config_name": "megacore"} if topology.chip.name == "v4" else {}
    if topology.chips == 1:
        config["chips_per_host_bounds"] = (1, 1, 1)
    try:
        described = topologies.get_topology_desc(platform="tpu", topology_name=topology.name, **config)
    except (RuntimeError, ValueError) as error:
        raise BackendError(f"libtpu refuses {topology.name}: {str(error).splitlines()[0]}") from None
    return list(described.devices)


def _check_slice(text: str, chip: Chip, shape: tuple[int, ...]) -> None:
    whole_hosts = all(size % host == 0 for size, host in zip(shape, _HOST, strict=False))
    single = math.prod(shape) == 1
    largest = _LARGEST[chip.name]
    fits = all(size <= most for size, most in zip(sorted(shape), largest, strict=False))
    if len(shape) == chip.torus_dims and fits and min(shape) > 0 and (whole_hosts or single):
        return
    why = "a slice is made of hosts of 2x2 chips"
    if len(shape) != chip.torus_dims:
        why = f"{chip.name} forms a {chip.torus_dims}-D torus"
    elif not fits:
        why = f"the largest slice is {'x'.join(map(str, largest))}"
    raise BackendError(f"no topology {text!r}: {why}; nearby: {', '.join(_nearby(chip, math.prod(shape)))}")


def _check_cluster(text: str, chip: Chip, shape: tuple[int, ...]) -> None:
    count = shape[0]
    if len(shape) == 1 and chip.platform == "cpu" and count > 0:
        return
    fits = count < CHIPS_A_NODE or count % CHIPS_A_NODE == 0
    if len(shape) == 1 and chip.platform != "cpu" and fits and 0 < count <= _MOST_ANALYTIC:
        return
    whole = min(max(1, round(math.prod(shape) / CHIPS_A_NODE)) * CHIPS_A_NODE, _MOST_ANALYTIC)
    what = f"chips in whole nodes of {CHIPS_A_NODE}, at most {_MOST_ANALYTIC}"
    near = whole
    if chip.platform == "cpu":
        what, near = "virtual devices", max(1, math.prod(shape))
    raise BackendError(
        f"no topology {text!r}: {chip.name} is given as a number of {what}; nearby: {chip.name}:{near}"
    )


def _nearby(chip: Chip, chips: int) -> list[str]:
    """Three existing slices of about that many chips: the cubes and near-cubes that one can rent."""
    sides = (2, 4, 8, 12, 16, 24) if chip.torus_dims == 3 else (2, 4, 8, 16)
    shapes = [
        shape
        for shape in itertools.combinations_with_replacement(sides, chip.torus_dims)
        if shape[-1] <= 2 * shape[0]
        and all(size <= most for size, most in zip(shape, _LARGEST[chip.name], strict=True))
    ]
    shapes.sort(key=lambda shape: abs(math.log(math.prod(shape) / max(chips, 1))))
    return [f"{chip.name}:{'x'.join(map(str, shape))}" for shape in shapes[:3]]


def _torus(chip: Chip, shape: tuple[int, ...]) -> Torus:
    """The links of a slice, those inside of its chips first where they have several devices."""
    rates, wraps = (chip.link_bytes_per_s / chip.devices,) * len(shape), _wraps(chip, shape)
    if chip.devices == 1:
        return Torus(rates, wraps)
    return Torus((chip.inside_bytes_per_s, *rates), (False, *wraps))


def _wraps(chip: Chip, shape: tuple[int, ...]) -> tuple[bool, ...]:
    """3-D slices close to rings when they are made of whole 4x4x4 cubes, joined by optical switches; a 2-D
    slice does along a dimension that spans its pod."""
    if chip.torus_dims == 3:
        return (all(size % 4 == 0 for size in shape),) * 3
    return tuple(size == most for size, most in zip(shape, _LARGEST[chip.name], strict=True))


def _libtpu_is_there() -> bool:
    return "TPU_LIBRARY_PATH" in os.environ or importlib.util.find_spec("libtpu") is not None


def _prepare_libtpu() -> None:
    """Tells libtpu, before it loads, that this machine has no TPU; changes nothing on one that has.

    Without this it asks the cloud's metadata server for minutes, refuses to load beside another process's
    libtpu, and complains about host names that do not matter for compiling.
    """
    if any(Path("/dev").glob("accel*")) or Path("/dev/vfio/0").exists():
        return
    for variable, value in {
        "TPU_SKIP_MDS_QUERY": "1",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_ACCELERATOR_TYPE": "v5p-8",
    }.items():
        os.environ.setdefault(variable, value)
