"""Models of other libraries as their files have them, made of golden.jsonl: none of them is needed."""

import functools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import save_file

from tests.apps.vision.conversion.golden import FILE, drawn
from tests.runs.torch_archives import nested, plain, save, state_dict

Arrays = dict[str, np.ndarray]


class Golden(NamedTuple):
    """A small model of a library, and what it made of `golden.pictures`."""

    tensors: Arrays
    logits: np.ndarray
    config: dict


@functools.cache
def _lines() -> dict[str, dict]:
    return {name: value for line in FILE.read_text().splitlines() for name, value in json.loads(line).items()}


def golden(name: str) -> Golden:
    found = _lines()[name]
    tensors = {key: drawn(key, tuple(shape), found["seed"]) for key, shape in found["shapes"].items()}
    return Golden(tensors, np.array(found["logits"], np.float32), found["config"])


def resized(side: int) -> tuple[np.ndarray, np.ndarray]:
    """timm's positions and logits of "token" for larger or smaller pictures."""
    found = _lines()[f"timm/{side}"]
    return np.array(found["positions"], np.float32), np.array(found["logits"], np.float32)


def write(name: str, at: Path, tensors: Arrays | None = None) -> Path:
    """The model where its library would have put it: a folder, or one file."""
    model, library = golden(name), name.split("/")[0]
    tensors = model.tensors if tensors is None else tensors
    at.mkdir(parents=True)
    if library == "big_vision":
        np.savez(at / "model.npz", **{key: bits(value) for key, value in tensors.items()})
        return at / "model.npz"
    if library in ("hivit", "mae"):
        return pth(at / "model.pth", tensors)
    (at / "config.json").write_text(json.dumps(model.config))
    save_file(tensors, at / "model.safetensors")
    if library == "hf":
        described = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
        (at / "preprocessor_config.json").write_text(json.dumps(described))
    return at


def pth(file: Path, tensors: Arrays, **beside: bytes) -> Path:
    """{"model": tensors}, and what else is beside them."""
    state = state_dict({key: plain(key, value) for key, value in tensors.items()})
    save(file, tensors, nested({"model": state, **beside}))
    return file


def bits(array: np.ndarray) -> np.ndarray:
    """bfloat16 as JAX saves it."""
    return array.view("V2") if array.dtype.name == "bfloat16" else array
