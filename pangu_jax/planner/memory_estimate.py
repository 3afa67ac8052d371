"""Bytes per device of a training step, item by item, for all candidates at once."""

from functools import reduce

import numpy as np

from pangu_jax.planner.candidates import Candidates
from pangu_jax.planner.search_context import SearchContext
from pangu_jax.planner.shared_rooms import at_the_loss, going_back
from pangu_jax.planner.sizes import (
    CIRCULAR,
    DOTS,
    FULL,
    GPIPE,
    NONE,
    OFFLOAD,
    chunk_layers,
    kept,
    layer_weights,
    parts,
    payloads,
    positions,
    residual,
    scores_bytes,
    stage_weights,
    summed,
    ticks,
    visits,
)
from pangu_jax.workloads.shape import Tower

Items = dict[str, np.ndarray]


def memory(context: SearchContext, c: Candidates) -> Items:
    """Item -> bytes per device; their sum is the prediction.

    parameters, optimizer, gradients: what is stored, a teacher's too, and fp32 gradients like it. gathered:
    weights whole along `embed`, and their gradients on the way back. activations: what waits for that.
    working: one layer's backward pass. vocabulary: what is outside the layers: the largest table or head, its
    gradient, a piece of the logits. buffers: a batch of pixels or fields, and batches of a pipeline on their
    way in and out. reserve: what no item explains.
    """
    shape = context.shape
    ends = sum(end.parameters / (c.fsdp * parts(c, end)) for end in shape.ends)
    stored = stage_weights(context, c) / (c.fsdp * c.model) + ends
    taught = sum(tower.layers * tower.parameters for tower in shape.towers if not tower.learns)
    accumulating = (c.microbatches > 1) & (c.schedule == NONE)
    working, gathered = _working(context, c), _gathered(context, c)
    outside = _tables(context, c) + _outputs(context, c) + _similarities(context, c)
    gradients = 4.0 * stored
    if context.efficiency.shares:
        # Until all have gone back they are in the activations' dtype, beside weights that are rounded once.
        gradients = context.activation_bytes * stored * (2.0 if context.by_hand else 1.0)
        outside = at_the_loss(context, c) + _similarities(context, c)
        # Of a layer that goes back its weights are there too.
        its_weights = np.where(c.zero == 1, 0.0, gathered)
        gathered = gathered - its_weights
        beyond = [np.maximum(0.0, s + its_weights - outside) for s in going_back(context, c, working)]
        working = [np.zeros(len(c)), *beyond]
    return {
        "parameters": 4.0 * (stored + taught / (c.fsdp * c.model)),
        "optimizer": context.optimizer_bytes * stored,
        "gradients": gradients * (1 + accumulating),
        "gathered": gathered,
        "activations": _activations(context, c),
        "working": np.max(working, axis=0),
        "vocabulary": outside,
        "buffers": _buffers(context, c),
        "reserve": np.full(len(c), context.efficiency.reserve),
    }


def _activations(context: SearchContext, c: Candidates) -> np.ndarray:
    e, (one_by_one, together) = context.efficiency, payloads(context, c)
    chunks, scanned = [], np.zeros(len(c))
    outside = np.zeros(len(c))
    for tower in context.shape.towers:
        if not tower.learns:
            continue
        each = kept(context, c, tower)
        if tower.staged:
            # With full remat a tick of a pipeline keeps its input alone, and the layers' while it goes back.
            each[FULL] = np.where((c.schedule == GPIPE) | (c.schedule == CIRCULAR), 0.0, each[FULL])
        chunk = chunk_layers(context, c, tower) * np.choose(c.remat, [each[r] for r in range(4)])
        alone = len(context.shape.towers) == 1 or all(attention.plain for attention in tower.attentions)
        in_scan = chunk * (e.kept_in_scan_alone if alone else e.kept_in_scan)
        if tower.staged:
            chunks.append(chunk)
            scanned = scanned + in_scan
        else:  # of one microbatch at a time, in a pipeline too
            outside = outside + in_scan
    whole, largest, count = summed(c, chunks), np.max(chunks, axis=0, initial=0), ticks(context, c)
    stash = (2 * c.stage * c.repeats - 1) * together + largest
    # A tick keeps what arrives and what leaves. Branches for the towers of a circular pipeline share the room
    # of the largest.
    gpipe, circular = count * (whole * e.kept_in_ring + 2 * one_by_one), count * (largest + 2 * together)
    return outside + np.choose(c.schedule, [scanned, gpipe, circular, stash])


def _gathered(context: SearchContext, c: Candidates) -> np.ndarray:
    a = context.activation_bytes
    largest = np.max([layer_weights(c, tower) for tower in context.shape.towers], axis=0) / c.model
    copies = np.where(c.fsdp > 1, context.efficiency.gathered, 1.0)
    once = (
        stage_weights(context, c) / c.model * (a + 8.0)
    )  # weights; gradients in fp32, and what is added to them
    return np.where(c.zero == 1, once, 0.0) + np.where(c.zero == 1, 1.0, copies + 1.0) * largest * a


def _working(context: SearchContext, c: Candidates) -> list[np.ndarray]:
    """Of a layer of each tower, when it goes back."""
    a, b, e = context.activation_bytes, context.examples(c), context.efficiency
    found = []
    for tower in context.shape.towers:
        stream = residual(context, c, tower.tokens, tower.width)
        entered = stream * c.model
        wide = [visits(c, tower, p) * p.columns for p in tower.products if p.split == "columns"]
        inner = np.max(wide, axis=0, initial=0) if wide else 0
        size = e.working * (entered + inner * b * a / (c.model * c.sequence)) / c.streams
        entered = residual(context, c, tower.memory_tokens, tower.memory_width) * c.model
        memory = 2 * entered  # and its gradient
        scores = context.efficiency.scores * summed(
            c, (scores_bytes(context, c, n) for n in tower.attentions)
        )
        again = np.where((c.remat == FULL) | (c.remat == OFFLOAD), kept(context, c, tower)[DOTS], 0.0)
        ticked = (c.remat == FULL) & (c.schedule != NONE)
        inputs = np.where(ticked, stream * chunk_layers(context, c, tower), 0.0)
        found.append(size + memory + scores + again + inputs + _visiting(context, c, tower))
    return found


def _visiting(context: SearchContext, c: Candidates, tower: Tower) -> np.ndarray:
    """What a layer with experts has of tokens: those of all places along `expert`, and a row for each visit.

    Of both there are what goes in and what comes out, in the backward pass with their gradients.
    """
    visited = [p for p in tower.products if p.experts > 1 and p.split == "rows"]
    if not visited:
        return np.zeros(len(c))
    everyones = (
        residual(context, c, tower.tokens, tower.width) * c.model * np.where(c.expert > 1, c.expert, 0)
    )
    rows = visits(c, tower, visited[0]) * context.examples(c) / c.sequence
    return (4 * everyones + 3 * rows * tower.width * context.activation_bytes) / c.streams


def _tables(context: SearchContext, c: Candidates) -> np.ndarray:
    """The largest end, gathered, with its gradient in the activations' dtype and in fp32."""
    each = [end.size / parts(c, end) for end in context.shape.ends]
    copies = 2 * context.activation_bytes + 4 + 4 * (c.schedule != NONE)
    return reduce(np.maximum, each, np.zeros(len(c))) * copies


def _outputs(context: SearchContext, c: Candidates) -> np.ndarray:
    """Of the head that takes most: what enters, what comes out, and their gradients.

    A loss takes fp32 logits and probabilities, and their gradient in the activations' dtype.
    """
    a, each = context.activation_bytes, []
    for end in context.shape.ends:
        if end.kind == "product":
            tokens = positions(context, c, end) / max(1, end.loss_chunks)
            hidden = 3 * residual(context, c, end.tokens, end.rows) * parts(c, end)
            bytes_each = 8 + a if end.loss_chunks else 2 * a
            each.append(tokens * end.columns / parts(c, end, "columns") * bytes_each + hidden)
    return reduce(np.maximum, each, np.zeros(len(c)))


def _similarities(context: SearchContext, c: Candidates) -> np.ndarray:
    """A contrastive loss: a device's examples by those of the whole batch, whose embeddings it gathers."""
    a, width = context.activation_bytes, context.shape.contrast_width
    rows = context.examples(c) * (width > 0)
    return context.batch_size * (rows * (8 + a) + 2 * width * a)


def _buffers(context: SearchContext, c: Candidates) -> np.ndarray:
    a, together = context.activation_bytes, payloads(context, c)[1]
    ring = (c.schedule == GPIPE) | (c.schedule == CIRCULAR)
    piped = np.where(ring, 2 * c.microbatches * together, 0.0) + np.where(
        c.schedule == NONE, 0.0, 4 * together
    )
    # The batch itself in fp32, and a microbatch of it as the product takes it, kept for its gradient.
    inputs = [end for end in context.shape.ends if end.kind == "input"]
    batch = sum(end.tokens * end.rows for end in inputs) * 4.0 * context.examples(c) * c.microbatches
    taken = sum(positions(context, c, end) * end.rows / parts(c, end, "rows") for end in inputs) * a
    return piped + batch + taken
