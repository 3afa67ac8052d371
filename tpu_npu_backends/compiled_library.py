"""Shared libraries of our own C++, compiled where they are used, kept in the user's cache. No JAX."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tpu_npu_backends.errors import BackendError


def digest(flags: Sequence[str], files: Sequence[Path]) -> str:
    """Names a library by all it is made from: a changed source is another library, which is not built yet."""
    sums = hashlib.sha256(" ".join(flags).encode())
    for file in files:
        sums.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return sums.hexdigest()[:16]


def sources(folder: Path) -> list[Path]:
    """The C++ files of a folder, in a fixed order."""
    return sorted(file for file in folder.iterdir() if file.suffix in {".cc", ".h"})


def build(
    target: Path,
    what: str,
    files: Sequence[Path],
    headers: Path,
    flags: Sequence[str],
    libraries: Sequence[str],
    compiler: str | None = None,
) -> Path:
    """The library, compiled when it is not there.

    Args:
      target: where it is, in a folder of its own.
      what: its name for people.
      files: the sources.
      headers: a folder of others' headers, whose warnings are theirs.
      flags: of the compiler.
      libraries: what it is linked with, such as "-ldl".
      compiler: a C++17 compiler; $CXX or g++ by default.

    Raises:
      BackendError: no compiler, or the compiler's first error.
    """
    if target.is_file():
        return target
    compiler = compiler or os.environ.get("CXX") or "g++"
    if shutil.which(compiler) is None:
        raise BackendError(
            f"no C++ compiler {compiler!r} to build {what}: install one "
            "(on Debian and Ubuntu: apt-get install g++), or name it in CXX"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        # Built aside and renamed: who builds at the same time, or is killed, leaves no half of a library.
        new = Path(folder) / target.name
        # -isystem: warnings are for our sources, not for others' headers.
        command = [compiler, *flags, "-isystem", str(headers), "-o", str(new)]
        command += [str(file) for file in files if file.suffix == ".cc"]
        done = subprocess.run([*command, *libraries], capture_output=True, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr.strip()]
            raise BackendError(f"{compiler} could not build {what}: {errors[0]}")
        new.replace(target)
    return target


def main(make: Callable[[], Path]) -> int:
    """A build as a program: prints where the library is, or why there is none; the exit status."""
    try:
        print(make())
    except BackendError as error:
        print(error, file=sys.stderr)
        return 2
    return 0
