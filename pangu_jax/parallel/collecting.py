"""The sums of a loss, and apart from them its rows.

Sums are added up wherever a batch was split; rows are laid side by side in the order of the batch.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Tree = Any


def without_rows(sums: Any) -> tuple[Any, Tree]:
    """Sums (see `pangu_jax.workloads.Sums`) that can be added up, and the rows in them."""
    return sums._replace(updates=sums.updates._replace(rows={})), sums.updates.rows


def with_rows(sums: Any, rows: Tree) -> Any:
    """The inverse of `without_rows`."""
    return sums._replace(updates=sums.updates._replace(rows=rows))


def split(tree: Tree, microbatches: int) -> Tree:
    """[B, ...] -> [microbatches, B / microbatches, ...]; microbatch i takes rows i, i + microbatches, ...: no
    row changes its device."""

    def interleaved(x_B: jax.Array) -> jax.Array:
        return jnp.swapaxes(x_B.reshape(x_B.shape[0] // microbatches, microbatches, *x_B.shape[1:]), 0, 1)

    return jax.tree.map(interleaved, tree)


def joined(tree: Tree) -> Tree:
    """The inverse of `split`."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]), tree)


def over_stages(rows: Tree, stages: int, axis: str) -> Tree:
    """Rows of all microbatches, from stages that hold consecutive ones each."""
    return jax.tree.map(lambda x: lax.all_gather(x, axis, tiled=True), rows) if stages > 1 else rows
