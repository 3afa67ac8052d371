"""How hard each objective pulls at the trunk, and whether they pull the same way."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import gin
import jax
import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.workloads import Batch, RunContext, Source, Tree, Updates, Variables, Workload
from pangu_jax.workloads.evaluator import Evaluator, MeasuredValue
from pangu_jax.workloads.vision import joint
from pangu_jax.workloads.vision.evaluators import require_trunk

OF_THE_TRUNK = ("trunk", "main")


@gin.configurable(module="pangu_jax.workloads.vision")
class TrunkGradients(Evaluator):
    """The gradient of each objective's mean loss with respect to the trunk, on views of held-out pictures.

    `gradient/OBJECTIVE` is its norm as it enters the joint loss: weighted, and divided by the loss's running
    size. `cosine/ONE/OTHER` is the cosine of two of them. Where parameters are averaged it is taken at the
    averages. Sums over batches come first and norms last, so that layouts change nothing.

    The gradients of the whole trunk are held once per objective, on every device and on the host.

    Args:
      pictures: so many of those held out are looked at.
      every: steps between evaluations; 0 as the run validates.
    """

    def __init__(self, pictures: int = 256, every: int = 0):
        if pictures < 1:
            raise UserError(f"TrunkGradients.pictures = {pictures}: give at least 1")
        self.pictures, self.every = pictures, every
        self._workload: Any = None

    def attach(self, workload: Workload) -> None:
        """The model whose objectives are measured. UserError where it has none."""
        require_trunk(workload, "TrunkGradients")
        if not hasattr(workload, "objectives"):
            raise UserError("TrunkGradients is for @VisionModel(): this workload has no objectives")
        self._workload = workload

    def sources(self, batch_size: int) -> Sequence[Source]:
        """Views as in training, of pictures that are held out."""
        data = self._workload.data
        return [data.augmented(data.measured[: self.pictures], batch_size)]

    def measure(self, variables: Variables, batch: Batch, begun: Tree, run: RunContext) -> Updates:
        """Gradients of summed losses."""
        del begun
        own = {name: variables.params[name] for name in OF_THE_TRUNK}
        found = {}
        for one in self._workload.objectives:
            for task, turn in enumerate(one.turns):
                name = "/".join(filter(None, (one.name, turn)))

                def summed(trunk: Tree, task: int = task, name: str = name) -> jax.Array:
                    seen = variables._replace(params={**variables.params, **trunk})
                    sums = self._workload.loss(seen, batch, None, run._replace(phase=task))
                    return sums.metrics[f"loss/{name}"][0]

                running = variables.extra.get("running", {})
                size = joint.size(running, one, task) if running else 1.0
                gradient = jax.grad(summed)(own)
                found[name] = jax.tree.map(lambda g, scale=one.weight / size: g * scale, gradient)
        return Updates({"gradients": found, "weight": batch["weight"].sum()})

    def finish(self, measured: Updates, begun: Tree) -> Mapping[str, MeasuredValue]:
        """Norms and cosines."""
        del begun
        totals = measured.totals
        vectors = {
            name: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) / totals["weight"]
            for name, tree in totals["gradients"].items()
        }
        norms = {name: float(np.linalg.norm(vector)) for name, vector in vectors.items()}
        found = {f"gradient/{name}": MeasuredValue(norm) for name, norm in norms.items()}
        for one, other in combinations(vectors, 2):
            product = norms[one] * norms[other]
            cosine = float(vectors[one] @ vectors[other]) / product if product else 0.0
            found[f"cosine/{one}/{other}"] = MeasuredValue(cosine)
        return found
