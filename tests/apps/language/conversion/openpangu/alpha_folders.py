"""Folders as PanGu-alpha's weights lie after their export to .npy, with drawn weights: none of theirs."""

from pathlib import Path

import numpy as np

from tests.data import published_models

Tensors = dict[str, np.ndarray]

ROWS, POSITIONS, WIDTH, HEADS, BLOCKS = 512, 80, 48, 4, 3
INNER = 4 * WIDTH
EPSILON = 1e-5


def shapes(stack: str) -> dict[str, tuple[int, ...]]:
    """Name -> shape of a layer's tensors, as they are stored: [out, in] in dense, [in, out] elsewhere."""
    d, f = WIDTH, INNER
    found: dict[str, tuple[int, ...]] = {}
    for name in ("dense1", "dense2", "dense3", "projection"):
        found |= {f"attention.{name}.weight": (d, d), f"attention.{name}.bias": (d,)}
    found |= {"output.mapping.weight": (d, f), "output.mapping.bias": (f,)}
    found |= {"output.projection.weight": (f, d), "output.projection.bias": (d,)}
    for norm in ("layernorm1", "layernorm2"):
        found |= {f"{norm}.gamma": (d,), f"{norm}.beta": (d,)}
    return {f"backbone.{stack}.{name}": shape for name, shape in found.items()}


def tensors() -> Tensors:
    """Weights by the published names; no bias is 0, and streams are small, so that eps counts."""
    rng, found = np.random.default_rng(11), {}
    tables = {"word": (ROWS, 0.05), "position": (POSITIONS, 0.05), "top_query": (POSITIONS, 1.0)}
    for name, (rows, scale) in tables.items():
        found[f"backbone.{name}_embedding.embedding_table"] = rng.normal(0, scale, (rows, WIDTH))
    named = {"backbone.layernorm.gamma": (WIDTH,), "backbone.layernorm.beta": (WIDTH,)}
    for stack in (*(f"blocks.{block}" for block in range(BLOCKS)), "top_query_layer"):
        named |= shapes(stack)
    for name, shape in named.items():
        scale = 0.2 if len(shape) == 1 else WIDTH**-0.5
        found[name] = rng.normal(name.endswith("gamma"), scale, shape)
    return {name: tensor.astype(np.float32) for name, tensor in found.items()}


def write(folder: Path, given: Tensors | None = None) -> Path:
    """The folder, made: a file for each tensor, and a vocabulary."""
    folder.mkdir(parents=True)
    for name, tensor in (tensors() if given is None else given).items():
        np.save(folder / f"{name}.npy", tensor)
    (folder / "vocab.model").write_bytes(published_models.pangu_alpha())
    return folder
