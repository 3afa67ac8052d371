"""Where CANN is, and whether it is one that this project knows.

CANN is Huawei's toolkit for Ascend: the driver's runtime (libascendcl) and the last step of the kernel
compiler (hivmc). Its set_env.sh sets ASCEND_HOME_PATH. Nothing here has ever run on hardware.
"""

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tpu_npu_backends import shared_libraries
from tpu_npu_backends.errors import BackendError

VARIABLE = "ASCEND_HOME_PATH"
NEVER_RUN = "never run on hardware"

# aclrtLaunchKernelWithConfig and aclrtBinaryLoadFromData, which kernels will be launched by, came with 8.2.
FIRST_VERSION, FIRST_UNKNOWN_MAJOR = (8, 2), 10
_REMEDY = f"source CANN's set_env.sh again, or unset {VARIABLE}"
_VERSION = re.compile(r"^version=((\d+)\.(\d+)\S*)\s*$", re.MULTILINE)

# Releases put it in different places (CANN 8.3 and 8.5 toolkits, 9.x); set_env.sh has one of them on PATH.
_HIVMC = (
    "bin/hivmc",
    "tools/bishengir/bin/hivmc",
    "compiler/bishengir/bin/hivmc",
    "compiler/ccec_compiler/bin/hivmc",
    "bisheng_toolkit/bishengir/bin/hivmc",
)


@dataclass(frozen=True)
class Installation:
    """A CANN toolkit that was found.

    Attributes:
      home: its folder, what ASCEND_HOME_PATH names.
      version: of the toolkit, such as "8.3.RC2".
      acl_library: libascendcl.so, for this machine's processor.
      hivmc: the compiler of device binaries; None where this toolkit has none.
    """

    home: Path
    version: str
    acl_library: Path
    hivmc: Path | None


def find(environment: Mapping[str, str] = os.environ) -> Installation | None:
    """The CANN of ASCEND_HOME_PATH; None where that is not set. Loads nothing.

    Raises:
      BackendError: the variable points nowhere, or at something that cannot be used.
    """
    named = environment.get(VARIABLE)
    if not named:
        return None
    home = Path(named)
    if not home.is_absolute() or not home.is_dir():
        what = "is no folder" if home.is_absolute() else "is no absolute path"
        raise BackendError(f"{VARIABLE}={named} {what}; {_REMEDY}")
    version = _known_version(home)
    library = shared_libraries.require_for_this_machine(home / "lib64" / "libascendcl.so", _REMEDY)
    return Installation(home, version, library, _hivmc(home))


def _known_version(home: Path) -> str:
    name = "ascend_toolkit_install.info"
    files = [home / f"{platform.machine()}-linux" / name, home / name]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise BackendError(f"{VARIABLE}={home} is no CANN toolkit: it has no {files[0]}; {_REMEDY}")
    match = _VERSION.search(file.read_text("utf-8", errors="replace"))
    if match is None:
        raise BackendError(f"{file} names no version; {_REMEDY}")
    version, numbers = match[1], (int(match[2]), int(match[3]))
    if numbers < FIRST_VERSION or numbers[0] >= FIRST_UNKNOWN_MAJOR:
        known = f"{'.'.join(map(str, FIRST_VERSION))} up to {FIRST_UNKNOWN_MAJOR - 1}.x"
        raise BackendError(
            f"{VARIABLE}={home} is CANN {version}, and known here is {known}; source the set_env.sh of one"
        )
    return version


def _hivmc(home: Path) -> Path | None:
    for place in _HIVMC:
        path = home / place
        if path.is_file() and os.access(path, os.X_OK):
            return path
    return None
