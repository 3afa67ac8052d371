"""Bytes per device of a training step, item by item, for all candidates at once."""

from collections.abc import Iterable
from functools import reduce

import numpy as np

from pangu_jax.planner.candidates import REMATS, SCHEDULES, Candidates
from pangu_jax.planner.search_context import SearchContext
from pangu_jax.workloads.shape import End, Product, Tower

NONE, GPIPE, CIRCULAR, ONE_F_ONE_B = range(len(SCHEDULES))
KEEP_ALL, DOTS, FULL, OFFLOAD = range(len(REMATS))
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
    if context.efficiency.shares:
        outside = _largest_moment_outside(context, c) + _similarities(context, c)
        # Of a layer that goes back its weights are there too.
        its_weights = np.where(c.zero == 1, 0.0, gathered)
        gathered = gathered - its_weights
        beyond = [np.maximum(0.0, s + its_weights - outside) for s in _going_back(context, c, working)]
        working = [np.zeros(len(c)), *beyond]
    return {
        "parameters": 4.0 * (stored + taught / (c.fsdp * c.model)),
        "optimizer": context.optimizer_bytes * stored,
        "gradients": 4.0 * stored * (1 + accumulating),
        "gathered": gathered,
        "activations": _activations(context, c),
        "working": np.max(working, axis=0),
        "vocabulary": outside,
        "buffers": _buffers(context, c),
        "reserve": np.full(len(c), context.efficiency.reserve),
    }


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
    everything = dots + entered + tower.blocks * stream * 4 / a + products + scores + weights
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
        plain = all(attention.plain for attention in tower.attentions)
        in_scan = chunk * (e.kept_in_scan_plain if plain else e.kept_in_scan)
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


def _going_back(context: SearchContext, c: Candidates, layers: list[np.ndarray]) -> list[np.ndarray]:
    """While each tower goes back, where rooms are shared: what is alive beside what all towers kept.

    Towers go back the last first, and what a tower kept is free when it has. A head's logits wait for its
    gradient. Without a kernel there are, of the largest scores, two in fp32 and two in the activations' dtype,
    for every shape of them the mask and its filling, and a copy of all queries, keys and values laid out anew.
    """
    a, found, b = context.activation_bytes, [], context.examples(c) / (c.model * c.sequence)
    logits = [
        positions(context, c, end) * end.columns / parts(c, end, "columns") * a
        for end in context.shape.ends
        if end.kind == "product" and end.loss_chunks == 1
    ]
    waiting, freed = np.max([np.zeros(len(c)), *logits], axis=0), np.zeros(len(c))
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


def _largest_moment_outside(context: SearchContext, c: Candidates) -> np.ndarray:
    """Of an end, where rooms are shared: its logits are made, or its gradient in fp32 is.

    Logits are in fp32 and in the activations' dtype when they are made; when the gradient of the table is, they
    are in the latter alone.
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
