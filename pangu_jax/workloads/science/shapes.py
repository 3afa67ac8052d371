"""An Earth-specific transformer in numbers (`pangu_jax.workloads.shape`)."""

import functools
import math

import jax

from pangu_jax.workloads.science.model.earth import EarthConfig
from pangu_jax.workloads.shape import Attention, End, Product, Shape, Tower


def shape_of(config: EarthConfig) -> Shape:
    """A model in numbers: four towers, of two resolutions, and what is around them."""
    fine, coarse = config.fine.tokens, config.coarse.tokens
    narrow, wide = config.dims
    z, h, w = config.patch
    upper, surface = z * h * w, h * w
    above, below = fine - fine // config.fine.levels, fine // config.fine.levels
    towers = tuple(tower(config, layer) for layer in range(4))
    ends = (
        End("upper patches", upper * config.inputs[0], narrow, above, "input"),
        End("surface patches", surface * config.inputs[1], narrow, below, "input"),
        End("down", 4 * narrow, wide, coarse, "product"),
        End("up", wide, 4 * narrow, coarse, "product"),
        End("mix", narrow, narrow, fine, "product"),
        End("upper recovery", 2 * narrow, upper * config.upper, above, "product", loss_chunks=1),
        End("surface recovery", 2 * narrow, surface * config.surface, below, "product", loss_chunks=1),
    )
    matrices = Shape(towers, ends)
    return matrices._replace(others=parameters(config) - matrices.parameters)


@functools.cache
def parameters(config: EarthConfig) -> int:
    """All of them, to the last: biases on scores are most of Pangu-Weather's."""
    made = jax.eval_shape(lambda: config.init(jax.random.key(0)))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(made))


def tower(config: EarthConfig, layer: int) -> Tower:
    """The blocks of a layer; what windows add to the grid is multiplied by `qkv` and looked at."""
    coarse = layer in (1, 2)
    width, hidden, heads = config.dims[coarse], config.hidden[coarse], config.heads[coarse]
    grid = config.grids[layer]
    padded = math.prod(grid.padded)
    products = (
        Product(width, 3 * width, padded, "columns", saved=True),
        Product(width, width, padded, "rows", saved=False),
        Product(width, hidden, grid.tokens, "columns", saved=True),
        Product(hidden, width, grid.tokens, "rows", saved=False),
    )
    look = Attention(
        heads,
        width // heads,
        padded,
        grid.in_window,
        causal=False,
        plain=True,
        windows=math.prod(grid.counts),
    )
    return Tower(
        f"layer{layer + 1}", config.depths[layer], grid.tokens, width, products, (look,), 2, staged=False
    )
