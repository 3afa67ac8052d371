"""What a checkpoint directory holds, by its files alone: no device, no mesh, no JAX.

    checkpoints/
      1000/                     one committed step (Orbax renames it into place when it is whole)
        state/                  the arrays (Orbax, OCDBT)
        manifest/metadata       JSON: recipe, fingerprint, mesh, time, the shape and dtype of every array
        checksums.json          size and CRC-32 of every file above, written just before the commit
      1100.orbax-checkpoint-tmp a save that was under way; never read
      900.corrupt               a step that failed its check and was stepped over when training resumed
      expired/                  steps that retention gave up, on their way out

`verify` and every restore compare the files with checksums.json. A CRC-32 finds any bit flip or truncation;
it is no defence against someone who forges a checkpoint.
"""

import datetime
import hashlib
import json
import math
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from pangu_jax.errors import UserError

CHECKSUMS = "checksums.json"
MANIFEST = "manifest/metadata"
STEP_METADATA = "_CHECKPOINT_METADATA"
COMMIT_MARKER = "commit_success.txt"
# Orbax still writes these two, at the top of a step, after the sums are taken.
UNSUMMED_FILES = (CHECKSUMS, STEP_METADATA, COMMIT_MARKER)
CORRUPT_SUFFIX = ".corrupt"
EXPIRED = "expired"
IN_PROGRESS = "orbax-checkpoint-tmp"


# What reading damaged JSON, or JSON of another shape, can raise.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)


def checkpoint_directory(path: str | os.PathLike) -> Path:
    """The directory of checkpoints for `path`, which may also be the run directory above it."""
    path = Path(path)
    inside = path / "checkpoints"
    return inside if inside.is_dir() else path


def require_usable(directory: Path, read_only: bool) -> None:
    """Make `directory` if need be and see that it can be written; if only to be read, that it is there.

    Raises:
        UserError: it is not so.
    """
    if read_only:
        if not directory.is_dir():
            raise UserError(f"no checkpoints: there is no directory {directory}")
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"cannot write checkpoints to {directory}: {error.strerror}; choose another run directory"
        ) from None


def committed_steps(directory: str | os.PathLike) -> list[int]:
    """Steps in `directory` that were committed, oldest first. Unfinished and set-aside ones do not count."""
    directory = Path(directory)
    if not directory.is_dir():
        return []
    return sorted(int(entry.name) for entry in directory.iterdir() if entry.name.isdecimal())


def read_manifest(step_directory: Path) -> dict:
    """The manifest of one step.

    Raises:
        OSError, ValueError: it is missing or not JSON; `fault` says so in words.
    """
    return json.loads((step_directory / MANIFEST).read_text(encoding="utf-8"))


def write_checksums(step_directory: Path) -> None:
    """Sum every file of `step_directory` into its checksums.json (atomically)."""
    sums = _sum_files(step_directory)
    files = {name: {"bytes": size, "crc32": crc} for name, (size, crc) in sums.items()}
    partial = step_directory / (CHECKSUMS + ".partial")
    partial.write_text(json.dumps({"files": files}, indent=1), encoding="utf-8")
    partial.replace(step_directory / CHECKSUMS)


def digest(step_directory: Path) -> str:
    """sha256 of the sizes and CRC-32s of a step's files, hex: which checkpoint it is.

    Of a step without checksums, which has to be read through.

    Raises:
        UserError: its checksums cannot be read.
    """
    try:
        sums = _read_checksums(step_directory) if is_summed(step_directory) else _sum_files(step_directory)
    except UNREADABLE as error:
        raise UserError(f"{step_directory} is damaged: its checksums cannot be read ({error})") from None
    return hashlib.sha256(json.dumps(sorted(sums.items())).encode()).hexdigest()


def is_summed(step_directory: Path) -> bool:
    """Whether the step can be checked at all."""
    return (step_directory / CHECKSUMS).is_file()


def fault(step_directory: Path) -> str | None:
    """Which file of a step is damaged and how, or None if all agree with their checksums.

    Reads every byte, on several threads. A step without checksums passes if its manifest can be read.
    """
    try:
        json.loads((step_directory / STEP_METADATA).read_text(encoding="utf-8"))
        read_manifest(step_directory)["arrays"].items()
        expected = _read_checksums(step_directory) if is_summed(step_directory) else {}
    except FileNotFoundError as error:
        return f"{Path(error.filename).relative_to(step_directory)} is missing"
    except UNREADABLE as error:
        return f"its manifest or checksums cannot be read ({error})"
    # Sizes first: they cost nothing and name a truncated file without reading the others.
    for name, (size, _) in expected.items():
        path = step_directory / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} is truncated or overlong: {path.stat().st_size} bytes instead of {size}"
    try:
        with ThreadPoolExecutor(max_workers=_summing_threads()) as pool:
            sums = list(pool.map(lambda name: _size_and_crc(step_directory / name)[1], expected))
    except OSError as error:  # a bad sector, say
        return f"{error.filename} cannot be read: {error.strerror}"
    for name, crc in zip(expected, sums, strict=True):
        if crc != expected[name][1]:
            return f"{name} has changed since it was written: CRC-32 {crc}, not {expected[name][1]}"
    return None


def inspect(directory: str | os.PathLike) -> dict:
    """What is in a checkpoint directory; of the newest readable step, everything its manifest says.

    Args:
        directory: a run directory, its checkpoints/, or one step in there.
    Returns:
        {"directory", "steps", "set_aside", "unfinished", "step", "age_seconds", "saved", "version", "mesh",
        "fingerprint", "recipe", "arrays": {path: {"shape", "dtype", "bytes"}},
        "totals": {top-level name: {"arrays", "elements", "bytes"}}, "parameters", "bytes"}
    Raises:
        UserError: no step there, or none whose manifest can be read.
    """
    directory, steps = _require_steps(directory)
    for step in reversed(steps):
        with suppress(*UNREADABLE):
            return {
                "directory": str(directory),
                "steps": steps,
                **_leftovers(directory),
                "step": step,
                **_facts(read_manifest(directory / str(step))),
            }
    raise UserError(f"no manifest in {directory} can be read; `pangu checkpoint verify` says why")


def verify(directory: str | os.PathLike) -> dict:
    """Check every byte of every step.

    Args:
        directory: a run directory, its checkpoints/, or one step in there.
    Returns:
        {"directory", "steps": [{"step", "state": "sound" | "unsummed" | "corrupt", "why", "files", "bytes"}],
        "usable": steps a restore would take, newest last, "set_aside", "unfinished"}. An unsummed step was
        committed without checksums; it is readable as far as anyone knows.
    Raises:
        UserError: there is no step, or none is usable.
    """
    directory, steps = _require_steps(directory)
    rows = []
    for step in steps:
        step_directory = directory / str(step)
        why = fault(step_directory)
        files = [file for file in step_directory.rglob("*") if file.is_file()]
        state = "corrupt" if why else "sound" if is_summed(step_directory) else "unsummed"
        size = sum(file.stat().st_size for file in files)
        rows.append({"step": step, "state": state, "why": why, "files": len(files), "bytes": size})
    usable = [row["step"] for row in rows if row["state"] != "corrupt"]
    if not usable:
        faults = list_faults((row["step"], row["why"]) for row in rows)
        raise UserError(f"no checkpoint in {directory} is usable: {faults}")
    return {"directory": str(directory), "steps": rows, "usable": usable, **_leftovers(directory)}


def list_faults(faults) -> str:
    """`(step, why)` pairs, newest first, as half a sentence."""
    return "; ".join(f"step {step}: {why}" for step, why in sorted(faults, reverse=True))


def _facts(manifest: dict) -> dict:
    arrays = manifest["arrays"]
    totals: dict[str, dict[str, int]] = {}
    for path, array in arrays.items():
        total = totals.setdefault(path.split("/")[0], {"arrays": 0, "elements": 0, "bytes": 0})
        total["arrays"] += 1
        total["elements"] += math.prod(array["shape"])
        total["bytes"] += array["bytes"]
    saved = datetime.datetime.fromisoformat(manifest["saved"])
    return {
        "saved": manifest["saved"],
        "age_seconds": (datetime.datetime.now(datetime.UTC) - saved).total_seconds(),
        "version": manifest["version"],
        "mesh": manifest.get("mesh", {}),
        "fingerprint": manifest.get("fingerprint", {}),
        "recipe": manifest.get("recipe", ""),
        "arrays": arrays,
        "totals": totals,
        "parameters": totals.get("params", {}).get("elements", 0),
        "bytes": sum(total["bytes"] for total in totals.values()),
    }


def _sum_files(step_directory: Path) -> dict[str, tuple[int, str]]:
    """Size and CRC-32 of every file, by its name in the step."""
    paths = (file for file in step_directory.rglob("*") if file.is_file())
    names = sorted(file.relative_to(step_directory).as_posix() for file in paths)
    names = [name for name in names if name not in UNSUMMED_FILES]
    with ThreadPoolExecutor(max_workers=_summing_threads()) as pool:
        sums = pool.map(lambda name: _size_and_crc(step_directory / name), names)
        return dict(zip(names, sums, strict=True))


def _read_checksums(step_directory: Path) -> dict[str, tuple[int, str]]:
    files = json.loads((step_directory / CHECKSUMS).read_text(encoding="utf-8"))["files"]
    return {name: (file["bytes"], file["crc32"]) for name, file in files.items()}


def _require_steps(directory: str | os.PathLike) -> tuple[Path, list[int]]:
    """The directory of checkpoints, and the steps meant: all, or the one that `directory` is."""
    path = Path(directory).absolute()
    if path.name.isdecimal() and (path / "state").is_dir():
        return path.parent, [int(path.name)]
    directory = checkpoint_directory(path)
    if not directory.is_dir():
        raise UserError(f"no such directory: {directory}; give a run directory or its checkpoints/")
    steps = committed_steps(directory)
    if not steps:
        raise UserError(f"no checkpoint in {directory}; give a run directory that has saved one")
    return directory, steps


def _leftovers(directory: Path) -> dict[str, list[str]]:
    names = sorted(entry.name for entry in directory.iterdir())
    return {
        "set_aside": [name for name in names if name.endswith(CORRUPT_SUFFIX)],
        "unfinished": [name for name in names if IN_PROGRESS in name],
    }


def _summing_threads() -> int:
    return min(8, os.cpu_count() or 1)  # zlib releases the GIL; beyond 8 the disk is the limit


def _size_and_crc(file: Path, chunk: int = 1 << 22) -> tuple[int, str]:
    size, crc = 0, 0
    with file.open("rb") as stream:
        while block := stream.read(chunk):
            size += len(block)
            crc = zlib.crc32(block, crc)
    return size, f"{crc:08x}"
