"""A folder that looks like CANN: libascendcl.so from a few lines of C, and a hivmc that is a shell script.

It shows that the calls have the documented signatures and that mistakes are told; nothing about hardware.
"""

import platform
import subprocess
from pathlib import Path

# Signatures of acl_rt.h (CANN 8.x). FAIL, DEVICES, MAJOR and HANG are given when it is compiled.
ACL = r"""
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

static int initialised, current = -1;

static int fails(const char *name) { return strcmp(name, FAIL) == 0 ? 507008 : 0; }
static int called(const char *name) { return initialised ? fails(name) : 100001; }

int aclInit(const char *config) {
  if (HANG) sleep(600);
  if (initialised) return 100002;
  initialised = config == NULL;
  return fails("aclInit");
}
int aclFinalize(void) { initialised = 0; return 0; }
const char *aclGetRecentErrMsg(void) { return "EE1001: the driver is gone\nand more\n"; }
int aclrtGetVersion(int32_t *major, int32_t *minor, int32_t *patch) {
  *major = MAJOR; *minor = 12; *patch = 0;
  return fails("aclrtGetVersion");
}
int aclrtGetDeviceCount(uint32_t *count) { *count = DEVICES; return called("aclrtGetDeviceCount"); }
int aclrtSetDevice(int32_t device) { current = device; return called("aclrtSetDevice"); }
int aclrtResetDevice(int32_t device) { current = -1; return device < 0; }
const char *aclrtGetSocName(void) { return "Ascend910B1"; }
#ifndef NO_MEMORY
int aclrtGetMemInfo(int attribute, size_t *free, size_t *total) {
  if (attribute != 1 || current < 0) return 100000;
  *free = (size_t)(60 - current) << 30; *total = (size_t)64 << 30;
  return called("aclrtGetMemInfo");
}
#endif
"""

# Copies what it was given behind the four bytes that every ELF file begins with.
HIVMC = r"""#!/bin/sh
if [ "$1" = --version ]; then echo "%(version)s"; exit 0; fi
input=$1
while [ $# -gt 0 ]; do [ "$1" = -o ] && output=$2; shift; done
%(does)s
"""
WRITES = '{ printf \'%(magic)s\'; cat "$input"; } > "$output"'
VERSION = "hivmc 0.1.0 (0123abcd 2026-01-31)"


def make(
    home: Path,
    *,
    version: str = "8.3.RC2",
    devices: int = 2,
    fail: str = "",
    major: int = 1,
    hang: bool = False,
    flags: tuple[str, ...] = (),
) -> Path:
    """The folder, for ASCEND_HOME_PATH; with a hivmc that works."""
    info = home / f"{platform.machine()}-linux" / "ascend_toolkit_install.info"
    for folder in (info.parent, home / "lib64", home / "bin"):
        folder.mkdir(parents=True, exist_ok=True)
    info.write_text(f"package_name=Ascend-cann-toolkit\nversion={version}\narch={platform.machine()}\n")
    told = [f'-DFAIL="{fail}"', f"-DDEVICES={devices}", f"-DMAJOR={major}", f"-DHANG={int(hang)}", *flags]
    library = home / "lib64" / "libascendcl.so"
    command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", *told, "-o", str(library)]
    subprocess.run(command, input=ACL, text=True, check=True, capture_output=True)
    write_hivmc(home)
    return home


def write_hivmc(home: Path, *, version: str = VERSION, magic: str = r"\177ELF", does: str = "") -> Path:
    """hivmc that says this version, and writes a file of this magic, or does something else."""
    path = home / "bin" / "hivmc"
    path.write_text(HIVMC % {"version": version, "does": does or WRITES % {"magic": magic}})
    path.chmod(0o755)
    return path
