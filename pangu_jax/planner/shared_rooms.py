"""Bytes at the moments of a step, where what is alive at different ones shares its room: XLA for GPUs."""

import numpy as np

from pangu_jax.planner.candidates import Candidates
from pangu_jax.planner.search_context import SearchContext
from pangu_jax.planner.sizes import (
    FULL,
    NONE,
    chunk_layers,
    kept,
    parts,
    positions,
    residual,
    scores_bytes,
)


def going_back(context: SearchContext, c: Candidates, layers: list[np.ndarray]) -> list[np.ndarray]:
    """While each tower goes back, where rooms are shared: what is alive beside what all towers kept.

    Towers go back the last first, and what a tower kept is free when it has. A head's logits wait for its
    gradient, or where it is made piece by piece the gradient is there. Without a kernel there are, of the
    largest scores, two in fp32 and two in the activations' dtype, for every shape of them the mask and its
    filling, and a copy of all queries, keys and values laid out anew.
    """
    a, found, b = context.activation_bytes, [], context.examples(c) / (c.model * c.sequence)
    heads = [
        positions(context, c, end) * end.columns / parts(c, end, "columns") * a
        if end.loss_chunks == 1
        else end.size / parts(c, end) * (4 + a)
        for end in context.shape.ends
        if end.kind == "product"
    ]
    waiting, freed = np.max([np.zeros(len(c)), *heads], axis=0), np.zeros(len(c))
    masks = {
        tower: sum({n[:4]: scores_bytes(context, c, n) / a * 5 for n in tower.attentions}.values())
        for tower in context.shape.towers
    }
    for place, tower in reversed(list(enumerate(context.shape.towers))):
        plain = [n for n in tower.attentions if np.any(scores_bytes(context, c, n))]
        largest = np.max([np.zeros(len(c)), *(scores_bytes(context, c, n) for n in plain)], axis=0)
        laid_out = [(n.queries * (n.queries == n.keys) + 2 * n.keys) * n.heads * n.width for n in plain]
        kept_so = np.where(c.remat == FULL, 0.0, b * a * max(laid_out, default=0)) * chunk_layers(
            context, c, tower
        )
        hoisted = sum(masks[earlier] for earlier in context.shape.towers[: place + 1])
        scores = largest * (8 + 2 * a) / a + hoisted + kept_so
        found.append(np.maximum(0.0, layers[place] + scores + waiting - freed))
        if tower.learns:
            kept_by = np.choose(c.remat, [kept(context, c, tower)[r] for r in range(4)])
            freed = freed + np.where(c.schedule == NONE, chunk_layers(context, c, tower) * kept_by, 0.0)
    return found


def at_the_loss(context: SearchContext, c: Candidates) -> np.ndarray:
    """Of an end, where rooms are shared: its logits are made, or its gradient in fp32 is.

    Logits are in fp32 and in the activations' dtype when they are made; when the gradient of the table is,
    they are in the latter alone.
    """
    a, each = context.activation_bytes, [np.zeros(len(c))]
    for end in context.shape.ends:
        table = end.size / parts(c, end)
        made = gradient = np.zeros(len(c))
        if end.kind == "product":
            tokens = positions(context, c, end) / max(1, end.loss_chunks)
            hidden = 3 * residual(context, c, end.tokens, end.rows) * parts(c, end)
            made = tokens * end.columns / parts(c, end, "columns") * (4 * (end.loss_chunks > 0) + a) + hidden
            gradient = tokens * end.columns / parts(c, end, "columns") * a + hidden
        each.append(np.maximum(table * a + made, table * (4 + a) + gradient))
    return np.max(each, axis=0)
