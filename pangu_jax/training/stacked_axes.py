"""Logical axes of the parameters that a gradient transformation is given, of which others may be missing."""

from collections.abc import Callable
from typing import Any

import jax

from pangu_jax.parallel import rules
from pangu_jax.parallel.rules import LogicalAxes

STACKED = ("layers", "blocks", "expert")  # logical axes along which matrices are stacked


def lookup(axes: Any) -> Callable[[tuple, jax.Array], LogicalAxes]:
    """(path, array) -> its logical axes; all None where `axes`, a tree of tuples or None, has none.

    By path, since of a group of parameters the others' updates are not in the tree.
    """
    found = jax.tree.leaves_with_path(axes, is_leaf=rules.is_axes)
    by_path: dict[str, LogicalAxes] = {jax.tree_util.keystr(path): leaf for path, leaf in found}
    return lambda path, array: by_path.get(jax.tree_util.keystr(path), (None,) * array.ndim)
