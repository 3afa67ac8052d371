"""Layer-wise learning rates: the lower a layer, the less it changes (Clark et al., arXiv 2003.10555; as BEiT
and MAE are fine-tuned)."""

from dataclasses import replace
from typing import Any

import gin
import jax
import jax.numpy as jnp
import optax

from pangu_jax.errors import UserError
from pangu_jax.training.optimizers import Optimizer, adamw

Tree = Any


@gin.configurable
def layerwise_rates(
    optimizer: Optimizer | None = None, decay: float = 0.75, stack: str = "main", below: str = "trunk"
) -> Optimizer:
    """An optimizer whose updates, weight decay among them, are scaled by decay^(layers above).

    Of L stacked layers the last has one thing above it, whatever is neither they nor below them, such as a
    head, which learns at the full rate; what is below them has L + 1.

    Args:
      optimizer: @adamw() when None.
      decay: from a layer to that below it; 1 for none.
      stack: name of the stacked layers' parameters.
      below: name of the parameters below them.

    Raises:
      UserError: the decay is none.
    """
    if not 0 < decay <= 1:
        raise UserError(f"layerwise_rates.decay = {decay}: give a number above 0 and at most 1")
    optimizer = optimizer or adamw()
    inner = optax.with_extra_args_support(optimizer.transformation)

    def update(updates: Tree, state: Any, params: Tree = None, **known: Any) -> tuple[Tree, Any]:
        updates, state = inner.update(updates, state, params, **known)
        return scaled(updates, decay, stack, below), state

    return replace(optimizer, transformation=optax.GradientTransformationExtraArgs(inner.init, update))


def scaled(updates: Tree, decay: float, stack: str, below: str) -> Tree:
    """Updates by name, scaled by what is above them; all as they are where there is no stack."""
    stacked = jax.tree.leaves(updates.get(stack, {}))
    if not stacked:
        return updates
    layers = stacked[0].shape[0]
    rate_L = decay ** jnp.arange(layers, 0, -1, dtype=jnp.float32)

    def of(name: str, update: jax.Array) -> jax.Array:
        if name == below:
            return update * decay ** (layers + 1)
        return update * rate_L.reshape(-1, *[1] * (update.ndim - 1)) if name == stack else update

    return {name: jax.tree.map(lambda u, name=name: of(name, u), tree) for name, tree in updates.items()}
