"""Nested dicts of arrays as one file, whole or not there."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)  # what half a file raises


def write(path: Path, state: dict[str, Any]) -> None:
    """As .npz, renamed into place."""
    partial = path.with_suffix(".partial.npz")
    arrays: dict[str, Any] = traverse_util.flatten_dict(state, sep="/")
    np.savez(partial, **arrays)
    partial.replace(path)


def read(path: Path) -> dict[str, Any] | None:
    """None where it is not there or not whole."""
    try:
        with np.load(path, allow_pickle=False) as found:
            return traverse_util.unflatten_dict(dict(found), sep="/")
    except BROKEN:
        return None
