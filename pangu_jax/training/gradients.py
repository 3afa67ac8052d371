"""The gradient of a workload's loss on a mesh: one way in for every layout.

Compiler-partitioned, the loss is differentiated as it is and constraints say where tensors are. Manual,
and for pipelines, the same loss runs as one program per device (`parallel/shards.py`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from pangu_jax.models import native
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel import one_forward_one_backward, pipeline, rules, shards, stage
from pangu_jax.parallel.collecting import joined, split, with_rows, without_rows
from pangu_jax.parallel.constraints import ConstraintPlacement
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.manual import ManualPlacement
from pangu_jax.parallel.mesh import MESH_AXES
from pangu_jax.parallel.shards import Specs
from pangu_jax.parallel.stage import Weights
from pangu_jax.training import comparing
from pangu_jax.training.stage_weights import (
    FROZEN,
    cast_and_gather,
    is_frozen,
    rounds,
    stack_by_stage,
    stage_weights,
    with_pipeline,
)
from pangu_jax.workloads import Batch, Microbatch, PipelinedWorkload, RunContext, Sums, Variables, Workload
from pangu_jax.workloads.compared import ComparedWorkload, added

Tree = Any


class Rest(NamedTuple):
    """What a loss reads besides parameters."""

    extra: Tree
    constants: Tree


def make_gradients(
    workload: Workload,
    layout: Layout,
    mesh: Mesh,
    run: RunContext,
    batch_size: int,
    trainable: Tree | None = None,
) -> Callable[[Variables, Batch, jax.Array | None], tuple[Tree, Sums]]:
    """(variables, batch, keys [examples]) -> (gradient of sum of losses / sum of weights, sums).

    Exact for any number of microbatches: gradients of sums are added and divided once at the end.

    Args:
      workload: the model family.
      layout: how the loss is carried out on the mesh.
      mesh: the mesh.
      run: dtype, remat policy and kernel; its placement is made here.
      batch_size: examples of a batch, over all devices.
      trainable: a bool for each parameter; the gradient of others is zero, and without a pipeline it is not
        computed. All when None.
    """
    run = with_placement(run, layout, mesh, workload, batch_size // layout.microbatches)
    if layout.schedule == "none":
        function = partial(_accumulated, workload, layout, run, trainable)
    else:
        function = partial(_pipelined, with_pipeline(workload, layout), layout, run)
    manual = _manual_axes(layout)

    def gradients(variables: Variables, batch: Batch, keys: jax.Array | None) -> tuple[Tree, Sums]:
        params, rest = variables.params, Rest(variables.extra, variables.constants)
        part, on_mesh = Microbatch(dict(batch), keys), function
        if manual:
            specs = _specs(workload, layout, part)
            learning = specs.params if layout.schedule != "none" else _learning(specs.params, trainable)
            on_mesh = shards.sharded(function, mesh, manual, specs, gradients=learning)
        grads, sums = on_mesh(stack_by_stage(workload, layout, params), rest, part)
        grads = jax.tree.map(lambda g: g.astype(jnp.float32), grads)
        inverse = 1.0 / jnp.maximum(sums.weight, 1e-6)

        def divided(gradient: jax.Array | None, param: jax.Array) -> jax.Array:
            return jnp.zeros_like(param) if gradient is FROZEN else gradient.reshape(param.shape) * inverse

        learning = _learning(grads, trainable)  # a pipeline has differentiated them all
        return jax.tree.map(divided, learning, params, is_leaf=is_frozen), sums

    return gradients


def make_sums(
    workload: Workload, layout: Layout, mesh: Mesh, run: RunContext, batch_size: int
) -> Callable[[Variables, Batch], Sums]:
    """(variables, batch) -> sums, without gradients and without randomness."""
    pipelined = layout.schedule != "none"
    examples = batch_size // layout.microbatches if pipelined else batch_size
    run = with_placement(run, layout, mesh, workload, examples)

    def function(params: Tree, rest: Rest, part: Microbatch) -> tuple[None, Sums]:
        if not pipelined:
            return None, workload.loss(Variables(params, *rest), part.batch, None, run)
        in_stages = with_pipeline(workload, layout)
        weights, _ = stage_weights(in_stages, layout, run, params)
        program, parts = in_stages.program(run, *rest), split(part, layout.microbatches)
        return None, _in_order(pipeline.loss(program, layout, weights, None, parts))

    manual = _manual_axes(layout)

    def sums(variables: Variables, batch: Batch) -> Sums:
        params = stack_by_stage(workload, layout, variables.params)
        part, on_mesh = Microbatch(dict(batch), None), function
        if manual:
            on_mesh = shards.sharded(function, mesh, manual, _specs(workload, layout, part), gradients=None)
        found = on_mesh(params, Rest(variables.extra, variables.constants), part)[1]
        return without_rows(found)[0]

    return sums


def with_placement(
    run: RunContext, layout: Layout, mesh: Mesh, workload: Workload, examples: int
) -> RunContext:
    """The run with the placement of its layout, for a (micro)batch of `examples` over all devices."""
    if mesh.size == 1 and native.takes(run.placement):
        return run
    if layout.partitioning == "auto":
        return run._replace(placement=ConstraintPlacement(mesh))
    examples //= layout.batch_shards * layout.streams
    placement = ManualPlacement(mesh, examples, layouts.widths(workload.dimensions()))
    return run._replace(placement=placement, streams=layout.streams)


def _manual_axes(layout: Layout) -> tuple[str, ...]:
    """Mesh axes whose collectives the step places itself."""
    if layout.partitioning == "manual":
        return MESH_AXES
    return () if layout.schedule == "none" else (stage.STAGE,)


def _accumulated(
    workload: Workload,
    layout: Layout,
    run: RunContext,
    trainable: Tree | None,
    params: Tree,
    rest: Rest,
    part: Microbatch,
) -> tuple[Tree, Sums]:
    """Gradients of the sum, one microbatch after the other; of a loss that compares, after comparing all."""
    frozen = jax.tree.map(lambda _: FROZEN, params)
    if trainable is not None:
        frozen = jax.tree.map(lambda w, learns: FROZEN if learns else w, params, trainable)
        params = _learning(params, trainable)

    def variables(params: Tree) -> Variables:
        return Variables(_merged(params, still), *rest)

    def of(params: Tree, part: Microbatch, of_rows: Tree) -> tuple[jax.Array, Sums]:
        if isinstance(workload, ComparedWorkload) and of_rows is not None:
            return comparing.pulled(workload, run, variables(params), part, of_rows)
        sums = workload.loss(variables(params), part.batch, part.keys, run)
        return sums.loss, sums

    axes = workload.logical_axes().params

    def ready(params: Tree) -> Tree:
        return cast_and_gather(params, axes, run, whole=layout.zero == 1)

    params, back = jax.vjp(ready, params)
    still = ready(frozen)
    differentiate = jax.grad(of, has_aux=True)
    if layout.microbatches == 1:
        grads, sums = differentiate(params, part, None)
        return back(grads)[0], sums
    parts, of_rows, together = split(part, layout.microbatches), None, None
    if isinstance(workload, ComparedWorkload):
        together = comparing.compare_all(workload, run, variables, params, parts, layout.microbatches)
        of_rows = together[1]
    shapes = jax.eval_shape(differentiate, params, *stage.at((parts, of_rows), 0))
    shapes = shapes[0], without_rows(shapes[1])[0]
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, jnp.float32), shapes)

    def add(total: Tree, part: tuple[Microbatch, Tree]) -> tuple[Tree, Tree]:
        grads, sums = differentiate(params, *part)
        sums, rows = without_rows(sums)
        return jax.tree.map(jnp.add, total, (grads, sums)), rows

    (grads, sums), rows = jax.lax.scan(add, zeros, (parts, of_rows))
    sums = _in_order(with_rows(sums, rows))
    if together is not None:
        grads, sums = jax.tree.map(jnp.add, grads, together[0]), added(sums, together[2])
    grads = back(jax.tree.map(lambda g, w: g.astype(w.dtype), grads, params))[0]
    return grads, sums


def _learning(tree: Tree, trainable: Tree | None) -> Tree:
    """The tree with `FROZEN` in place of what does not learn."""
    if trainable is None:
        return tree
    return jax.tree.map(lambda learns, x: x if learns else FROZEN, trainable, tree)


def _merged(tree: Tree, others: Tree) -> Tree:
    """The tree with the leaves of another where it has `FROZEN`."""
    return jax.tree.map(lambda x, y: y if x is FROZEN else x, tree, others, is_leaf=is_frozen)


def _in_order(sums: Sums) -> Sums:
    """Rows [microbatches, examples, ...] as rows [examples, ...] of the batch."""
    sums, rows = without_rows(sums)
    return with_rows(sums, joined(rows))


def _pipelined(
    workload: PipelinedWorkload, layout: Layout, run: RunContext, params: Tree, rest: Rest, part: Microbatch
) -> tuple[Tree, Sums]:
    """Gradients of the sum on one device of a pipeline."""
    program, parts = workload.program(run, *rest), split(part, layout.microbatches)
    weights, pull = stage_weights(workload, layout, run, params)
    if layout.schedule == "1f1b":
        grads, sums = one_forward_one_backward.gradients(program, layout, weights, parts)
        return pull(grads), _in_order(sums)

    def of(slots: Weights) -> tuple[jax.Array, Sums]:
        sums = pipeline.loss(program, layout, weights, slots, parts)
        return sums.loss, sums

    slots = jax.tree.map(lambda w: jnp.zeros(w.shape, jnp.float32), weights)
    grads, sums = jax.grad(of, has_aux=True)(slots)
    return pull(grads), _in_order(sums)


def _specs(workload: Workload, layout: Layout, part: Microbatch) -> Specs:
    """Where the parameters of `stack_by_stage` are, what else the loss reads, and the batch."""
    axes, towers = workload.logical_axes(), rounds(workload, layout)[1]

    def of(name: str, axes: rules.LogicalAxes) -> PartitionSpec:
        spec = rules.storage_spec(axes)
        return PartitionSpec(None, spec[0], None, *spec[1:]) if name in towers else spec

    params = {
        name: jax.tree.map(partial(of, name), tree, is_leaf=rules.is_axes)
        for name, tree in axes.params.items()
    }
    whole = lambda a: rules.without(rules.storage_spec(a), (stage.STAGE,))  # noqa: E731
    rest = jax.tree.map(whole, Rest(axes.extra, axes.constants), is_leaf=rules.is_axes)
    batch = rules.batch_specs(workload.batch_axes(), part.batch)
    keys: Any = None if part.keys is None else rules.batch_spec()
    return Specs(params, rest, Microbatch(batch, keys))
