"""Logical axes of a tuned model's arrays: of the model by its formulation, of what a method adds by name."""

from typing import Any

import jax

from pangu_jax.models import attention
from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import LogicalAxes
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.model.architecture import Architecture


def of(config: Architecture, tree: Tree) -> Tree:
    """A tuple of logical axes for each array of a tree of parameters, complete or not, real or abstract."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: _of(config, tuple(entry.key for entry in path), leaf.shape), tree
    )


def _of(config: Architecture, path: tuple[str, ...], shape: tuple[int, ...]) -> LogicalAxes:
    *inner, name = path
    if name == "embedding" and shape[0] != config.vocab_size:
        return (None, "embed")  # below the words, a soft prompt, and no mesh axis divides them together
    if (own := _known(config, path)) is not None:
        return own
    if name == "prefix":
        return ("layers", *attention.PREFIX)
    if name in ("left", "right") and (whole := _known(config, tuple(inner))) is not None:
        layers, first, *rest = whole
        return (layers, first, None) if name == "left" else (layers, None, *rest)
    return (None,) * len(shape)  # small: a classifier, a soft prompt


def _known(config: Architecture, path: tuple[str, ...]) -> LogicalAxes | None:
    """Of a weight of the model; None where it has none of that name."""
    found: Any = architecture.axes(config)
    for name in path:
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return found if isinstance(found, tuple) else None
