"""Builds libpjrt_ascend.so: `python -m tpu_npu_backends.ascend.plugin.build`, or `make ascend`."""

import sys
from pathlib import Path

from tpu_npu_backends import compiled_library
from tpu_npu_backends.ascend.plugin import library


def build(compiler: str | None = None) -> Path:
    """The library, compiled when there is none of these sources and this header yet.

    Args:
      compiler: a C++17 compiler; $CXX or g++ by default.

    Raises:
      BackendError: no compiler, no header, or the compiler's first error.
    """
    return compiled_library.build(
        library.path(),
        "the plugin for npu",
        library.sources(),
        library.header_folder(),
        library.FLAGS,
        ("-ldl",),
        compiler,
    )


def _sound() -> Path:
    """The library, after it was seen to load."""
    built = build()
    library.load()
    return built


if __name__ == "__main__":
    sys.exit(compiled_library.main(_sound))
