"""What a layer of experts does to the rows of its tokens beside its products: passes over them, by bytes.

There is a row for each pair of a token and an expert that can meet on a device (`sizes.visits`). Counted as
`models/experts.py` and `models/slots.py` have them: rows are gathered by expert, go through the products, are
gathered back in the order of tokens, weighed and added up.
"""

from typing import NamedTuple

import numpy as np

from pangu_jax.planner.candidates import Candidates
from pangu_jax.planner.search_context import SearchContext
from pangu_jax.planner.sizes import DOTS, FULL, OFFLOAD, visits
from pangu_jax.workloads.shape import Tower


class RoutedRows(NamedTuple):
    """Bytes of a microbatch on a device, each an array over candidates; zeros for a tower without experts.

    Attributes:
      wide: rows as wide as the residual stream.
      inner: rows as wide as an expert.
      tokens: those of all places along `expert`, as wide as the residual stream.
      weights: of the experts that are here.
      copies: of weights, one for each block of rows, where products are of blocks.
      filled: of the rows that products take, the part that holds a token: kernels take no others, blocks all.
    """

    wide: np.ndarray
    inner: np.ndarray
    tokens: np.ndarray
    weights: np.ndarray
    copies: np.ndarray
    filled: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """What remat keeps of products: what comes out of `gate` and `up`."""
        return 2 * self.inner


def routed_rows(context: SearchContext, c: Candidates, tower: Tower) -> RoutedRows:
    """The arrays of which a layer's passes are made."""
    narrowing = [p for p in tower.products if p.experts > 1 and p.split == "rows"]
    if not narrowing:
        none = np.zeros(len(c))
        return RoutedRows(none, none, none, none, none, filled=np.ones(len(c)))
    product, examples, a = narrowing[0], context.examples(c) / c.sequence, context.activation_bytes
    rows, here = visits(c, tower, product) * examples, product.experts / c.expert
    weights = tower.of_experts / (c.expert * c.model) * a
    copies, filled = np.zeros(len(c)), np.ones(len(c))
    if context.topology.chip.platform not in ("tpu", "cpu"):
        block = rows_of_a_block(product.tokens * c.expert * examples, product.experts)
        taken = rows + here * (block - 1)
        copies, filled = taken / block / here * weights, product.tokens * examples / taken
    return RoutedRows(
        wide=rows * product.columns * a,
        inner=rows * product.rows / c.model * a,
        tokens=tower.tokens * c.expert * examples * tower.width * a,
        weights=weights,
        copies=copies,
        filled=filled,
    )


def rows_of_a_block(visits: np.ndarray, experts: int) -> np.ndarray:
    """On a GPU, as `models/grouped_products.py` has it: a power of two, of which experts fill two."""
    return 2.0 ** np.clip(np.floor(np.log2(np.maximum(visits / experts / 2, 1))), 3, 9)


class Passes(NamedTuple):
    """Seconds of a layer's passes over rows, forward and backward, the products aside."""

    forward: np.ndarray
    backward: np.ndarray


def passes(context: SearchContext, c: Candidates, tower: Tower) -> Passes:
    """What is read and written, gathers at the memory's rate, the rest at a part of it.

    Forward: rows by expert, `gate` and `up` joined, kept; rows back in order, weighed and added up. Backward:
    the gradient by expert, weighed, and beside it each row once more for the gradient of its weight; that of
    `gate` and `up`, side by side with both weights for one product; rows back in order, added up. Where remat
    keeps products alone, rows by expert and what is joined are made again.
    """
    r, e = routed_rows(context, c, tower), context.efficiency
    again = 1.0 * ((c.remat == DOTS) | (c.remat == OFFLOAD))
    stash = 2 * r.kept * (c.remat != FULL)  # put into what waits for the backward pass, and cut out of it
    forward = (3 * r.inner + stash) + (r.wide + r.tokens)
    backward = (2 * r.wide) + (r.wide + r.tokens) + (5 + again) * r.inner + stash + (r.wide + r.tokens)
    if context.topology.chip.platform == "tpu":  # elsewhere there are two products, and no copies for one
        backward = backward + 4 * r.inner + 4 / 3 * r.weights
    else:  # weights for each block, read and written, of `down` once more; what is learnt of each, added up
        forward = forward + (r.weights + r.copies) * (r.copies > 0)
        backward = backward + (2 + again / 3) * (r.weights + r.copies) * (r.copies > 0)
    rate = context.topology.chip.hbm_bytes_per_s
    return Passes(
        (e.passes * forward + 4 * r.wide) / rate,
        (e.passes * backward + (6 + 2 * again) * r.wide) / rate,
    )
