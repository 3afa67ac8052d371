"""Hard filters: layouts that no step could be carried out on, counted by reason."""

from collections import Counter

import numpy as np

from pangu_jax.parallel import layout as layouts
from pangu_jax.planner.axis_costs import on_one_dimension
from pangu_jax.planner.candidates import Candidates, Mesh
from pangu_jax.planner.predictions import PlannedModel
from tpu_npu_backends.topologies import Topology


def mesh_problem(model: PlannedModel, topology: Topology, mesh: Mesh) -> str | None:
    """Why no step could be carried out on a mesh."""
    if not on_one_dimension(topology, mesh["model"]):
        return f"the tensor axis must lie on one dimension of {topology.name}"
    for name, axis in layouts.divided_by(model.dimensions):
        if (size := model.dimensions[name]) % mesh[axis]:
            return f"{name.replace('_', ' ')} {size} is not divisible by any {axis} axis that is left"
    shards = mesh["data"] * mesh["fsdp"] * mesh["expert"]
    if model.batch_size % shards:
        axes = "data x fsdp" if mesh["expert"] == 1 else "data x fsdp x expert"
        return f"batch_size {model.batch_size} is not divisible by {axes} {shards}"
    return None


def divided(model: PlannedModel, c: Candidates, problems: Counter) -> Candidates:
    """Those that divide batch and layers; the others are counted by reason."""
    piped = c.schedule > 0
    towers = len(model.shape.staged)
    rounds = np.where(c.schedule == 1, c.repeats, np.maximum(1, c.repeats // max(1, towers)))
    parts = c.data * c.fsdp * c.expert * c.microbatches * c.streams
    examples, whole = model.batch_size / parts, model.batch_size % parts == 0
    rows = np.all([examples * t.tokens % (c.model * c.sequence) == 0 for t in model.shape.towers], axis=0)
    layers = np.all([t.layers % (c.stage * rounds) == 0 for t in model.shape.staged], axis=0)
    for good, reason in (
        (whole, f"batch_size {model.batch_size} is not divisible by data x fsdp x microbatches"),
        (rows, "the positions of a microbatch are not divisible by the tensor axis"),
        (~piped | layers, "layers are not divisible by stages x rounds"),
        (~piped | (c.microbatches % c.stage == 0), "microbatches are not divisible by stages"),
    ):
        if refused := int(np.count_nonzero(~good)):
            problems[reason] += refused
    return c.take(whole & rows & (~piped | (layers & (c.microbatches % c.stage == 0))))


def why_nothing_divides(problems: Counter) -> str:
    """The batch, with the least parts that other axes leave it; or else what was in the way most often."""
    of_batch = [what for what in problems if what.startswith("batch_size") and what[-1].isdigit()]
    if of_batch:
        return min(of_batch, key=lambda what: int(what.split()[-1]))
    return problems.most_common(1)[0][0] if problems else "no mesh of that many chips has these sizes"
