"""Optimizers, named for recipes; the arithmetic is optax's."""

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gin
import jax
import jax.numpy as jnp
import optax

from pangu_jax.training import adafactor_steps, muon_steps, parameter_groups
from pangu_jax.training.parameter_groups import ParameterGroup, is_decayed
from pangu_jax.training.schedules import constant_schedule

Tree = Any


@dataclass(frozen=True)
class Optimizer:
    """A gradient transformation and the schedule inside it, which metrics report.

    Attributes:
      transformation: gradients -> updates, clipping included. Its `update` is handed `variables`, `step` and
        `axes`, the logical axes of all parameters, for those transformations that ask for them.
      schedule: step -> learning rate.
      groups: parameters that learn otherwise, or not at all.
    """

    transformation: optax.GradientTransformation
    schedule: optax.Schedule
    groups: Sequence[ParameterGroup] = field(default=())

    def trainable(self, params: Tree) -> Tree | None:
        """A bool for each parameter, False for frozen ones; None where all learn."""
        return parameter_groups.trainable(params, self.groups)


@gin.configurable
def adamw(
    schedule: optax.Schedule | None = None,
    beta1: float = 0.9,
    beta2: float = 0.95,
    epsilon: float = 1e-8,
    weight_decay: float = 0.01,
    clip: float = 1.0,
    groups: Sequence[ParameterGroup] = (),
) -> Optimizer:
    """AdamW (Loshchilov & Hutter, arXiv 1711.05101), clipped by global norm; no decay of norms and biases.

    Nor of single tokens and of a contrast's temperature (`parameter_groups.NOT_DECAYED`).

    Args:
      schedule: step -> learning rate; `constant_schedule()` when None.
      beta1: decay of the first moment.
      beta2: decay of the second moment.
      epsilon: added to the root of the second moment.
      weight_decay: decoupled, times the learning rate.
      clip: largest global norm of the gradient; 0 does not clip.
      groups: parameters that learn otherwise, such as [@head/ParameterGroup()].
    """

    def update(schedule: optax.Schedule, decay: float, mask: Any) -> optax.GradientTransformation:
        return optax.adamw(schedule, b1=beta1, b2=beta2, eps=epsilon, weight_decay=decay, mask=mask)

    return _grouped(update, schedule or constant_schedule(), weight_decay, clip, groups)


@gin.configurable
def adafactor(
    schedule: optax.Schedule | None = None,
    decay_rate: float = 0.8,
    weight_decay: float = 0.0,
    clip: float = 1.0,
    groups: Sequence[ParameterGroup] = (),
) -> Optimizer:
    """Adafactor (Shazeer & Stern, arXiv 1804.04235): second moments in factored form, no momentum.

    What the paper does per matrix is done per layer of stacked ones, except where a model has 128 layers or
    more: moments are factored along an array's two longest dimensions, if both have at least 128 places.

    Args:
      schedule: step -> learning rate; `constant_schedule()` when None.
      decay_rate: exponent of the second moment's decay.
      weight_decay: decoupled, times the learning rate.
      clip: largest global norm of the gradient; 0 does not clip.
      groups: parameters that learn otherwise, such as [@head/ParameterGroup()].
    """

    def update(schedule: optax.Schedule, decay: float, mask: Any) -> optax.GradientTransformation:
        # As optax.adafactor, whose checkpoints these steps read, but per layer; and its decay is not times
        # the learning rate.
        steps = [adafactor_steps.clip_by_rms(1.0), adafactor_steps.scale_by_weights()]
        steps += [optax.add_decayed_weights(decay, mask)] if decay else []
        return optax.chain(
            optax.scale_by_factored_rms(decay_rate=decay_rate),
            optax.chain(*steps),
            optax.scale_by_learning_rate(schedule),
        )

    return _grouped(update, schedule or constant_schedule(), weight_decay, clip, groups)


@gin.configurable
def muon(
    schedule: optax.Schedule | None = None,
    beta: float = 0.95,
    beta1: float = 0.9,
    beta2: float = 0.95,
    epsilon: float = 1e-8,
    weight_decay: float = 0.01,
    clip: float = 1.0,
    not_matrices: str = r"(^|/)(embedding|head|[a-z_]*bias)(/|$)",
    groups: Sequence[ParameterGroup] = (),
) -> Optimizer:
    """Muon (Jordan, 2024) for matrices, with updates of AdamW's size (Liu et al., arXiv 2502.16982).

    AdamW takes the rest: norms, biases, temperatures, single tokens, and tables of which a step touches few
    rows. A matrix has one moment; a step costs it 5 x 3 products with its shorter side squared.

    Args:
      schedule: step -> learning rate, of both; `constant_schedule()` when None.
      beta: decay of a matrix's momentum, taken as Nesterov's.
      beta1: AdamW's decay of the first moment.
      beta2: AdamW's decay of the second moment.
      epsilon: added to the root of AdamW's second moment.
      weight_decay: decoupled, times the learning rate.
      clip: largest global norm of the gradient; 0 does not clip.
      not_matrices: a regular expression of paths that are AdamW's.
      groups: parameters that learn otherwise, such as [@head/ParameterGroup()].
    """

    def label(path: str, param: Any) -> str:
        table = param.ndim < 2 or re.search(not_matrices, path) or parameter_groups.NOT_DECAYED.search(path)
        return "adamw" if table else "muon"

    def labels(params: Tree) -> Tree:
        return jax.tree.map(label, parameter_groups.paths(params), params)

    def update(schedule: optax.Schedule, decay: float, mask: Any) -> optax.GradientTransformation:
        matrices = [muon_steps.orthogonal_momentum(beta), optax.add_decayed_weights(decay, mask)]
        rest = optax.adamw(schedule, b1=beta1, b2=beta2, eps=epsilon, weight_decay=decay, mask=mask)
        return optax.partition(
            {"muon": optax.chain(*matrices, optax.scale_by_learning_rate(schedule)), "adamw": rest}, labels
        )

    return _grouped(update, schedule or constant_schedule(), weight_decay, clip, groups)


def _grouped(
    update: Callable[[optax.Schedule, float, Any], optax.GradientTransformation],
    schedule: optax.Schedule,
    weight_decay: float,
    clip: float,
    groups: Sequence[ParameterGroup],
) -> Optimizer:
    """One `update(schedule, weight decay, what decays)` for each group, all under one clipping norm."""
    plain = update(schedule, weight_decay, is_decayed)
    if not groups:
        return Optimizer(_clipped(plain, clip), schedule)

    def of(group: ParameterGroup) -> optax.GradientTransformation:
        if group.frozen:
            return optax.set_to_zero()
        base = group.schedule or schedule
        scaled = lambda step: group.learning_rate * base(step)  # noqa: E731
        if group.weight_decay is None:
            return update(scaled, weight_decay, is_decayed)
        return update(scaled, group.weight_decay, lambda params: jax.tree.map(lambda _: True, params))

    transforms: dict[Hashable, optax.GradientTransformation] = {
        str(number): of(group) for number, group in enumerate(groups)
    } | {"-1": plain}
    labels = lambda params: jax.tree.map(str, parameter_groups.numbers(params, groups))  # noqa: E731
    return Optimizer(_clipped(optax.partition(transforms, labels), clip), schedule, tuple(groups))


def _clipped(update: optax.GradientTransformation, clip: float) -> optax.GradientTransformation:
    return optax.chain(_clip_by_global_norm(clip), update) if clip else update


def _clip_by_global_norm(largest: float) -> optax.GradientTransformation:
    """As optax.clip_by_global_norm, by one multiplication that fuses into what follows.

    A step that knows the norm hands it in as `grad_norm`.
    """

    def update(updates: Tree, state: Tree, params: Tree = None, **known: Any) -> tuple[Tree, Tree]:
        del params
        norm = known["grad_norm"] if "grad_norm" in known else optax.global_norm(updates)
        scale = jnp.minimum(1.0, largest / jnp.maximum(norm, 1e-12))
        return jax.tree.map(lambda g: g * scale, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def state_bytes(optimizer: Optimizer, workload: Any) -> float:
    """Bytes of the optimizer's state per parameter; nothing is allocated, and no device looked for."""
    start = lambda given: workload.start(jax.random.key(0), given)  # noqa: E731
    params = jax.eval_shape(start, workload.given()).params
    state = jax.eval_shape(optimizer.transformation.init, params)
    size = lambda tree: sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))  # noqa: E731
    return size(state) / sum(leaf.size for leaf in jax.tree.leaves(params))
