"""Builds libpjrt_ascend.so: `python -m tpu_npu_backends.ascend.plugin.build`, or `make ascend`."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tpu_npu_backends.ascend.plugin import library
from tpu_npu_backends.errors import BackendError


def build(compiler: str | None = None) -> Path:
    """The library, compiled when there is none of these sources and this header yet.

    Args:
      compiler: a C++17 compiler; $CXX or g++ by default.

    Raises:
      BackendError: no compiler, no header, or the compiler's first error.
    """
    target = library.path()
    if target.is_file():
        return target
    compiler = compiler or os.environ.get("CXX") or "g++"
    if shutil.which(compiler) is None:
        raise BackendError(
            f"no C++ compiler {compiler!r} to build the plugin for npu: install one "
            "(on Debian and Ubuntu: apt-get install g++), or name it in CXX"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        # Built aside and renamed: who builds at the same time, or is killed, leaves no half of a library.
        new = Path(folder) / library.NAME
        # -isystem: warnings are for our sources, not for the wheel's headers.
        command = [compiler, *library.FLAGS, "-isystem", str(library.header_folder()), "-o", str(new)]
        command += [str(file) for file in library.sources() if file.suffix == ".cc"]
        done = subprocess.run([*command, "-ldl"], capture_output=True, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr.strip()]
            raise BackendError(f"{compiler} could not build the plugin for npu: {errors[0]}")
        new.replace(target)
    return target


def main() -> int:
    try:
        print(build())
        library.load()
    except BackendError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
