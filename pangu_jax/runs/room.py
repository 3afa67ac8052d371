"""Whether weights fit where they are to be: asked before they are read, and said with what would do."""

import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import psutil

from pangu_jax.errors import UserError

GIB = 2**30
CONTROL_GROUP = Path("/sys/fs/cgroup/memory.max")
WEIGHTS = (".safetensors", ".bin", ".npy", ".npz", ".ckpt")


def require_memory(arrays: Any, where: Path, times: int = 1) -> None:
    """UserError where arrays do not fit the devices of this process that they are to be on.

    Args:
      arrays: a tree of jax.ShapeDtypeStruct; those without a sharding are passed over.
      where: the run that they are of, for the message.
      times: how often they are in memory at once: twice, where weights are brought into another form.
    """
    placed = [leaf for leaf in jax.tree.leaves(arrays) if getattr(leaf, "sharding", None) is not None]
    mine = [device for leaf in placed[:1] for device in leaf.sharding.addressable_devices]
    if not mine:
        return
    each = times * sum(_on_one_device(leaf) for leaf in placed)
    on_cpu = mine[0].platform == "cpu"
    needed = each * len(mine) if on_cpu else each
    if on_cpu:
        there, of = machine_bytes(), "this machine has"
    else:
        there, of = device_bytes(mine[0]), f"a {mine[0].device_kind} has"
    if there is None or needed <= there:
        return
    dtype = max(placed, key=lambda leaf: leaf.size).dtype.name
    ways = [f"pangu plan --for generate --gin_file {where}/recipe.gin --topology NAME says what would"]
    if dtype == "float32":
        ways.append("--gin.Layout.compute_dtype=bfloat16 halves them where they are only read")
    if not on_cpu:
        ways.append("--gin.Layout.model=N spreads them over N devices")
    twice = ", once as stored and once as they are used" if times == 2 else ""
    raise UserError(
        f"{where}: its weights take {_gib(needed)} of memory in {dtype}{twice}, and {of} {_gib(there)}; "
        + "; ".join(ways)
    )


def require_for_import(source: Path, run_dir: Path) -> None:
    """UserError where the weights of a file or folder do not fit the memory or the disk that they pass.

    An import holds a model once and writes it in the dtype of its files.
    """
    needed = _of_weights(source)
    if needed > (there := machine_bytes()):
        raise UserError(
            f"{source}: its weights take {_gib(needed)} of memory, and this machine has {_gib(there)}: "
            "import it on a larger one, and bring the run here; pangu plan --for generate says what runs it"
        )
    folder = next(folder for folder in run_dir.absolute().parents if folder.is_dir())
    if needed > (free := free_bytes(folder)):
        raise UserError(
            f"--run_dir {run_dir}: the weights of {source} take {_gib(needed)}, and {_gib(free)} of disk are "
            "free there: free the rest, or name a folder on another disk"
        )


def machine_bytes() -> int:
    """Memory that processes of this machine, or of this container, may have."""
    total = psutil.virtual_memory().total
    try:
        return min(total, int(CONTROL_GROUP.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        return total


def device_bytes(device: jax.Device) -> int | None:
    """Memory that JAX may take of a device; None where that does not say it."""
    return (device.memory_stats() or {}).get("bytes_limit")


def free_bytes(folder: Path) -> int:
    """Of the disk that a folder is on."""
    return shutil.disk_usage(folder).free


def _on_one_device(leaf: jax.ShapeDtypeStruct) -> int:
    return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize


def _of_weights(source: Path) -> int:
    """Bytes of files with weights: of the kind that there is most of, where a folder has a model twice."""
    files: Iterable[Path] = source.iterdir() if source.is_dir() else [source]
    found = dict.fromkeys(WEIGHTS, 0)
    for file in files:
        if file.suffix in found and file.is_file():
            found[file.suffix] += file.stat().st_size
    return max(found.values())


def _gib(size: float) -> str:
    return f"{size / GIB:.3g} GiB" if size >= 2**20 else f"{size:,.0f} bytes"
