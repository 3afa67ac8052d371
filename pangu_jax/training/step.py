"""One optimizer step: a jitted function over a mesh, and the state that it turns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding

from pangu_jax.models import native
from pangu_jax.parallel import rules
from pangu_jax.parallel.layout import Layout
from pangu_jax.training.gradients import make_gradients, make_sums
from pangu_jax.training.optimizers import Optimizer
from pangu_jax.workloads import NOTHING, Batch, RunContext, Sums, Variables, Workload
from tpu_npu_backends.descriptions import CompilerOptions

Tree = Any


class TrainState(NamedTuple):
    """All that a step changes.

    Attributes:
      step: int32 scalar, optimizer steps done.
      params: fp32 parameters.
      opt_state: the optimizer's state, fp32.
      extra: what `Workload.after_step` changes; {} for a workload without.
    """

    step: jax.Array
    params: Tree
    opt_state: Tree
    extra: Tree = NOTHING

    def stored(self) -> dict[str, Tree]:
        """As a checkpoint holds it: without an entry for extra state where there is none."""
        entries = self._asdict()
        return entries if jax.tree.leaves(self.extra) else {n: v for n, v in entries.items() if n != "extra"}


class Start(NamedTuple):
    """What training begins with.

    Attributes:
      state: what a step changes, and checkpoints hold.
      constants: what no step changes, and checkpoints do not hold.
    """

    state: TrainState
    constants: Tree


def abstract_start(workload: Workload, optimizer: Optimizer, mesh: Mesh) -> Start:
    """Shapes, dtypes and shardings of all arrays on a mesh; nothing is allocated."""
    variables = jax.eval_shape(workload.start, jax.random.key(0), workload.given())
    shardings = rules.storage_shardings(mesh, workload.logical_axes())
    params, extra, constants = jax.tree.map(_with_sharding, variables, shardings)
    whole = rules.replicated(mesh)

    def like_its_parameter(leaf, param):
        if isinstance(leaf, optax.MaskedNode):  # a parameter that is frozen, or another group's
            return leaf
        # Adafactor's factored moments belong to a parameter without having its shape: they are small.
        return _with_sharding(leaf, param.sharding if leaf.shape == param.shape else whole)

    opt_state = optax.tree_utils.tree_map_params(
        optimizer.transformation.init,
        like_its_parameter,
        jax.eval_shape(optimizer.transformation.init, params),
        params,
        transform_non_params=lambda leaf: _with_sharding(leaf, whole),
        is_leaf=lambda node: isinstance(node, optax.MaskedNode),
    )
    step: Any = jax.ShapeDtypeStruct((), jnp.int32, sharding=whole)
    return Start(TrainState(step, params, opt_state, extra), constants)


def abstract_state(workload: Workload, optimizer: Optimizer, mesh: Mesh) -> TrainState:
    """Shapes, dtypes and shardings of the state on a mesh; nothing is allocated."""
    return abstract_start(workload, optimizer, mesh).state


def start(workload: Workload, optimizer: Optimizer, mesh: Mesh, seed: int) -> Start:
    """A fresh state, made on the devices where it stays; the same values on every mesh."""
    return make_start(workload, optimizer, mesh)(jax.random.key(seed), restored_given(workload, mesh))


def make_start(workload: Workload, optimizer: Optimizer, mesh: Mesh) -> Callable[[jax.Array, Tree], Start]:
    """The jitted start (key, given) -> fresh state and constants."""
    target = abstract_start(workload, optimizer, mesh)

    @partial(jax.jit, out_shardings=jax.tree.map(lambda leaf: leaf.sharding, target))
    def init(key: jax.Array, given: Tree) -> Start:
        params, extra, constants = workload.start(key, given)
        opt_state = optimizer.transformation.init(params)
        return Start(TrainState(jnp.zeros((), jnp.int32), params, opt_state, extra), constants)

    return init


def restored_given(workload: Workload, mesh: Mesh) -> Tree:
    """What a workload starts from, on a mesh."""
    return workload.restore_given(rules.storage_shardings(mesh, workload.given_axes()))


def init_state(workload: Workload, optimizer: Optimizer, mesh: Mesh, seed: int) -> TrainState:
    """The state of `start`, for a workload without constants."""
    return start(workload, optimizer, mesh, seed).state


def _with_sharding(leaf, sharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def make_train_step(
    workload: Workload,
    optimizer: Optimizer,
    run: RunContext,
    layout: Layout,
    mesh: Mesh,
    *,
    batch_size: int,
    seed: int,
    constants: Tree | None = None,
    compiler_options: CompilerOptions | None = None,
) -> "TrainStep":
    """The jitted step (state, batch) -> (state, metrics). The given state's buffers are reused.

    The seed and the constants are arguments of the program, so runs that differ in them alone share it.

    Metrics are fp32 scalars: loss, grad_norm, learning_rate and, where there is extra state, extra_norm; and
    pairs of them, sum and weight, of the workload's own (`means` divides).
    """
    target = abstract_start(workload, optimizer, mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, target)
    trainable = optimizer.trainable(target.state.params)
    transformation = optax.with_extra_args_support(optimizer.transformation)
    axes = workload.logical_axes().params

    def train_step(state: TrainState, batch: Batch, constants: Tree, key: jax.Array, phase: int):
        gradients = make_gradients(workload, layout, mesh, run._replace(phase=phase), batch_size, trainable)
        variables = Variables(state.params, state.extra, constants)
        grads, sums = gradients(variables, batch, example_keys(key, state.step, batch_size))
        norm = native.global_norm if native.takes(run.placement) else optax.global_norm
        grad_norm = norm(grads)
        updates, opt_state = transformation.update(
            grads,
            state.opt_state,
            state.params,
            variables=variables,
            step=state.step,
            axes=axes,
            grad_norm=grad_norm,
        )
        params = optax.apply_updates(state.params, updates)
        extra = workload.after_step(variables._replace(params=params), sums.updates)
        metrics = {
            "loss": sums.loss / jnp.maximum(sums.weight, 1e-6),
            "grad_norm": grad_norm,
            "learning_rate": jnp.asarray(optimizer.schedule(state.step), jnp.float32),
            **sums.metrics,
        }
        if numbers := [
            x.astype(jnp.float32) for x in jax.tree.leaves(extra) if jnp.issubdtype(x.dtype, jnp.inexact)
        ]:
            metrics["extra_norm"] = optax.global_norm(numbers)
        return TrainState(state.step + 1, params, opt_state, extra), metrics

    jitted = jax.jit(
        train_step,
        donate_argnums=0,
        static_argnums=4,
        in_shardings=(
            shardings.state,
            batch_shardings(workload, mesh),
            shardings.constants,
            rules.replicated(mesh),
        ),
        out_shardings=(shardings.state, rules.replicated(mesh)),
        compiler_options=dict(compiler_options or {}),
    )
    return TrainStep(jitted, NOTHING if constants is None else constants, seed)


def batch_shardings(workload: Workload, mesh: Mesh) -> Any:
    """Where a jitted function finds a batch: a prefix of its tree, or {name: sharding} where axes differ."""
    if not (axes := workload.batch_axes()):
        return rules.batch_sharding(mesh)
    specs = rules.batch_specs(axes, workload.batch_shapes(1))
    return {name: NamedSharding(mesh, spec) for name, spec in specs.items()}


@dataclass(frozen=True)
class TrainStep:
    """A step: `train_step(state, batch)`, or with the phase of `Workload.phase`.

    Attributes:
      jitted: (state, batch, constants, key, phase) -> (state, metrics).
      constants: what it is called with.
      seed: of all that is random in a step.
    """

    jitted: Any
    constants: Tree
    seed: int

    @cached_property
    def key(self) -> jax.Array:
        """Of the seed; not made where a step is only lowered, for devices that are not there."""
        return jax.random.key(self.seed)

    def __call__(
        self, state: TrainState, batch: Batch, phase: int = 0
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        return self.jitted(state, batch, self.constants, self.key, phase)

    def lower(self, state: TrainState, batch: Batch, constants: Tree, phase: int = 0) -> jax.stages.Lowered:
        """For abstract arrays."""
        key = jax.eval_shape(lambda: jax.random.key(self.seed))
        return self.jitted.lower(state, batch, constants, key, phase)


def example_keys(key: jax.Array, step: jax.Array, batch_size: int) -> jax.Array:
    """One PRNG key per example of a step's batch: what is random is the same on every layout."""
    key = jax.random.fold_in(key, step)
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(jnp.arange(batch_size))


def make_eval_step(
    workload: Workload, run: RunContext, layout: Layout, mesh: Mesh, batch_size: int
) -> Callable[[Variables, Batch], Sums]:
    """The jitted sums of a batch under given variables, without randomness."""
    return jax.jit(
        make_sums(workload, layout, mesh, run, batch_size),
        in_shardings=(
            rules.storage_shardings(mesh, workload.logical_axes()),
            batch_shardings(workload, mesh),
        ),
        out_shardings=rules.replicated(mesh),
    )


def means(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics on the host: scalars as they are, pairs as sum / weight; without those of which there was
    nothing to average (a task absent from a batch)."""
    return {
        name: float(value[0] / value[1] if isinstance(value, tuple) else value)
        for name, value in metrics.items()
        if not isinstance(value, tuple) or value[1] > 0
    }
