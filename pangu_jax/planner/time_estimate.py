"""Seconds of a training step, for all candidates at once: compute, and communication that nothing hides."""

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from pangu_jax.parallel.layout import AXES
from pangu_jax.planner.axis_costs import AxisCost
from pangu_jax.planner.candidates import Candidates
from pangu_jax.planner.efficiency import HOST_BYTES_PER_S
from pangu_jax.planner.roofline import product_seconds
from pangu_jax.planner.routed_rows import passes, routed_rows
from pangu_jax.planner.search_context import SearchContext
from pangu_jax.planner.sizes import (
    CIRCULAR,
    DOTS,
    FULL,
    GPIPE,
    KEEP_ALL,
    NONE,
    OFFLOAD,
    ONE_F_ONE_B,
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
)
from pangu_jax.workloads.shape import Tower

_NOTHING = np.zeros(())


class Times(NamedTuple):
    """Seconds per step, each an array over candidates.

    Attributes:
      step: all of it.
      compute: of it, without any communication: the step if links were infinitely fast.
      collectives: mesh axis -> communication over it, hidden or not.
      bubble: part of the (tick, stage) slots of a pipeline without work; 0 without a pipeline.
    """

    step: np.ndarray
    compute: np.ndarray
    collectives: dict[str, np.ndarray]
    bubble: np.ndarray


class _Work(NamedTuple):
    """Of a stage: seconds of compute, and of communication by mesh axis."""

    compute: np.ndarray
    axes: dict[str, np.ndarray]

    def times(self, factor) -> "_Work":
        return _Work(self.compute * factor, {axis: s * factor for axis, s in self.axes.items()})

    def plus(self, other: "_Work") -> "_Work":
        both = [axis for axis in AXES if axis in self.axes or axis in other.axes]
        return _Work(
            self.compute + other.compute,
            {axis: self.axes.get(axis, _NOTHING) + other.axes.get(axis, _NOTHING) for axis in both},
        )


def times(context: SearchContext, c: Candidates) -> Times:
    """Predicts a step of each candidate."""
    staged = context.shape.staged
    chunks = [_layer(context, c, tower).times(chunk_layers(context, c, tower)) for tower in staged]
    ends = _ends(context, c)
    step, useful = _scheduled(context, c, chunks)
    # GPipe and circular share the ends over the stages. In 1F1B it is a branch of every tick.
    shared = (c.schedule == GPIPE) | (c.schedule == CIRCULAR)
    count = np.where(c.schedule == ONE_F_ONE_B, ticks(context, c), c.microbatches)
    losses = np.where(shared, c.microbatches / c.stage, count)
    work = step.plus(ends.times(losses)).plus(_outside(context, c, losses)).plus(_once(context, c))
    e = context.efficiency
    hidden_model = np.where(c.streams > 1, e.hidden_model_streams, e.hidden_model)
    hidden = hidden_model * work.axes["model"] + e.hidden_fsdp * work.axes["fsdp"]
    hidden = hidden + e.hidden_expert * work.axes["expert"]
    exposed = sum(work.axes.values()) - np.minimum(hidden, e.hidden_most * work.compute)
    return Times(
        step=work.compute + exposed,
        compute=work.compute,
        collectives={axis: np.broadcast_to(work.axes.get(axis, _NOTHING), len(c)) for axis in AXES},
        bubble=1.0 - useful,
    )


def _scheduled(context: SearchContext, c: Candidates, chunks: list[_Work]) -> tuple[_Work, np.ndarray]:
    """The layers of a step, microbatch by microbatch or tick by tick; and the part of ticks that is work."""
    n, count = max(1, len(chunks)), ticks(context, c)
    work = c.repeats * c.microbatches
    useful = np.where(c.schedule == NONE, 1.0, work / count)
    total = _Work(np.zeros(len(c)), {})
    # In a ring of several towers different ones are on its stages at a time: every tick takes as long as the
    # slowest of them, which is also how compiled branches are counted.
    slowest = np.max([chunk.compute for chunk in chunks], axis=0, initial=0)
    mixed = (c.schedule == CIRCULAR) | (c.schedule == ONE_F_ONE_B)
    for chunk in chunks:
        compute = np.where(mixed, slowest, chunk.compute)
        each = np.select([c.schedule == NONE, c.schedule == GPIPE], [c.microbatches, count], count / n)
        total = total.plus(_Work(compute, chunk.axes).times(each))
    hop, (one_by_one, together) = context.cost(c, "stage"), payloads(context, c)
    gpipe = c.schedule == GPIPE
    latency = hop.latency_s / np.maximum(c.stage - 1, 1) * np.where(gpipe, n, 1)
    sending = latency + np.where(gpipe, one_by_one, together) * hop.neighbour_s_per_byte
    sends = np.where(c.schedule == NONE, 0, 2 * count)
    # Microbatches without a pipeline add to all gradients, in fp32: stacked, then read, added to, written. A
    # tick cuts its chunk's weights out of the stage's and adds to their gradients alone.
    cuts = np.where(c.schedule == GPIPE, c.repeats, c.repeats / n)
    adds = np.where(
        c.schedule == NONE, np.where(c.microbatches > 1, 24.0 * c.microbatches, 0), 14.0 * count / cuts
    )
    moved = adds * stage_parameters(context, c) / context.topology.chip.hbm_bytes_per_s
    return total.plus(_Work(moved, {"stage": sends * sending})), useful


def stage_parameters(context: SearchContext, c: Candidates) -> np.ndarray:
    """Parameters of layers whose gradients a device adds up: in shards, or whole when gathered once."""
    return stage_weights(context, c) / (c.model * np.where(c.zero == 1, 1, c.fsdp))


def _outside(context: SearchContext, c: Candidates, losses: np.ndarray) -> _Work:
    """Towers that a pipeline does not cut. Those before the first that it does feed it: every stage runs them
    on all microbatches, and once more where their features are read."""
    total, fed = _Work(np.zeros(len(c)), {}), False
    for tower in context.shape.towers:
        fed = fed or tower.staged
        if not tower.staged:
            begun = 0 if fed else np.where(c.schedule == NONE, 0, c.microbatches)
            layer = _layer(context, c, tower).times(tower.layers)
            total = total.plus(layer.times(losses + begun))
    return total


def _layer(context: SearchContext, c: Candidates, tower: Tower) -> _Work:
    """Forward and backward of one layer on a microbatch, with what remat computes again."""
    forward, backward = _compute(context, c, tower)
    # A pipeline's tick is computed again to get at its layers: 1F1B keeps inputs only, whatever remat says.
    ticked = np.where(c.remat == FULL, c.schedule != NONE, c.schedule == ONE_F_ONE_B)
    again = ticked + np.select([c.remat == FULL, c.remat == KEEP_ALL], [1.0, 0.0], 0.03)
    # Parts of a batch that is compared: their embeddings are made before any part learns. A tower that reads
    # another's output makes none.
    twice = 1.0 * (c.microbatches > 1) * (context.shape.contrast_width > 0 and not tower.memory_tokens)
    again = again + twice
    offloaded = 2 * kept(context, c, tower)[DOTS] / HOST_BYTES_PER_S
    compute = forward * (1 + again) + backward
    compute = compute + np.where(c.remat == OFFLOAD, np.maximum(0.0, offloaded - 0.5 * compute), 0.0)
    repeated = ticked + 1.0 * (c.remat == FULL)  # whole forward passes, collectives too
    entries = np.where(c.remat == KEEP_ALL, 0.0, 1.0 * (c.remat != FULL))

    def gathers(axis: str, size: np.ndarray, number) -> np.ndarray:
        cost = context.cost(c, axis)
        return number * (cost.latency_s + size * cost.seconds_per_byte)

    whole = residual(context, c, tower.tokens, tower.width) * c.model
    rows = context.examples(c) / c.model * context.activation_bytes
    # Keys and values of the whole example; where whole windows are on a device, nobody asks for others'.
    gathered = [n.windows % c.sequence != 0 for n in tower.attentions]
    each = [n.shared * c.model if n.shared else 2 * n.heads * n.width for n in tower.attentions]
    sizes = [n.keys * n.windows * numbers for n, numbers in zip(tower.attentions, each, strict=True)]
    keys = sum(asked * size for asked, size in zip(gathered, sizes, strict=True)) * rows
    weights = layer_weights(c, tower) / c.model * context.activation_bytes
    in_layer = np.where(c.zero == 3, 3.0 + ticked + twice, 0.0)
    crossings = 4.0 + 2.0 * (repeated + twice) + entries
    if not tower.learns:  # state is not gathered before it is used
        compute, in_layer, crossings = forward, 1.0, 2.0
    return _Work(
        compute,
        {
            "model": gathers("model", whole, tower.blocks * crossings),
            "fsdp": gathers("fsdp", weights, in_layer),
            # As a block is crossed into, by the rows of all places along the axis.
            "expert": gathers("expert", whole * c.expert, crossings * (tower.routing is not None)),
            "sequence": gathers("sequence", keys, sum(gathered) * tower.passes),
        },
    )


def _compute(context: SearchContext, c: Candidates, tower: Tower) -> tuple[np.ndarray, np.ndarray]:
    chip, e = context.topology.chip, context.efficiency
    examples = context.examples(c) / c.sequence
    rowed, (forward, backward) = routed_rows(context, c, tower), passes(context, c, tower)
    made_again = (c.remat == DOTS) | (c.remat == OFFLOAD)  # not counting whole layers
    for product in tower.products:
        rows = product.rows / np.where(product.split == "rows", c.model, 1)
        columns = product.columns / np.where(product.split == "columns", c.model, 1)
        here = product.experts / np.where(product.experts > 1, c.expert, 1)
        tokens, routed = examples * product.tokens / here, product.experts > 1
        seconds = here * _product(context, tokens / np.where(routed, rowed.filled, 1), rows, columns, routed)
        again = made_again & (routed and product.split == "rows")  # to learn how much each expert counts
        forward, backward = forward + seconds, backward + (2 + again) * seconds
    for attention in tower.attentions:
        causal = 0.5 if attention.causal else 1.0
        share = np.where(c.sequence > 1, 1.0 / causal, 1.0)  # the last part of a causal window has it all
        flops = attention.flops * examples * share / c.model
        seconds = flops / (chip.peak_flops * e.attention)
        plain = scores_bytes(context, c, attention) / context.activation_bytes  # how many scores
        written = plain * e.score_traffic / chip.hbm_bytes_per_s
        forward = forward + np.where(plain, np.maximum(seconds, written), seconds)
        plainly = np.maximum((2.0 + made_again) * seconds, (1.5 + made_again) * written)
        by_kernel = e.attention_backward + made_again * context.forgets_attention
        backward = backward + np.where(plain, plainly, by_kernel * seconds)
    each = kept(context, c, tower)
    more = np.where(c.remat == KEEP_ALL, each[KEEP_ALL] - each[DOTS], 0.0)  # written once, read once
    alone = np.where(c.schedule == GPIPE, e.elementwise_pipeline, e.elementwise_branches)
    factor = np.where(c.schedule == NONE, 1.0, alone)
    others = each[DOTS] - rowed.kept
    traffic = (e.elementwise * factor * others + 3.0 * more) / chip.hbm_bytes_per_s
    return forward + traffic / 3, backward + 2 * traffic / 3


def _product(context: SearchContext, tokens, rows, columns, by_group: bool = False) -> np.ndarray:
    reached = context.efficiency.by_group if by_group else context.efficiency
    return product_seconds(context.topology.chip, reached, context.activation_bytes, tokens, rows, columns)


def _ends(context: SearchContext, c: Candidates) -> _Work:
    """Embeddings, heads and losses of one microbatch, forward and backward."""
    shape, chip, model = context.shape, context.topology.chip, context.cost(c, "model")
    compute = np.zeros(len(c))
    for end in shape.ends:
        tokens, chunks = positions(context, c, end), max(1, end.loss_chunks)
        rows, columns = end.rows / parts(c, end, "rows"), end.columns / parts(c, end, "columns")
        if end.products:
            compute = compute + end.products * _product(context, tokens / chunks, rows, columns) * chunks
        if end.loss_chunks:
            compute = compute + 6.0 * tokens * columns * 4 / chip.hbm_bytes_per_s
    if shape.contrast_width:
        examples, batch = context.examples(c), context.batch_size
        compute = compute + 3.0 * _product(context, examples, shape.contrast_width, batch)
        compute = compute + 6.0 * examples * batch * 4 / chip.hbm_bytes_per_s
    # Only what is split over `model` is crossed into: a head from the residual stream, the others to it.
    split = [end for end in shape.ends if end.split]
    products = [end for end in split if end.kind == "product"]
    streams = [_stream(context, c, end.tokens, end.columns) for end in split if end.kind != "product"]
    memory = [_stream(context, c, tower.memory_tokens, tower.memory_width) for tower in shape.towers]
    heads = [_stream(context, c, end.tokens, end.rows) for end in products]
    crossed = (summed(c, streams) + summed(c, memory) + summed(c, heads)) * model.seconds_per_byte
    return _Work(compute, {"model": 2 * (crossed + len(split) * model.latency_s)})


def _stream(context: SearchContext, c: Candidates, tokens: int, width: int) -> np.ndarray:
    """Bytes of a microbatch's residual stream, whole along `model`."""
    return residual(context, c, tokens, width) * c.model


def _once(context: SearchContext, c: Candidates) -> _Work:
    """Once per step: weights gathered once, gradients added up over copies, the optimizer."""
    shape, a = context.shape, context.activation_bytes
    layers = stage_weights(context, c) / c.model
    ends = sum(end.parameters / parts(c, end) for end in shape.ends)
    stored = (layers + ends) / c.fsdp
    # To all weights but those of experts, `expert` is an axis of data.
    experts = summed(c, (t.layers * t.of_experts / c.expert / c.stage for t in shape.staged)) / c.model
    others = (layers - experts + ends) / c.fsdp
    fsdp, data = context.cost(c, "fsdp"), context.cost(c, "data")
    once = np.where(c.zero == 1, layers * 2 * a * fsdp.seconds_per_byte + 2 * fsdp.latency_s, 0.0)
    # Ends are gathered for each use of a microbatch, and their gradients scattered; in a pipeline once. Those
    # of one size count together.
    uses: dict[tuple[int, bool], np.ndarray] = defaultdict(lambda: np.zeros(len(c), int))
    for end in shape.ends:
        if end.kind in ("constant", "forward"):  # small
            continue
        each = np.where(c.schedule == NONE, 2 * c.microbatches, 2 * (not end.tied))
        uses[end.size, end.split is not None] += each
    tables = sum(
        count * (size / (c.model if split else 1) * a * fsdp.seconds_per_byte + fsdp.latency_s)
        for (size, split), count in uses.items()
    )
    embeddings = context.batch_size * shape.contrast_width * a

    def added(cost: AxisCost, parameters: np.ndarray) -> np.ndarray:
        return 2 * (4.0 * parameters * cost.seconds_per_byte + cost.latency_s)

    def exchanged(cost: AxisCost, shards: int | np.ndarray) -> np.ndarray | float:
        """One side's embeddings of a contrastive loss: all of them to all devices, and gradients back."""
        return 2 * (embeddings / shards * cost.seconds_per_byte + cost.latency_s) if embeddings else 0.0

    moved = stored * (20.0 + 2.0 * context.optimizer_bytes)  # gradient twice, parameter and state both ways
    return _Work(
        moved / context.topology.chip.hbm_bytes_per_s,
        {
            "fsdp": once + tables + exchanged(fsdp, 1),
            "data": added(data, stored) + exchanged(data, c.fsdp),
            "expert": np.where(c.expert > 1, added(context.cost(c, "expert"), others), 0.0),
            "sequence": added(context.cost(c, "sequence"), stored),
            "stage": added(context.cost(c, "stage"), ends / c.fsdp),
        },
    )
