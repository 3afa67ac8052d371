"""What is installed of a backend: versions of its packages, and its PJRT plugin."""

import importlib.metadata
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from tpu_npu_backends.ascend.plugin import library as ascend
from tpu_npu_backends.descriptions import Description


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of those that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def plugin(backend: Description) -> Path | None:
    """The PJRT plugin, a file; None where it is not installed, or not built. Loads nothing of it."""
    if backend.name == "npu":
        return ascend.built()
    if backend.name == "tpu" and (named := os.environ.get("TPU_LIBRARY_PATH")):
        return Path(named)
    for package, file in backend.plugins:
        try:
            spec = importlib.util.find_spec(package)
        except ModuleNotFoundError:  # the package above it
            continue
        for folder in spec.submodule_search_locations or () if spec else ():
            if (path := Path(folder) / file).is_file():
                return path
    return None
