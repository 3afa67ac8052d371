"""Sub-models of a HiViT: the first channels, whole heads and first blocks of it, cut out of its weights.

Widths are entangled (Cai et al., arXiv 1908.09791; Chen et al., arXiv 2107.00651): a sub-model's weights are
the leading part of the larger one's. A head keeps its width, so a narrower model has fewer heads; queries,
keys and values are cut alike; where neighbours lie side by side each of them is cut; norms are over what is
left.
"""

import dataclasses
from typing import Any, NamedTuple

import jax

from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.vision.model.hierarchical import INNER, HierarchicalConfig

NEIGHBOURS = 4  # tokens that a merge puts side by side
TOKENS = (INNER**2, INNER, 1)  # of a unit in each stage


class SubModel(NamedTuple):
    """Which part of a HiViT.

    Attributes:
      width: of its main stage; the first has a quarter of it, the second half.
      depths: of its stages.
    """

    width: int
    depths: tuple[int, int, int]

    @property
    def label(self) -> str:
        """Such as "64 wide, 1-1-3 deep"."""
        return f"{self.width} wide, {'-'.join(map(str, self.depths))} deep"


def whole(config: HierarchicalConfig) -> SubModel:
    """All of it."""
    return SubModel(config.d_model, config.depths)


def cut_config(config: HierarchicalConfig, part: SubModel) -> HierarchicalConfig:
    """The shape of a part.

    Raises:
      ValueError: it is no part of this shape, or cuts through a head.
    """
    head = config.d_model // config.heads
    if part.width % head or not head <= part.width <= config.d_model:
        raise ValueError(
            f"width {part.width}: give a multiple of {head}, the width of a head, up to {config.d_model}"
        )
    pairs = zip(part.depths, config.depths, strict=True)
    if len(part.depths) != 3 or any(not 1 <= own <= most for own, most in pairs):
        raise ValueError(f"depths {part.depths}: give three numbers from 1 to those of {config.depths}")
    return dataclasses.replace(config, d_model=part.width, heads=part.width // head, depths=part.depths)


def cut(config: HierarchicalConfig, params: Tree, part: SubModel) -> Tree:
    """The weights of a part, {"trunk", "main"}: slices, through which gradients reach the whole.

    Args:
      config: of the whole.
      params: its weights; other names are passed over.
      part: what is cut out.
    """
    small = cut_config(config, part)
    shapes = jax.eval_shape(small.init, jax.random.key(0))
    trunk = params["trunk"]
    merges = {name: _merge(trunk[name], shapes["trunk"][name]) for name in ("first_merge", "second_merge")}
    plain = {name: value for name, value in trunk.items() if name not in merges}
    wanted = {name: shapes["trunk"][name] for name in plain}
    return {
        "trunk": jax.tree.map(_leading, plain, wanted) | merges,
        "main": jax.tree.map(_leading, params["main"], shapes["main"]),
    }


def cut_features(config: HierarchicalConfig, features_Fx: jax.Array, width: int, stages: int) -> jax.Array:
    """Of an array whose first dimension is the features of the last `stages`, the rows that a part has.

    Args:
      config: of the whole.
      features_Fx: [F, ...], F the sum of the stages' feature widths.
      width: of the part's main stage.
      stages: so many of the last.
    """
    found, start = [], 0
    for wide, tokens in zip(config.feature_widths[-stages:], TOKENS[-stages:], strict=True):
        rows = features_Fx[start : start + wide]
        found.append(_side_by_side(rows, tokens, width * wide // config.d_model))
        start += wide
    return jax.numpy.concatenate(found) if len(found) > 1 else found[0]


def _leading(array: jax.Array, shape: Any) -> jax.Array:
    """The first of every dimension."""
    return array if array.shape == shape.shape else array[tuple(slice(size) for size in shape.shape)]


def _merge(weights: Tree, shapes: Tree) -> Tree:
    """Of four neighbours side by side the first channels of each."""
    rows = shapes["kernel"].shape[0]
    kernel = _side_by_side(weights["kernel"], NEIGHBOURS, rows)[:, : shapes["kernel"].shape[1]]
    norm = {name: _side_by_side(value, NEIGHBOURS, rows) for name, value in weights["norm"].items()}
    return {"kernel": kernel, "norm": norm}


def _side_by_side(array: jax.Array, parts: int, rows: int) -> jax.Array:
    """Of `parts` equal parts of the first dimension the first rows each, `rows` in all."""
    rest = array.shape[1:]
    cut_PxR = array.reshape(parts, -1, *rest)[:, : rows // parts]
    return cut_PxR.reshape(rows, *rest)
