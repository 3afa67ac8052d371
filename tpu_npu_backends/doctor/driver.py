"""A backend's driver, as its device files and its own tool show it."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tpu_npu_backends.descriptions import Description

SECONDS_FOR_A_TOOL = 10
_SHOWN = 8  # devices named in one line


@dataclass(frozen=True)
class Driver:
    """What was seen of a driver.

    Attributes:
      described: in a few words.
      files: its entries below /dev, one per device.
      devices: as its tool names them, or else the files.
      error: why its tool does not work; empty where it does, and where there is none.
    """

    described: str
    files: tuple[Path, ...]
    devices: tuple[str, ...]
    error: str


def look(backend: Description, root: Path = Path("/dev")) -> Driver:
    """Asks the system and the driver's tool; loads no library of it."""
    found = {path for pattern in backend.device_files for path in root.glob(pattern)}
    files = tuple(sorted(found, key=lambda path: (path.parent, _number(path), path.name)))
    lines, error, tool = (), "", backend.tool[0] if backend.tool else ""
    path = shutil.which(tool) if tool else None
    if path:
        lines, error = _ask(path, backend.tool)
    parts = [_some(files) if files else "no " + " or ".join(str(root / one) for one in backend.device_files)]
    if tool and not path:
        parts.append(f"no {tool}")
    elif tool:
        parts.append(error or f"{tool}: {_some(lines)}")
    return Driver(", ".join(parts), files, lines or tuple(map(str, files)), error)


def ask(command: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """What a tool answers to more than `look` asks: its lines, or what is wrong with it."""
    path = shutil.which(command[0])
    return _ask(path, command) if path else ((), f"no {command[0]}")


def refused(driver: Driver) -> Path | None:
    """The first device file that this user may not open."""
    return next((file for file in driver.files if not os.access(file, os.R_OK | os.W_OK)), None)


def _ask(path: str, command: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """The lines that the driver's tool prints, or what is wrong with it."""
    name = command[0]
    try:
        ran = subprocess.run([path, *command[1:]], capture_output=True, text=True, timeout=SECONDS_FOR_A_TOOL)
    except subprocess.TimeoutExpired:
        return (), f"{name} did not answer within {SECONDS_FOR_A_TOOL} s"
    except OSError as error:
        return (), f"{name}: {error.strerror}"
    lines = tuple(line.strip() for line in ran.stdout.splitlines() if line.strip())
    if ran.returncode:
        said = [line.strip() for line in ran.stderr.splitlines() if line.strip()] or list(lines)
        return (), f"{name} ended with {ran.returncode}: {(said or ['it said nothing'])[0][:200]}"
    return lines, ""


def _number(path: Path) -> int:
    digits = re.search(r"\d+", path.name)
    return int(digits[0]) if digits else 0


def _some(items: tuple) -> str:
    more = len(items) - _SHOWN
    return "; ".join(map(str, items[:_SHOWN])) + (f" and {more} more" if more > 0 else "")
