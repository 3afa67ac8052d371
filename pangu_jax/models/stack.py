"""Running a stack of equal layers: one compiled body, and what to remember for the backward pass."""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from pangu_jax.models.parameters import Tree

Remat = Literal["none", "dots", "full"]
Body = Callable[[jax.Array, Tree, jax.Array], jax.Array]


def rematerialise(body: Body, policy: Remat) -> Body:
    """Keep everything ("none"), keep products of weights ("dots"), or recompute the whole layer ("full")."""
    if policy == "none":
        return body
    if policy == "dots":
        saved = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
        return jax.checkpoint(body, policy=saved)
    if policy == "full":
        return jax.checkpoint(body)
    raise ValueError(f"remat {policy!r} is unknown: one of {', '.join(get_args(Remat))}")


def run_layers(body: Body, params: Tree, x_BxTxD: jax.Array, *, remat: Remat, unroll: int) -> jax.Array:
    """x -> body(x, params of layer 0, 0) -> body(.., params of layer 1, 1) -> ...

    `params` holds every weight with a leading `layers` dimension. A loop compiles one body for any depth;
    with `unroll` >= layers it is straight-line code with static slices, which a CPU runs 8% faster since
    no weight is copied in and out of a loop.
    """
    body = rematerialise(body, remat)
    layers = jax.tree.leaves(params)[0].shape[0]
    if unroll >= layers:
        weights, structure = jax.tree.flatten(params)
        for index, layer in enumerate(zip(*map(_unstack, weights), strict=True)):
            x_BxTxD = body(x_BxTxD, structure.unflatten(layer), jnp.int32(index))
        return x_BxTxD

    def step(x: jax.Array, layer: tuple[Tree, jax.Array]) -> tuple[jax.Array, None]:
        return body(x, *layer), None

    return jax.lax.scan(step, x_BxTxD, (params, jnp.arange(layers)), unroll=unroll)[0]


@jax.custom_vjp
def _unstack(weight: jax.Array) -> tuple[jax.Array, ...]:
    """The layers of a stacked weight. Its gradient is one copy; that of indexing is a padded sum a layer."""
    return tuple(weight[index] for index in range(weight.shape[0]))


_unstack.defvjp(lambda weight: (_unstack(weight), None), lambda _, gradients: (jnp.stack(gradients),))
