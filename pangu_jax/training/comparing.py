"""Accumulation for losses that compare a batch's examples: what all rows come to, before any part learns.

Cutting such a batch and adding up the parts' losses would be another loss, with fewer examples to be told
from. Here the rows of all parts are made first and nothing is kept of how; the whole batch is compared, and
each part is then pulled by the gradient of its own rows (GradCache, Gao et al., arXiv 2101.06983).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pangu_jax.parallel.collecting import joined, split
from pangu_jax.workloads import Microbatch, RunContext, Sums, Variables
from pangu_jax.workloads.compared import ComparedWorkload

Tree = Any


def compare_all(
    workload: ComparedWorkload,
    run: RunContext,
    variables: Callable[[Tree], Variables],
    params: Tree,
    parts: Microbatch,
    microbatches: int,
) -> tuple[Tree, Tree, Sums]:
    """The gradient of `compared` for parameters, for rows [microbatches, ...], and its sums.

    Args:
      workload: the family.
      run: of one microbatch.
      variables: of parameters that learn, and what does not beside them.
      params: those that learn.
      parts: the batch, [microbatches, ...].
      microbatches: their number.
    """
    whole = run._replace(placement=run.placement.several(microbatches))

    def made(carry: None, part: Microbatch) -> tuple[None, Tree]:
        return carry, workload.rows(variables(params), part.batch, part.keys, run)[0]

    def of(params: Tree, rows: Tree) -> tuple[jax.Array, Sums]:
        sums = workload.compared(variables(params), rows, whole)
        return sums.loss, sums

    rows = joined(jax.lax.scan(made, None, parts)[1])
    (of_params, of_rows), sums = jax.grad(of, argnums=(0, 1), has_aux=True)(params, rows)
    return of_params, split(of_rows, microbatches), sums


def pulled(
    workload: ComparedWorkload, run: RunContext, variables: Variables, part: Microbatch, of_rows: Tree
) -> tuple[jax.Array, Sums]:
    """A scalar whose gradient is that of a part's whole loss, and the sums of its examples by themselves."""
    rows, sums = workload.rows(variables, part.batch, part.keys, run)
    product = lambda x, pull: jnp.sum(x.astype(jnp.float32) * pull.astype(jnp.float32))  # noqa: E731
    pulls = jax.tree.leaves(jax.tree.map(product, rows, of_rows))
    return sum(pulls, sums.loss), sums
