"""Weights as a step uses them: in the dtype of products, gathered, and in a pipeline one stage's."""

from collections.abc import Callable
from typing import Any

import jax

from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel import rules
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.stage import Weights
from pangu_jax.workloads import PipelinedWorkload, RunContext, Workload
from pangu_jax.workloads.compared import ComparedWorkload

Tree = Any
FROZEN = None  # in a tree of gradients, where a parameter is not differentiated


def is_frozen(node: Any) -> bool:
    """Whether a node of such a tree is `FROZEN`."""
    return node is FROZEN


def stage_weights(
    workload: PipelinedWorkload, layout: Layout, run: RunContext, params: Tree
) -> tuple[Weights, Callable[[Weights], Tree]]:
    """The weights as a stage uses them through a whole step, and the way of their gradients back to storage.

    What is outside the layers is gathered once; so are the layers' weights under ZeRO-1, or else each layer
    gathers its own when it runs.
    """
    axes = workload.logical_axes().params
    names = towers_of(workload)

    def gather(params: Tree) -> Weights:
        towers = tuple(jax.tree.map(lambda w: w[:, 0], params[name]) for name in names)
        if layout.zero == 1:
            stacked = [
                jax.tree.map(lambda a: (None, *a), axes[name], is_leaf=rules.is_axes) for name in names
            ]
            towers = tuple(
                cast_and_gather(*tower, run, whole=True) for tower in zip(towers, stacked, strict=True)
            )
        shared = {name: tree for name, tree in params.items() if name not in names}
        return Weights(
            towers, cast_and_gather(shared, {name: axes[name] for name in shared}, run, whole=True)
        )

    weights, back = jax.vjp(gather, params)
    return weights, lambda grads: back(jax.tree.map(lambda g, w: g.astype(w.dtype), grads, weights))[0]


def cast_and_gather(params: Tree, axes: Tree, run: RunContext, *, whole: bool) -> Tree:
    """Weights in the dtype of products, once per step, and gathered if they are to stay whole."""

    def cast(weight: jax.Array | None, axes: rules.LogicalAxes) -> jax.Array | None:
        return weight.astype(run.dtype) if weight is not FROZEN and "embed" in axes else weight

    cast_ = jax.tree.map(cast, params, axes, is_leaf=is_frozen)
    if not whole:
        return cast_
    kept = jax.tree.map(lambda w, a: a if w is not FROZEN else FROZEN, cast_, axes, is_leaf=is_frozen)
    return run.placement.weights(cast_, kept)


def stack_by_stage(workload: Workload, layout: Layout, params: Tree) -> Tree:
    """In a pipeline, each tower's weights as [rounds, stages, layers, ...]: a device holds one stage."""
    count, towers = rounds(workload, layout)
    stack = lambda w: w.reshape(count, layout.stage, -1, *w.shape[1:])  # noqa: E731
    return {name: jax.tree.map(stack, tree) if name in towers else tree for name, tree in params.items()}


def rounds(workload: Workload, layout: Layout) -> tuple[int, tuple[str, ...]]:
    """Rounds that each tower makes around the stages, and the towers; none without a pipeline."""
    if layout.schedule == "none":
        return 1, ()
    towers = towers_of(with_pipeline(workload, layout))
    return layout.rounds(len(towers)), towers


def with_pipeline(workload: Workload, layout: Layout) -> PipelinedWorkload:
    """UserError where the family has none, or its loss is of a whole batch."""
    if isinstance(workload, ComparedWorkload):
        raise UserError(
            f"Layout.schedule = {layout.schedule!r}, Layout.stage = {layout.stage}: the loss of the workload "
            f"{workload.name!r} compares all examples of a batch, and a pipeline has finished one microbatch "
            "before the next begins; use Layout.schedule = 'none' with Layout.stage = 1, and Layout.fsdp, "
            "Layout.model or Layout.microbatches in their place"
        )
    if not isinstance(workload, PipelinedWorkload):
        raise UserError(
            f"Layout.schedule = {layout.schedule!r}: the workload {workload.name!r} has no pipeline; "
            "use 'none'"
        )
    return workload


def towers_of(workload: PipelinedWorkload) -> tuple[str, ...]:
    return workload.program(RunContext(OneDevice()), {}, {}).towers
