"""Nested dicts of arrays as one file, whole or not there."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)  # what half a file raises


def write(path: Path, state: dict[str, Any]) -> None:
    """As .npz, renamed into place."""
    partial = path.with_suffix(".partial.npz")
    arrays: dict[str, Any] = dict(_flat(state))
    np.savez(partial, **arrays)
    partial.replace(path)


def read(path: Path) -> dict[str, Any] | None:
    """None where it is not there or not whole."""
    try:
        with np.load(path, allow_pickle=False) as found:
            state: dict[str, Any] = {}
            for name in found.files:
                *folders, last = name.split("/")
                at = state
                for folder in folders:
                    at = at.setdefault(folder, {})
                at[last] = found[name]
            return state
    except BROKEN:
        return None


def _flat(state: dict[str, Any], before: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for name, value in state.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}/")
        else:
            yield f"{before}{name}", np.asarray(value)
