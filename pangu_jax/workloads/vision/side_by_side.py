"""Objectives side by side over one trunk: what they show it, their losses, and the sum of these."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from pangu_jax.errors import UserError
from pangu_jax.workloads import Batch, RunContext, Sums, Tree, Updates, Variables
from pangu_jax.workloads.vision import joint
from pangu_jax.workloads.vision.model import trunk as trunks
from pangu_jax.workloads.vision.model.objective import Begun, Pass, PictureBatch, PictureObjective, Term
from pangu_jax.workloads.vision.model.pixels import centred
from pangu_jax.workloads.vision.model.streams import features_of
from pangu_jax.workloads.vision.model.trunk import Features


class SideBySide:
    """The computation of a vision model, in parts that a pipeline can run one by one.

    Args:
      model: the trunk's shape, a `TrunkConfig`; None without a trunk.
      objectives: what is learnt.
    """

    def __init__(self, model: Any, objectives: tuple[PictureObjective, ...]):
        self.model, self.objectives = model, objectives

    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide."""
        found = self.model.dimensions() if self.model else {}
        for one in self.objectives:
            found = found | one.dimensions()
        return found

    def loss(self, variables: Variables, batch: Batch, keys: jax.Array | None, run: RunContext) -> Sums:
        """The objectives' losses summed over pictures; `loss/OBJECTIVE` is each as it is."""
        pictures, forward = self.pictures(batch, keys), self.forward(run)
        begun = {one.name: self.begin(one, pictures, run.phase) for one in self.objectives}
        shown = [stream for one in begun.values() for stream in one.streams]
        features = features_of(forward, variables.params, shown) if forward else []
        return self.sums(variables, batch, pictures, begun, features, run)

    def sums(
        self,
        variables: Variables,
        batch: Batch,
        pictures: PictureBatch,
        begun: Mapping[str, Begun],
        features: Sequence[Features],
        run: RunContext,
    ) -> Sums:
        """What the trainer adds up, from the features of all streams, one objective's after another's."""
        weight_B = batch["weight"].astype(jnp.float32)
        count = jnp.sum(weight_B)
        total, metrics, sizes, rows = jnp.float32(0), {}, {}, {}
        running, left = variables.extra.get("running", {}), iter(features)
        for one in self.objectives:
            task = run.phase % len(one.turns)
            of = self.pass_of(one, variables, run)
            shown = begun[one.name]
            seen = tuple(next(left) for _ in shown.streams)
            term: Term = one.finish(variables.params[one.name], pictures, shown, seen, of)
            scale = one.weight / joint.size(running, one, task) if running else 1.0
            total += jnp.sum(term.loss_B * weight_B) * scale
            named = "/".join(filter(None, (one.name, one.turns[task])))
            metrics[f"loss/{named}"] = jnp.sum(term.loss_B * weight_B), count
            for name, value_B in term.metrics_B.items():
                metrics[f"{one.name}/{name}"] = jnp.sum(value_B * weight_B), count
            sizes[one.name] = jax.lax.stop_gradient(joint.of_tasks(term, weight_B, one, task))
            rows[one.name] = jax.lax.stop_gradient(term.rows)
        if not jax.tree.leaves(variables.extra):
            return Sums(total, count, metrics)
        kept = {name: tree for name, tree in rows.items() if jax.tree.leaves(tree)}
        return Sums(total, count, metrics, Updates(sizes if running else {}, kept))

    def pictures(self, batch: Batch, keys: jax.Array | None) -> PictureBatch:
        """A batch as objectives take it; what is held out has keys of its place."""
        keys = held_out_keys(batch) if keys is None else keys
        return PictureBatch(batch["image"], batch["label"], keys)

    def begin(self, one: PictureObjective, pictures: PictureBatch, phase: int) -> Begun:
        """What an objective shows, with keys of its own."""
        number = self.objectives.index(one)
        keys_B = jax.vmap(lambda key: jax.random.fold_in(key, number))(pictures.keys_B)
        return one.begin(self.model, pictures._replace(keys_B=keys_B), phase % len(one.turns))

    def pass_of(self, one: PictureObjective, variables: Variables, run: RunContext) -> Pass:
        """What an objective's loss reads besides its parameters."""
        extra = variables.extra
        return Pass(
            self.forward(run),
            run.placement,
            run.dtype,
            run.remat,
            run.phase % len(one.turns),
            extra.get("averaged", {}),
            extra.get("objectives", {}).get(one.name, {}),
            extra.get("steps", jnp.float32(0)),
        )

    def forward(self, run: RunContext) -> Any:
        """The trunk's forward pass as a run carries it out, a `TrunkForward`; None without a trunk."""
        return self.model.forward(run.placement, run.remat, run.dtype) if self.model else None

    def features(self, params: Tree, pixels_BxSxSxC: jax.Array, run: RunContext) -> Features:
        """Features of all stages of whole pictures, values of 0 to 255."""
        forward = self.forward(run)
        if forward is None:
            raise UserError("the model has no trunk: it restores pictures and has no features of them")
        return trunks.features(forward, params, trunks.whole(self.model, centred(pixels_BxSxSxC)))


def held_out_keys(batch: Batch) -> jax.Array:
    """A key per picture, of its place in the set: the same units are left out each time it is evaluated."""
    return jax.vmap(lambda place: jax.random.fold_in(jax.random.key(0), place))(batch["place"])
