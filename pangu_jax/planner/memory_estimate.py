"""Bytes a device of a training step, item by item, for all candidates at once."""

import numpy as np

from pangu_jax.planner.candidates import REMATS, SCHEDULES, Candidates
from pangu_jax.planner.setting import Setting, Tower

NONE, GPIPE, CIRCULAR, ONE_F_ONE_B = range(len(SCHEDULES))
KEEP_ALL, DOTS, FULL, OFFLOAD = range(len(REMATS))
Items = dict[str, np.ndarray]


def memory(setting: Setting, c: Candidates) -> Items:
    """Item -> bytes a device; their sum is the prediction.

    parameters, optimizer, gradients: what is stored, and fp32 gradients like it. gathered: weights whole
    along `embed`, and their gradients on the way back. activations: what waits for the backward pass.
    working: one layer's backward pass. vocabulary: the table, its gradient, a piece of the logits. buffers:
    batches of a pipeline on their way in and out. reserve: what no item explains.
    """
    shape, a, e = setting.shape, setting.activation_bytes, setting.efficiency
    parts = c.fsdp * c.model
    layers = sum(tower.layers * tower.parameters for tower in shape.towers)
    table = shape.vocabulary * shape.width
    stored = layers / (parts * c.stage) + shape.tables * table / parts
    accumulating = (c.microbatches > 1) & (c.schedule == NONE)
    return {
        "parameters": 4.0 * stored,
        "optimizer": setting.optimizer_bytes * stored,
        "gradients": 4.0 * stored * (1 + accumulating),
        "gathered": _gathered(setting, c, layers),
        "activations": _activations(setting, c),
        "working": _working(setting, c),
        "vocabulary": table / c.model * (2 * a + 4 + 4 * (c.schedule != NONE)) + _logits(setting, c),
        "buffers": _buffers(setting, c),
        "reserve": np.full(len(c), e.reserve),
    }


def chunk_layers(setting: Setting, c: Candidates, tower: Tower) -> np.ndarray:
    """Layers of a tower that a stage runs in one tick; all of them without a pipeline."""
    towers = np.where(c.schedule == GPIPE, 1, len(setting.shape.towers))
    rounds = np.where(c.schedule == NONE, 1, np.maximum(1, c.repeats // towers))
    return tower.layers / (c.stage * rounds)


def ticks(setting: Setting, c: Candidates) -> np.ndarray:
    """Ticks in which a stage holds, or has held, a microbatch (see `schedules`): of each tower for gpipe."""
    ring = c.repeats * c.microbatches + c.stage - 1
    both_ways = ring + c.repeats * c.stage - 1
    return np.select([c.schedule == NONE, c.schedule == ONE_F_ONE_B], [c.microbatches, both_ways], ring)


def residual(setting: Setting, c: Candidates, tokens: int) -> np.ndarray:
    """Bytes of a microbatch's residual stream, split over `model` and `sequence`."""
    rows = setting.examples(c) * tokens / (c.model * c.sequence)
    return rows * setting.shape.width * setting.activation_bytes


def kept(setting: Setting, c: Candidates, tower: Tower) -> dict[int, np.ndarray]:
    """Remat -> bytes that one layer leaves for its backward pass."""
    b, a, tq = setting.examples(c), setting.activation_bytes, c.model * c.sequence
    stream = residual(setting, c, tower.tokens)
    products = sum(p.tokens * p.columns for p in tower.products if p.saved) * b * a / tq
    attention = sum(n.queries * n.heads * (n.width * a + 4) for n in tower.attentions) * b / tq
    dots = tower.blocks * stream + products + attention
    entered = tower.blocks * stream * c.model  # normed, whole along `model`
    scores = sum(_scores(setting, c, n) for n in tower.attentions)
    weights = np.where(c.fsdp > 1, a, 0.0) * tower.parameters / c.model
    everything = dots + entered + tower.blocks * stream * 4 / a + products + scores + weights
    return {KEEP_ALL: everything, DOTS: dots, FULL: stream, OFFLOAD: stream}


def _scores(setting: Setting, c: Candidates, attention) -> np.ndarray:
    """One T x S matrix of attention in the activations' dtype; none with a kernel."""
    part = attention.causal & (c.sequence > 1)  # the kernel does not take part of a causal window
    plain = (attention.plain | (not setting.kernels)) | part
    size = attention.heads * attention.queries * attention.keys * setting.activation_bytes
    return plain * setting.examples(c) * size / (c.model * c.sequence)


def payloads(setting: Setting, c: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """Bytes that the rings of gpipe send in a tick of each, together; and those of the ring of all towers.

    A tower's payload takes along what the towers before it made.
    """
    streams = [residual(setting, c, tower.tokens) for tower in setting.shape.towers]
    return sum(np.cumsum(streams, axis=0)), sum(streams)


def _activations(setting: Setting, c: Candidates) -> np.ndarray:
    e, (one_by_one, together) = setting.efficiency, payloads(setting, c)
    chunks = []
    for tower in setting.shape.towers:
        each = kept(setting, c, tower)
        # With full remat a tick of a pipeline keeps its input alone, and the layers' while it goes back.
        each[FULL] = np.where((c.schedule == GPIPE) | (c.schedule == CIRCULAR), 0.0, each[FULL])
        chunks.append(chunk_layers(setting, c, tower) * np.choose(c.remat, [each[r] for r in range(4)]))
    whole, largest, count = sum(chunks), np.max(chunks, axis=0), ticks(setting, c)
    stash = (2 * c.stage * c.repeats - 1) * together + largest
    # A tick keeps what arrives and what leaves. Branches for the towers of a circular pipeline share the room
    # of the largest.
    gpipe, circular = count * (whole * e.kept_in_ring + 2 * one_by_one), count * (largest + 2 * together)
    return np.choose(c.schedule, [whole * e.kept_in_scan, gpipe, circular, stash])


def _gathered(setting: Setting, c: Candidates, layers: int) -> np.ndarray:
    a = setting.activation_bytes
    largest = max(tower.parameters for tower in setting.shape.towers) / c.model
    copies = np.where(c.fsdp > 1, setting.efficiency.gathered, 1.0)
    once = layers / (c.stage * c.model) * (a + 8.0)  # weights; gradients in fp32, and what is added to them
    return np.where(c.zero == 1, once, 0.0) + np.where(c.zero == 1, 1.0, copies + 1.0) * largest * a


def _working(setting: Setting, c: Candidates) -> np.ndarray:
    a, b, e = setting.activation_bytes, setting.examples(c), setting.efficiency
    found = []
    for tower in setting.shape.towers:
        entered = residual(setting, c, tower.tokens) * c.model
        inner = max(p.tokens * p.columns for p in tower.products if p.split == "columns")
        size = e.working * (entered + inner * b * a / (c.model * c.sequence)) / c.streams
        memory = 2 * residual(setting, c, tower.memory_tokens) * c.model  # entered, and its gradient
        scores = 3 * sum(_scores(setting, c, n) for n in tower.attentions)
        again = np.where((c.remat == FULL) | (c.remat == OFFLOAD), kept(setting, c, tower)[DOTS], 0.0)
        ticked = (c.remat == FULL) & (c.schedule != NONE)
        inputs = np.where(ticked, residual(setting, c, tower.tokens) * chunk_layers(setting, c, tower), 0.0)
        found.append(size + memory + scores + again + inputs)
    return np.max(found, axis=0)


def _logits(setting: Setting, c: Candidates) -> np.ndarray:
    """fp32 logits and probabilities, and their gradient in the activations' dtype."""
    shape = setting.shape
    tokens = setting.examples(c) * shape.head_tokens / c.sequence / shape.loss_chunks
    hidden = 3 * residual(setting, c, shape.head_tokens) * c.model
    return tokens * shape.vocabulary / c.model * (8 + setting.activation_bytes) + hidden


def _buffers(setting: Setting, c: Candidates) -> np.ndarray:
    together = payloads(setting, c)[1]
    ring = (c.schedule == GPIPE) | (c.schedule == CIRCULAR)
    return np.where(ring, 2 * c.microbatches * together, 0.0) + np.where(
        c.schedule == NONE, 0.0, 4 * together
    )
