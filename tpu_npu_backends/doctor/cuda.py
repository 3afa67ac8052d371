"""What an NVIDIA card needs around it: driver, libraries, memory for JAX, and ways from card to card.

Written after NVIDIA's and JAX's documentation; it has not met a card, but in tests that say what one says.
"""

import ctypes.util
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tpu_npu_backends.descriptions import Description
from tpu_npu_backends.doctor import driver, nvidia_smi, packages
from tpu_npu_backends.doctor.driver import Driver
from tpu_npu_backends.doctor.findings import Finding
from tpu_npu_backends.doctor.nvidia_smi import SeenCard
from tpu_npu_backends.errors import BackendError
from tpu_npu_backends.gpu_cards import BFLOAT16_FROM
from tpu_npu_backends.gpu_clusters import MEMORY_FRACTION, memory_fraction

Tried = Callable[..., list[Finding]]

# What JAX's installation guide asks of the driver, and the least compute capability of CUDA itself.
LEAST_DRIVER = {"cu13": 580, "cu12": 525}
LEAST_CAPABILITY = {"cu13": (7, 5), "cu12": (5, 0)}
LEAST_SHARED_BYTES = 2**30  # what NVIDIA advises for containers in which NCCL runs
SHOWN = 3
GIB = 2**30


def findings(backend: Description, tried: Tried) -> list[Finding]:
    """Rows of what can be seen without starting JAX on a card, then the plugin."""
    seen, library, flavour = driver.look(backend), packages.plugin(backend), _flavour(backend)
    rows = [driver_row(backend, seen, flavour)]
    cards: list[SeenCard] = []
    if rows[0].status == "ok":
        said, error = driver.ask(nvidia_smi.CARDS)
        cards = nvidia_smi.cards("\n".join(said))
        rows[:] = [driver_row(backend, seen, flavour, cards), capability(cards, flavour, error)]
        rows += [preallocation(cards, os.environ)]
    rows += [library_row("cuDNN", "cudnn", flavour, needed=bool(cards), install=backend.install)]
    rows += [library_row("NCCL", "nccl", flavour, needed=len(cards) > 1, install=backend.install)]
    if len(cards) > 1:
        rows += [peer_access(*driver.ask(nvidia_smi.PEERS)), shared_memory()]
    if library is None:
        return [*rows, Finding("plugin", "not installed", "wrong", backend.install)]
    return [*rows, *tried("plugin", library=library)]


def driver_row(
    backend: Description,
    seen: Driver,
    flavour: str,
    cards: Sequence[SeenCard] = (),
    root: Path = Path("/dev"),
) -> Finding:
    """The driver as its files, its tool and its version show it; in WSL it is that of Windows."""
    wsl = (root / "dxg").exists()
    described = f"{seen.described}; WSL ({root / 'dxg'})" if wsl and not seen.files else seen.described
    if not seen.devices:
        remedy = backend.bring_device
        if wsl:
            remedy = "install NVIDIA's driver in Windows, none in WSL, and have /usr/lib/wsl/lib in PATH"
        return Finding("driver", described, "wrong", remedy)
    if seen.error:
        remedy = "the driver does not answer: restart it, or the machine"
        return Finding("driver", described, "wrong", remedy)
    if file := driver.refused(seen):
        remedy = f"ask for the group of {file}, which `ls -l {file}` names"
        return Finding("driver", f"{described}; {file} may not be opened", "wrong", remedy)
    least, versions = LEAST_DRIVER[flavour], [card.driver for card in cards if card.driver]
    if versions and min(versions)[0] < least:
        other = " or pip install 'jax[cuda12]'" if least > min(versions)[0] >= LEAST_DRIVER["cu12"] else ""
        remedy = f"update the driver to {least} or later,{other}".rstrip(",")
        return Finding("driver", f"{described}; CUDA {flavour[2:]} needs {least}", "wrong", remedy)
    return Finding("driver", described)


def capability(cards: Sequence[SeenCard], flavour: str, error: str = "") -> Finding:
    """The least compute capability of the cards: whether CUDA takes them, and whether bfloat16 is there."""
    known = [card for card in cards if card.capability]
    if not known:
        said = error or "nvidia-smi does not say"
        return Finding("compute capability", said, "absent", "a driver of 510 or later says it")
    least = min(known, key=lambda card: card.capability or (0, 0))
    major, minor = least.capability or (0, 0)
    found = f"{major}.{minor}" + (f" ({least.name})" if len({card.capability for card in known}) > 1 else "")
    needed = LEAST_CAPABILITY[flavour]
    if (major, minor) < needed:
        remedy = "pip install 'jax[cuda12]'" if flavour == "cu13" else "take a newer card"
        what = f"{found}; CUDA {flavour[2:]} needs {needed[0]}.{needed[1]}"
        return Finding("compute capability", what, "wrong", remedy)
    if (major, minor) < BFLOAT16_FROM:
        remedy = "no bfloat16 there: runs compute in float32"
        return Finding("compute capability", found, "ok", remedy)
    return Finding("compute capability", found)


def library_row(name: str, stem: str, flavour: str, *, needed: bool, install: str) -> Finding:
    """A library of NVIDIA's, as a package or where the system's loader finds it."""
    package = f"nvidia-{stem}-{flavour}"
    if version := packages.versions((package,)).get(package):
        return Finding(name, f"{package} {version}")
    if file := ctypes.util.find_library(stem):
        return Finding(name, f"{file}, of the system")
    why = "" if needed else f"; {'one card needs none' if stem == 'nccl' else 'nothing here needs it'}"
    return Finding(name, f"no {package}{why}", "wrong" if needed else "absent", install if needed else "")


def preallocation(cards: Sequence[SeenCard], environment: Mapping[str, str]) -> Finding:
    """What JAX takes of each card when it starts, and whether it is free."""
    name = "preallocation"
    allocator = environment.get("XLA_PYTHON_CLIENT_ALLOCATOR", "").lower()
    try:
        fraction = memory_fraction(environment=environment)
    except BackendError as error:
        what, _, remedy = str(error).partition(": ")
        return Finding(name, what, "wrong", remedy)
    if allocator == "platform":
        remedy = "slow: for looking for what takes memory; unset XLA_PYTHON_CLIENT_ALLOCATOR to train"
        return Finding(name, "none: XLA_PYTHON_CLIENT_ALLOCATOR=platform", "ok", remedy)
    if environment.get("XLA_PYTHON_CLIENT_PREALLOCATE", "").lower() in ("false", "0"):
        remedy = "memory falls into pieces: unset XLA_PYTHON_CLIENT_PREALLOCATE where nothing shares the card"
        return Finding(name, f"none, at most {fraction:.0%} of each card", "ok", remedy)
    sized = [card for card in cards if card.total_mib]
    least = min(sized, key=lambda card: card.total_mib or 0) if sized else None
    found = f"{fraction:.0%} of each card"
    if least is None or least.total_mib is None:
        return Finding(name, found)
    found += f": {fraction * least.total_mib / 1024:.1f} of {least.total_mib / 1024:.1f} GiB"
    used = max(card.used_mib or 0 for card in sized)
    if used > (1 - fraction) * least.total_mib:
        remedy = "end what takes it (nvidia-smi names it), or set XLA_PYTHON_CLIENT_PREALLOCATE=false"
        return Finding(name, f"{found}; others have {used / 1024:.1f} GiB", "ok", remedy)
    more = "XLA_PYTHON_CLIENT_MEM_FRACTION=.9 takes more" if fraction == MEMORY_FRACTION else ""
    return Finding(name, found, "ok", more)


def peer_access(said: Sequence[str], error: str) -> Finding:
    """Whether cards read each other's memory, or all goes through the host's."""
    ways = nvidia_smi.peers("\n".join(said))
    if not ways:
        what = error or f"`{' '.join(nvidia_smi.PEERS)}` gives no table that is known here"
        return Finding("peer access", what, "absent", "look at `nvidia-smi topo -m`")
    pairs = nvidia_smi.apart(ways)
    count = len({name for pair in ways for name in pair})
    if not pairs:
        return Finding("peer access", f"all {count} cards reach each other")
    shown = ", ".join(f"{a} and {b} ({why})" for (a, b), why in list(pairs.items())[:SHOWN])
    more = f" and {len(pairs) - SHOWN} pairs more" if len(pairs) > SHOWN else ""
    remedy = (
        "collectives go through the host: look at ACS and IOMMU in the firmware; cards for games have none"
    )
    return Finding("peer access", f"not between {shown}{more}", "ok", remedy)


def shared_memory(path: Path = Path("/dev/shm")) -> Finding:
    """What NCCL has for processes of one machine: containers start with 64 MiB."""
    name = "shared memory"
    remedy = "docker run --shm-size=16g; in a pod an emptyDir of memory at /dev/shm (launch/jobset.yaml)"
    try:
        stats = os.statvfs(path)
    except OSError as error:
        return Finding(name, f"{path}: {error.strerror}", "ok", remedy)
    size = stats.f_frsize * stats.f_blocks
    found = f"{path} of {size / GIB:.3g} GiB"
    return Finding(name, found, "ok", "" if size >= LEAST_SHARED_BYTES else remedy)


def _flavour(backend: Description) -> str:
    """Of the installed plugin, as NVIDIA's packages end: "cu13", or "cu12"."""
    found = packages.versions(backend.packages)
    older = any("cuda12" in name for name in found) and not any("cuda13" in name for name in found)
    return "cu12" if older else "cu13"
