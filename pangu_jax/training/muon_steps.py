"""Which matrices an array of parameters holds, for Muon.

Muon (Jordan, 2024; Liu et al., arXiv 2502.16982) makes the momentum of a matrix orthogonal. optax's takes
arrays of two dimensions for matrices and leaves all others to Adam. Here weights are stacked over layers, and
a matrix's rows or columns may be heads times their width; a parameter's logical axes tell them apart.
"""

import math
from typing import Any

import jax
import optax
from optax import contrib

from pangu_jax.parallel.rules import LogicalAxes
from pangu_jax.training import stacked_axes

Tree = Any
Sides = tuple[tuple[int, ...], tuple[int, ...]]
# Of AdamW's updates; at this size both take the same learning rate (Liu et al., section 2.2).
RMS = 0.2


def orthogonal_momentum(beta: float) -> optax.GradientTransformationExtraArgs:
    """Each matrix's momentum, orthogonal and of root mean square `RMS`.

    `update(..., axes=)` gets the logical axes of all parameters, a tree of tuples; without, an array is a
    matrix.
    """
    init = contrib.scale_by_muon(beta=beta).init

    def update(updates: Tree, state: Tree, params: Tree = None, *, axes: Tree = None, **extra: Any):
        del params, extra
        axes_of = stacked_axes.lookup(axes)

        def sides_of(path: tuple, update: jax.Array) -> Sides:
            return sides(axes_of(path, update))

        def of_size(path: tuple, update: jax.Array) -> jax.Array:
            longer = max(math.prod(update.shape[i] for i in side) for side in sides_of(path, update))
            return RMS * math.sqrt(longer) * update

        matrices = jax.tree_util.tree_map_with_path(
            lambda path, update: contrib.MuonDimensionNumbers(*sides_of(path, update)), updates
        )
        step = contrib.scale_by_muon(beta=beta, weight_dimension_numbers=matrices)
        orthogonal, state = step.update(updates, state)
        return jax.tree_util.tree_map_with_path(of_size, orthogonal), state

    return optax.GradientTransformationExtraArgs(init, update)


def sides(axes: LogicalAxes) -> Sides:
    """The dimensions that are rows of a matrix, and those that are columns.

    The rest number matrices of their own: stacked ones, and those without a name, such as the 3 of query, key
    and value, where two with a name are left. "embed" is one side and all others are the other; without it,
    the last is.
    """
    of_one = [i for i, axis in enumerate(axes) if axis not in stacked_axes.STACKED]
    named = [i for i in of_one if axes[i] is not None]
    places = named if len(named) > 1 else of_one
    one = next((i for i in places if axes[i] == "embed"), places[-1])
    return (one,), tuple(i for i in places if i != one)
