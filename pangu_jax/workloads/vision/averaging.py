"""Averaged parameters, which a model keeps beside its own as extra state: they are what is evaluated."""

import jax
import jax.numpy as jnp

from pangu_jax.workloads import Tree, Variables


def following(average: float, steps: jax.Array, before: Tree, params: Tree) -> Tree:
    """The averages after a step.

    Args:
      average: how much of them is kept in a step, in the end.
      steps: that they are of, this one counted; fp32 scalar.
      before: the averages until now.
      params: the updated parameters.
    """
    # Of a young average little is kept: it is of parameters that have learnt nothing.
    kept = jnp.minimum(average, steps / (steps + 9.0))
    return jax.tree.map(lambda a, w: kept * a + (1 - kept) * w, before, params)


def evaluated(variables: Variables) -> Variables:
    """With averaged parameters, where there are any."""
    return variables._replace(params=variables.extra.get("averaged", variables.params))
