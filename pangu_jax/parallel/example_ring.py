"""Each device's rows against those of all devices, whose blocks go round a ring.

For use where the axes of a batch are manual. A step compares with the block that is here and sends it on;
going back the blocks go round again, each with the gradient that it has collected so far, and come home with
all of it. So a device holds two blocks, whatever the number of devices, and what `compare` makes of one.

On CPUs the steps are written out. Beside a loop of collectives, XLA's CPU client does not keep the order of
others that do not depend on it: on a busy machine devices came to them in different orders, and waited for
each other until the process was ended (jaxlib 0.10.2).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Tree = Any
Compare = Callable[[Tree, Tree, jax.Array | bool], Tree]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3))
def around(
    compare: Compare, axes: tuple[str, ...], devices: int, unroll: bool, own: Tree, others: Tree
) -> Tree:
    """The sum of compare(own, block, is_own) over all devices' blocks of others.

    Args:
      compare: gives a tree of fp32 arrays; see `Placement.ring`.
      axes: mesh axes of the ring, manual here.
      devices: along them.
      unroll: whether the steps are written out instead of looped over.
      own: this device's rows, and scalars: fp32.
      others: this device's block: fp32.
    """

    def step(carry: tuple[Tree, Tree], number: jax.Array) -> tuple[tuple[Tree, Tree], None]:
        total, block = carry
        total = _added(total, compare(own, block, number == 0))
        return (total, _sent(block, axes, devices)), None

    total = _nothing(jax.eval_shape(compare, own, others, jnp.bool_(True)))
    return lax.scan(step, (total, others), jnp.arange(devices), unroll=unroll)[0][0]


def _forward(
    compare: Compare, axes: tuple[str, ...], devices: int, unroll: bool, own: Tree, others: Tree
) -> tuple[Tree, tuple[Tree, Tree]]:
    return around(compare, axes, devices, unroll, own, others), (own, others)


def _backward(
    compare: Compare,
    axes: tuple[str, ...],
    devices: int,
    unroll: bool,
    kept: tuple[Tree, Tree],
    d_total: Tree,
) -> tuple[Tree, Tree]:
    own, others = kept

    def step(carry: tuple[Tree, Tree, Tree], number: jax.Array) -> tuple[tuple[Tree, Tree, Tree], None]:
        d_own, block, d_block = carry
        pull = jax.vjp(lambda own, block: compare(own, block, number == 0), own, block)[1]
        more_own, more_block = pull(d_total)
        d_block = _sent(_added(d_block, more_block), axes, devices)
        return (_added(d_own, more_own), _sent(block, axes, devices), d_block), None

    start = _nothing(own), others, _nothing(others)
    d_own, _, d_others = lax.scan(step, start, jnp.arange(devices), unroll=unroll)[0]
    return d_own, d_others


around.defvjp(_forward, _backward)


def _sent(block: Tree, axes: tuple[str, ...], devices: int) -> Tree:
    """To the next device, from the one before."""
    pairs = [(source, (source + 1) % devices) for source in range(devices)]
    return jax.tree.map(lambda x: lax.ppermute(x, axes, pairs), block)


def _added(x: Tree, y: Tree) -> Tree:
    return jax.tree.map(jnp.add, x, y)


def _nothing(like: Tree) -> Tree:
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)
