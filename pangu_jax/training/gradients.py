"""The gradient of a workload's loss on a mesh: one way in for every layout.

Compiler-partitioned, the loss is differentiated as it stands and constraints say where tensors are. Manual,
and for pipelines, the same loss runs as one program a device (`parallel/shards.py`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from pangu_jax.errors import UserError
from pangu_jax.parallel import one_forward_one_backward, pipeline, rules, shards, stage
from pangu_jax.parallel.constraints import ConstraintPlacement
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.manual import ManualPlacement
from pangu_jax.parallel.mesh import MESH_AXES
from pangu_jax.parallel.stage import Weights
from pangu_jax.workloads import Batch, Part, PipelinedWorkload, Run, Sums, Workload

Tree = Any


def make_gradients(
    workload: Workload, layout: Layout, mesh: Mesh, run: Run, batch_size: int
) -> Callable[[Tree, Batch, jax.Array | None], tuple[Tree, Sums]]:
    """(params, batch, keys [examples]) -> (gradient of sum of losses / sum of weights, sums).

    Exact for any number of microbatches: gradients of sums are added and divided once at the end.
    """
    run = placed(run, layout, mesh, workload, batch_size // layout.microbatches)
    of_parts = _accumulated if layout.schedule == "none" else _pipelined
    function = partial(of_parts, workload, layout, run)
    if manual := _manual_axes(layout):
        function = shards.sharded(function, mesh, manual, _specs(workload, layout))

    def gradients(params: Tree, batch: Batch, keys: jax.Array | None) -> tuple[Tree, Sums]:
        grads, sums = function(_deal(workload, layout, params), Part(dict(batch), keys))
        grads = jax.tree.map(lambda g: g.astype(jnp.float32), grads)
        inverse = 1.0 / jnp.maximum(sums.weight, 1e-6)
        return jax.tree.map(lambda g, p: g.reshape(p.shape) * inverse, grads, params), sums

    return gradients


def make_sums(
    workload: Workload, layout: Layout, mesh: Mesh, run: Run, batch_size: int
) -> Callable[[Tree, Batch], Sums]:
    """(params, batch) -> sums, without gradients and without randomness."""
    pipelined = layout.schedule != "none"
    examples = batch_size // layout.microbatches if pipelined else batch_size
    run = placed(run, layout, mesh, workload, examples)

    def sums(params: Tree, part: Part) -> tuple[None, Sums]:
        if not pipelined:
            return None, workload.loss(params, part.batch, None, run)
        weights, _ = _working(workload, layout, run, params)
        parts = _split(part, layout.microbatches)
        return None, pipeline.loss(workload.program(run), layout, weights, None, parts)

    if manual := _manual_axes(layout):
        sums = shards.sharded(sums, mesh, manual, _specs(workload, layout), with_gradients=False)
    return lambda params, batch: sums(_deal(workload, layout, params), Part(dict(batch), None))[1]


def placed(run: Run, layout: Layout, mesh: Mesh, workload: Workload, examples: int) -> Run:
    """The run with the placement of its layout, for a (micro)batch of `examples` over all devices."""
    if layout.partitioning == "auto":
        return run._replace(placement=ConstraintPlacement(mesh))
    examples //= layout.batch_shards * layout.streams
    placement = ManualPlacement(mesh, examples, workload.dimensions().get("embed", 0))
    return run._replace(placement=placement, streams=layout.streams)


def _manual_axes(layout: Layout) -> tuple[str, ...]:
    """Mesh axes whose collectives the step places itself."""
    if layout.partitioning == "manual":
        return MESH_AXES
    return () if layout.schedule == "none" else (stage.STAGE,)


def _accumulated(workload: Workload, layout: Layout, run: Run, params: Tree, part: Part) -> tuple[Tree, Sums]:
    """Gradients of the sum, one microbatch after the other."""

    def of(params: Tree, part: Part) -> tuple[jax.Array, Sums]:
        sums = workload.loss(params, part.batch, part.keys, run)
        return sums.loss, sums

    def ready(params: Tree) -> Tree:
        return _ready(params, workload.logical_axes(), run, whole=layout.zero == 1)

    params, back = jax.vjp(ready, params)
    differentiate = jax.grad(of, has_aux=True)
    if layout.microbatches == 1:
        grads, sums = differentiate(params, part)
        return back(grads)[0], sums
    parts = _split(part, layout.microbatches)
    shapes = jax.eval_shape(differentiate, params, stage.at(parts, 0))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, jnp.float32), shapes)
    add = lambda total, part: (jax.tree.map(jnp.add, total, differentiate(params, part)), None)  # noqa: E731
    grads, sums = jax.lax.scan(add, zeros, parts)[0]
    return back(jax.tree.map(lambda g, w: g.astype(w.dtype), grads, params))[0], sums


def _pipelined(
    workload: PipelinedWorkload, layout: Layout, run: Run, params: Tree, part: Part
) -> tuple[Tree, Sums]:
    """Gradients of the sum on one device of a pipeline."""
    program, parts = workload.program(run), _split(part, layout.microbatches)
    weights, pull = _working(workload, layout, run, params)
    if layout.schedule == "1f1b":
        grads, sums = one_forward_one_backward.gradients(program, layout, weights, parts)
        return pull(grads), sums

    def of(slots: Weights) -> tuple[jax.Array, Sums]:
        sums = pipeline.loss(program, layout, weights, slots, parts)
        return sums.loss, sums

    slots = jax.tree.map(lambda w: jnp.zeros(w.shape, jnp.float32), weights)
    grads, sums = jax.grad(of, has_aux=True)(slots)
    return pull(grads), sums


def _working(
    workload: PipelinedWorkload, layout: Layout, run: Run, params: Tree
) -> tuple[Weights, Callable[[Weights], Tree]]:
    """The weights as a stage uses them through a whole step, and the way of their gradients back to storage.

    What is outside the layers is gathered once; so are the layers' weights under ZeRO-1, or else each layer
    gathers its own when it runs.
    """
    axes = workload.logical_axes()
    names = workload.program(run).towers

    def gather(params: Tree) -> Weights:
        towers = tuple(jax.tree.map(lambda w: w[:, 0], params[name]) for name in names)
        if layout.zero == 1:
            stacked = [
                jax.tree.map(lambda a: (None, *a), axes[name], is_leaf=rules.is_axes) for name in names
            ]
            towers = tuple(_ready(*tower, run, whole=True) for tower in zip(towers, stacked, strict=True))
        shared = {name: tree for name, tree in params.items() if name not in names}
        return Weights(towers, _ready(shared, {name: axes[name] for name in shared}, run, whole=True))

    weights, back = jax.vjp(gather, params)
    return weights, lambda grads: back(jax.tree.map(lambda g, w: g.astype(w.dtype), grads, weights))[0]


def _ready(params: Tree, axes: Tree, run: Run, *, whole: bool) -> Tree:
    """Weights in the dtype of products, once a step, and gathered if they are to stay whole."""
    rounded = jax.tree.map(lambda w, a: w.astype(run.dtype) if "embed" in a else w, params, axes)
    return run.placement.weights(rounded, axes) if whole else rounded


def _split(part: Part, microbatches: int) -> Part:
    """[B, ...] -> [parts, B / parts, ...]; part i takes rows i, i + parts, ...: no row changes its device."""

    def interleaved(x_B: jax.Array) -> jax.Array:
        return jnp.swapaxes(x_B.reshape(x_B.shape[0] // microbatches, microbatches, *x_B.shape[1:]), 0, 1)

    return jax.tree.map(interleaved, part)


def _deal(workload: Workload, layout: Layout, params: Tree) -> Tree:
    """In a pipeline, each tower's weights as [rounds, stages, layers, ...]: a device holds one stage."""
    rounds, towers = _rounds(workload, layout)
    deal = lambda w: w.reshape(rounds, layout.stage, -1, *w.shape[1:])  # noqa: E731
    return {name: jax.tree.map(deal, tree) if name in towers else tree for name, tree in params.items()}


def _specs(workload: Workload, layout: Layout) -> Tree:
    """Where the parameters of `_deal` are."""
    towers = _rounds(workload, layout)[1]

    def of(name: str, axes: tuple[str | None, ...]) -> PartitionSpec:
        spec = rules.storage_spec(axes)
        return PartitionSpec(None, spec[0], None, *spec[1:]) if name in towers else spec

    return {
        name: jax.tree.map(partial(of, name), tree, is_leaf=rules.is_axes)
        for name, tree in workload.logical_axes().items()
    }


def _rounds(workload: Workload, layout: Layout) -> tuple[int, tuple[str, ...]]:
    """Rounds that each tower makes around the stages, and the towers; none without a pipeline."""
    if layout.schedule == "none":
        return 1, ()
    if not hasattr(workload, "program"):
        raise UserError(
            f"Layout.schedule = {layout.schedule!r}: the workload {workload.name!r} has no pipeline; "
            "use 'none'"
        )
    towers = workload.program(Run(None)).towers
    return layout.rounds(len(towers)), towers
