"""One optimizer step: a jitted function over a mesh, and the state that it turns."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from pangu_jax.parallel import rules
from pangu_jax.parallel.layout import Layout
from pangu_jax.training.gradients import make_gradients, make_sums
from pangu_jax.training.optimizers import Optimizer
from pangu_jax.workloads import Batch, Run, Sums, Workload


class TrainState(NamedTuple):
    """All that a step changes.

    Attributes:
      step: int32 scalar, optimizer steps done.
      params: fp32 parameters.
      opt_state: the optimizer's state, fp32.
    """

    step: jax.Array
    params: Any
    opt_state: Any


def abstract_state(workload: Workload, optimizer: Optimizer, mesh: Mesh) -> TrainState:
    """Shapes, dtypes and shardings of the state on a mesh; nothing is allocated."""
    params = jax.eval_shape(workload.init, jax.random.key(0))
    shardings = rules.storage_shardings(mesh, workload.logical_axes())
    params = jax.tree.map(_with_sharding, params, shardings)
    whole = rules.replicated(mesh)

    def like_its_parameter(leaf, param):
        # Adafactor's factored moments belong to a parameter without having its shape: they are small.
        return _with_sharding(leaf, param.sharding if leaf.shape == param.shape else whole)

    opt_state = optax.tree_utils.tree_map_params(
        optimizer.transformation,
        like_its_parameter,
        jax.eval_shape(optimizer.transformation.init, params),
        params,
        transform_non_params=lambda leaf: _with_sharding(leaf, whole),
    )
    return TrainState(jax.ShapeDtypeStruct((), jnp.int32, sharding=whole), params, opt_state)


def init_state(workload: Workload, optimizer: Optimizer, mesh: Mesh, seed: int) -> TrainState:
    """A fresh state, made on the devices where it stays; the same values on every mesh."""
    target = abstract_state(workload, optimizer, mesh)

    @partial(jax.jit, out_shardings=jax.tree.map(lambda leaf: leaf.sharding, target))
    def init(key: jax.Array) -> TrainState:
        params = workload.init(key)
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.transformation.init(params))

    return init(jax.random.key(seed))


def _with_sharding(leaf, sharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def make_train_step(
    workload: Workload,
    optimizer: Optimizer,
    run: Run,
    layout: Layout,
    mesh: Mesh,
    *,
    batch_size: int,
    seed: int,
    compiler_options: dict[str, str] | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """The jitted step (state, batch) -> (state, metrics). The given state's buffers are reused.

    Metrics are fp32 scalars: loss, grad_norm and learning_rate; and pairs of them, sum and weight, of the
    workload's own (`means` divides).
    """
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(workload, optimizer, mesh))
    gradients = make_gradients(workload, layout, mesh, run, batch_size)

    def train_step(state: TrainState, batch: Batch):
        grads, sums = gradients(state.params, batch, example_keys(seed, state.step, batch_size))
        updates, opt_state = optimizer.transformation.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {
            "loss": sums.loss / jnp.maximum(sums.weight, 1e-6),
            "grad_norm": optax.global_norm(grads),
            "learning_rate": jnp.asarray(optimizer.schedule(state.step), jnp.float32),
            **sums.metrics,
        }
        return TrainState(state.step + 1, params, opt_state), metrics

    return jax.jit(
        train_step,
        donate_argnums=0,
        in_shardings=(shardings, rules.batch_sharding(mesh)),
        out_shardings=(shardings, rules.replicated(mesh)),
        compiler_options=compiler_options,
    )


def example_keys(seed: int, step: jax.Array, batch_size: int) -> jax.Array:
    """One PRNG key an example of a step's batch: what is random in an example is so on every layout alike."""
    key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(jnp.arange(batch_size))


def make_eval_step(
    workload: Workload, run: Run, layout: Layout, mesh: Mesh, batch_size: int
) -> Callable[[Any, Batch], Sums]:
    """The jitted sums of a batch under given parameters, without randomness."""
    return jax.jit(
        make_sums(workload, layout, mesh, run, batch_size),
        in_shardings=(rules.storage_shardings(mesh, workload.logical_axes()), rules.batch_sharding(mesh)),
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
