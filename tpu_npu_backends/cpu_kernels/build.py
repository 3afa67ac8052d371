"""Builds the kernels of the CPU: `python -m tpu_npu_backends.cpu_kernels.build`, or `make kernels`."""

import sys
from pathlib import Path

from tpu_npu_backends import compiled_library
from tpu_npu_backends.cpu_kernels import library


def build(compiler: str | None = None) -> Path:
    """The library, compiled when there is none of these sources for this processor yet.

    Args:
      compiler: a C++17 compiler; $CXX or g++ by default.

    Raises:
      BackendError: no compiler, or the compiler's first error.
    """
    return compiled_library.build(
        library.path(),
        "the kernels of the CPU",
        compiled_library.sources(library.SOURCES),
        library.header_folder(),
        library.FLAGS,
        ("-pthread",),
        compiler,
    )


if __name__ == "__main__":
    sys.exit(compiled_library.main(build))
