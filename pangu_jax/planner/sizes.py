"""Sizes on one device, for all candidates at once: weights, the residual stream, what a layer keeps."""

from collections.abc import Iterable

import numpy as np

from pangu_jax.planner.candidates import REMATS, SCHEDULES, Candidates
from pangu_jax.planner.search_context import SearchContext
from pangu_jax.workloads.shape import End, Product, Tower

NONE, GPIPE, CIRCULAR, ONE_F_ONE_B = range(len(SCHEDULES))
KEEP_ALL, DOTS, FULL, OFFLOAD = range(len(REMATS))


def stage_weights(context: SearchContext, c: Candidates) -> np.ndarray:
    """Parameters of the layers that a stage holds: a part of the towers that are cut, the others whole."""
    shape = context.shape
    staged = sum(tower.layers * tower.parameters for tower in shape.staged)
    whole = shape.parameters - staged - sum(end.parameters for end in shape.ends)
    return summed(c, (tower.layers * layer_weights(c, tower) for tower in shape.staged)) / c.stage + whole


def layer_weights(c: Candidates, tower: Tower) -> np.ndarray:
    """Parameters of a layer, of its experts those of one place along `expert`."""
    return tower.parameters - tower.of_experts + tower.of_experts / c.expert


def visits(c: Candidates, tower: Tower, product: Product) -> np.ndarray:
    """Rows that a product's kernels find room for, of each example of the device.

    Tokens of all places along `expert` come to each of them, and how many of a token's experts are there is
    known only where every place has as many.
    """
    if product.experts == 1 or tower.routing is None or tower.routing.even:
        return np.full(len(c), float(product.tokens))
    here = np.minimum(tower.routing.active, tower.routing.experts / c.expert)
    return product.tokens / tower.routing.active * here * c.expert


def chunk_layers(context: SearchContext, c: Candidates, tower: Tower) -> np.ndarray:
    """Layers of a tower that a stage runs in one tick; all of them without a pipeline."""
    if not tower.staged:
        return np.full(len(c), float(tower.layers))
    towers = np.where(c.schedule == GPIPE, 1, len(context.shape.staged))
    rounds = np.where(c.schedule == NONE, 1, np.maximum(1, c.repeats // towers))
    return tower.layers / (c.stage * rounds)


def ticks(context: SearchContext, c: Candidates) -> np.ndarray:
    """Ticks in which a stage holds, or has held, a microbatch (see `schedules`): of each tower for gpipe."""
    ring = c.repeats * c.microbatches + c.stage - 1
    both_ways = ring + c.repeats * c.stage - 1
    return np.select([c.schedule == NONE, c.schedule == ONE_F_ONE_B], [c.microbatches, both_ways], ring)


def residual(context: SearchContext, c: Candidates, tokens: int, width: int) -> np.ndarray:
    """Bytes of a microbatch's residual stream, split over `model` and `sequence`."""
    rows = context.examples(c) * tokens / (c.model * c.sequence)
    return rows * width * context.activation_bytes


def parts(c: Candidates, end: End, side: str | None = None) -> np.ndarray:
    """Parts into which tensor parallelism splits an end, or one of its sides ("rows", "columns")."""
    split = end.split is not None and side in (None, end.split)
    return c.model if split else np.ones_like(c.model)


def summed(c: Candidates, arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Added up, in their order; zeros where there is none."""
    return sum(arrays, np.zeros(len(c)))


def positions(context: SearchContext, c: Candidates, end: End) -> np.ndarray:
    """Positions of a microbatch that pass an end on one device: its own alone where the end is not split."""
    own = c.sequence if end.split else c.sequence * c.model
    return context.examples(c) * end.tokens / own


def kept(context: SearchContext, c: Candidates, tower: Tower) -> dict[int, np.ndarray]:
    """Remat -> bytes that one layer leaves for its backward pass."""
    b, a, tq = context.examples(c), context.activation_bytes, c.model * c.sequence
    stream = residual(context, c, tower.tokens, tower.width)
    saved = [p for p in tower.products if p.saved]
    each = (visits(c, tower, p) * p.columns / (tq if p.split else c.sequence) for p in saved)
    products = summed(c, each) * b * a
    saved = [n for n in tower.attentions if n.plain or not context.forgets_attention]
    attention = sum(n.queries * n.heads * (n.width * a + 4) for n in saved) * b / tq
    dots = tower.blocks * stream + products + attention
    entered = tower.blocks * stream * c.model  # normed, whole along `model`
    scores = summed(c, (scores_bytes(context, c, n) for n in tower.attentions))
    weights = np.where(c.fsdp > 1, a, 0.0) * layer_weights(c, tower) / c.model
    e = context.efficiency
    streams = e.streams_of_all * tower.blocks * stream * 4 / a
    everything = dots + entered + streams + e.products_of_all * products + scores + weights
    return {KEEP_ALL: everything, DOTS: dots, FULL: stream, OFFLOAD: stream}


def scores_bytes(context: SearchContext, c: Candidates, attention) -> np.ndarray:
    """One T x S matrix of attention in the activations' dtype; none with a kernel."""
    part = attention.causal & (c.sequence > 1)  # the kernel does not take part of a causal window
    plain = (attention.plain | (not context.kernels)) | part
    size = attention.heads * attention.queries * attention.keys * context.activation_bytes
    return plain * context.examples(c) * size / (c.model * c.sequence)


def payloads(context: SearchContext, c: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """Bytes that the rings of gpipe send in a tick of each, together; and those of the ring of all towers.

    A tower's payload takes along what the towers before it made.
    """
    streams = [residual(context, c, tower.tokens, tower.width) for tower in context.shape.staged]
    return summed(c, np.cumsum(streams, axis=0)), summed(c, streams)
