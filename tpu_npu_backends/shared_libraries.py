"""Whether this machine can load a shared library or run a program, known before it is tried.

The dynamic linker says "wrong ELF class" or "cannot open shared object file" at best; here it is one line
with what to do about it.
"""

import platform
from pathlib import Path

from tpu_npu_backends.errors import BackendError

# e_machine of the ELF header (System V ABI, "ELF Header") by what uname calls it.
_MACHINES = {62: "x86_64", 183: "aarch64", 3: "i686", 40: "armv7l", 21: "ppc64le", 243: "riscv64"}
_HEADER_BYTES = 20


def is_elf(path: Path) -> bool:
    """Whether a file begins as an ELF object does: a library, a program, or code for a device."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def machine(path: Path) -> str | None:
    """The processor that an ELF file is for, as `uname -m` names it; None for a file that is no ELF."""
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if header[:4] != b"\x7fELF" or len(header) < _HEADER_BYTES:
        return None
    order = "big" if header[5] == 2 else "little"
    number = int.from_bytes(header[18:20], order)
    return _MACHINES.get(number, f"machine {number}")


def require_for_this_machine(path: Path, remedy: str) -> Path:
    """The path itself when it is an ELF file for this processor.

        Args:
          path: a library or a program.
    remedy: what to do, the end of the line when it is not.

        Raises:
          BackendError: it is missing, no ELF file, or for another processor.
    """
    try:
        built_for = machine(path)
    except OSError as error:
        raise BackendError(f"{path}: {error.strerror}; {remedy}") from None
    if built_for is None:
        raise BackendError(f"{path} is no ELF file: it is damaged, or something else; {remedy}")
    if built_for != platform.machine():
        raise BackendError(
            f"{path} is built for {built_for} and this machine is {platform.machine()}; {remedy}"
        )
    return path
