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

from pangu_jax.parallel import rules
from pangu_jax.parallel.rules import LogicalAxes
from pangu_jax.training.adafactor_steps import STACKED

Tree = Any
# Of AdamW's updates; at this size both take the same learning rate (Liu et al., section 2.2).
RMS = 0.2


def orthogonal_momentum(beta: float) -> optax.GradientTransformationExtraArgs:
    """Each matrix's momentum, orthogonal and of root mean square `RMS`.

    `update(..., axes=)` gets the logical axes of all parameters, a tree of tuples.
    """
    init = contrib.scale_by_muon(beta=beta).init

    def update(updates: Tree, state: Tree, params: Tree = None, *, axes: Tree, **extra: Any):
        del params, extra
        found = jax.tree.leaves_with_path(axes, is_leaf=rules.is_axes)
        by_path: dict[str, LogicalAxes] = {jax.tree_util.keystr(path): leaf for path, leaf in found}
        # By path, since of a group of parameters the others' updates are not in the tree.
        matrices = jax.tree_util.tree_map_with_path(
            lambda path, _: matrix(by_path[jax.tree_util.keystr(path)]), updates
        )
        step = contrib.scale_by_muon(beta=beta, weight_dimension_numbers=matrices)
        orthogonal, state = step.update(updates, state)
        return jax.tree.map(_to_rms, orthogonal, matrices), state

    return optax.GradientTransformationExtraArgs(init, update)


def _to_rms(orthogonal: jax.Array, sides: contrib.MuonDimensionNumbers) -> jax.Array:
    longer = max(math.prod(orthogonal.shape[i] for i in side) for side in sides)
    return RMS * math.sqrt(longer) * orthogonal


def matrix(axes: LogicalAxes) -> contrib.MuonDimensionNumbers:
    """The dimensions that are rows, and those that are columns; the rest number matrices of their own.

    Stacked dimensions number matrices, and so do those without a name, such as the 3 of query, key and value,
    where two with a name are left. "embed" is one side and all others are the other; without it, the last is.
    """
    of_one = [i for i, axis in enumerate(axes) if axis not in STACKED]
    named = [i for i in of_one if axes[i] is not None]
    sides = named if len(named) > 1 else of_one
    one = next((i for i in sides if axes[i] == "embed"), sides[-1])
    return contrib.MuonDimensionNumbers((one,), tuple(i for i in sides if i != one))
