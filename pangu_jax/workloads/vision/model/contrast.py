"""Contrast: two views of a picture have one embedding, and so have a picture's nearest neighbours in a queue.

InfoNCE (van den Oord et al., arXiv 1807.03748) of a student's embedding with those that an averaged teacher
made of the other view and of the last pictures (He et al., arXiv 1911.05722). Positives are the other view
and, once neighbours mean something, the nearest in the queue: CsMl, or hierarchical semantic aggregation (Xu
et al., arXiv 2012.02733). Where labels are known, pictures of the same one are positives too, each with a
logarithm of its own (Khosla et al., arXiv 2004.11362, the "out" form): what the announcement of Pangu CV
calls supervised contrastive semantic adjustment has no public definition, and this is what is chosen here.
The loss is the mean over the last stages of the trunk, each with a projection and a queue of its own.

    L = -1/|P| sum over p in P of log(exp(q.p / t) / sum over a in A of exp(q.a / t))

P: positives; A: the other view and the whole queue. Each picture's loss depends on the queue and not on who
is beside it in the batch, so that splitting a batch changes nothing.
"""

import functools
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from pangu_jax.models.activations import gelu
from pangu_jax.models.normalization import LayerNorm, layer_norm
from pangu_jax.models.parameters import Tree, arrays, logical_axes, normal, zeros
from pangu_jax.models.placement import Placement
from pangu_jax.workloads.vision.model import trunk as trunks
from pangu_jax.workloads.vision.model.blocks import unit_length
from pangu_jax.workloads.vision.model.objective import Begun, Pass, PictureBatch, PictureObjective, Term
from pangu_jax.workloads.vision.model.pixels import centred
from pangu_jax.workloads.vision.model.streams import features_of
from pangu_jax.workloads.vision.model.trunk import Features, TrunkConfig

NEVER = -1e9  # a similarity that no softmax sees
MATRICES = ("up", "down")


@dataclass(frozen=True)
class NeighbourContrast(PictureObjective):
    """What is alike, and the projections.

    Args:
      weight: in a joint loss.
      temperature: t.
      neighbours: nearest ones in the queue that are positives; 0 for none.
      neighbours_from: optimizer steps after which they are: before that they are noise.
      queue: embeddings that are remembered.
      stages: so many of the trunk's last stages are compared.
      hidden: width of the projections' hidden layer.
      width: of embeddings.
      labels: whether pictures of the same known label are positives.
      seen: share of its view's units that the student is shown, drawn anew each time; the teacher is shown
        all (masked siamese networks, Assran et al., arXiv 2204.07141). Less work, and one augmentation more.
    """

    name: ClassVar[str] = "contrast"
    loss_unit: ClassVar[str] = "nats per picture"
    views: ClassVar[int] = 2
    needs_average: ClassVar[bool] = True

    temperature: float = 0.2
    neighbours: int = 10
    neighbours_from: int = 500
    queue: int = 4096
    stages: int = 2
    hidden: int = 512
    width: int = 128
    labels: bool = False
    seen: float = 1.0

    def __post_init__(self):
        if not self.temperature > 0:
            raise ValueError(f"NeighbourContrast.temperature {self.temperature} must be above 0")
        if not 0 <= self.neighbours < self.queue:
            raise ValueError(
                f"NeighbourContrast.neighbours {self.neighbours} must be from 0 to below queue {self.queue}"
            )
        if min(self.stages, self.hidden, self.width) < 1:
            raise ValueError("NeighbourContrast.stages, hidden and width must be at least 1")
        if not 0 < self.seen <= 1:
            raise ValueError(f"NeighbourContrast.seen {self.seen} must be above 0 and at most 1")

    @property
    def early(self) -> bool:
        """Whether stages before the main one are compared."""
        return self.stages > 1

    def init(self, trunk: TrunkConfig, channels: int, key: jax.Array) -> Tree:
        """Fresh fp32 parameters of a projection per stage."""
        del channels
        if self.stages > len(trunk.feature_widths):
            raise ValueError(
                f"NeighbourContrast.stages {self.stages}: the trunk has {len(trunk.feature_widths)}"
            )
        return arrays(Projections(trunk, self, nnx.Rngs(params=key)))

    def axes(self, trunk: TrunkConfig, channels: int) -> Tree:
        """Their logical axes."""
        del channels
        return _axes(trunk, self)

    def dimensions(self, trunk: TrunkConfig | None) -> dict[str, int]:
        """Of the projections: `down` is stored by its output's width."""
        del trunk
        return {"contrast_embed": self.width}

    def init_extra(self, trunk: TrunkConfig, key: jax.Array) -> Tree:
        """A queue of random embeddings per stage, with no labels."""
        del trunk
        fresh = jax.random.normal(key, (self.stages, self.queue, self.width))
        return {"queue": unit_length(fresh), "label": jnp.full((self.queue,), -1, jnp.int32)}

    def extra_axes(self, trunk: TrunkConfig) -> Tree:
        """All of it is on every device."""
        del trunk
        return {"queue": (None, None, "norm"), "label": (None,)}

    def next_extra(self, extra: Tree, rows: Tree) -> Tree:
        """First in, first out."""
        made_SxBxE = rows["embedding"].astype(jnp.float32).transpose(1, 0, 2)
        return {
            "queue": jnp.concatenate([extra["queue"], made_SxBxE], axis=1)[:, -self.queue :],
            "label": jnp.concatenate([extra["label"], rows["label"]])[-self.queue :],
        }

    def begin(self, trunk: TrunkConfig, pictures: PictureBatch, task: int = 0) -> Begun:
        """Of the first two views some units, and what the teacher is shown: all."""
        del task
        views = [centred(pictures.image_BxVxSxSxC[:, view]) for view in range(self.views)]
        whole = tuple(trunks.whole(trunk, pixels) for pixels in views)
        if self.seen == 1:
            return Begun(whole, whole)
        keys_VxB = jax.vmap(lambda key: jax.random.split(key, self.views), out_axes=1)(pictures.keys_B)
        shown = zip(whole, keys_VxB, strict=True)
        return Begun(tuple(trunks.some(view, self.shown(trunk), keys_B) for view, keys_B in shown), whole)

    def finish(
        self, params: Tree, pictures: PictureBatch, begun: Begun, features: tuple[Features, ...], run: Pass
    ) -> Term:
        """Each view's embedding with what the teacher made of the other."""
        taught = features_of(run.forward, run.averaged, begun.kept)
        taught = jax.lax.stop_gradient([self.embed(run.averaged[self.name], x, run) for x in taught])
        drawn = [self.embed(params, x, run) for x in features]
        near_from = run.steps >= self.neighbours_from
        loss_B = jnp.zeros(pictures.label_B.shape, jnp.float32)
        for query_BxSxE, key_BxSxE in zip(drawn, reversed(taught), strict=True):
            of_stages = [
                self._loss(query, key, queue, run.extra["label"], pictures.label_B, near_from)
                for query, key, queue in zip(
                    query_BxSxE.swapaxes(0, 1), key_BxSxE.swapaxes(0, 1), run.extra["queue"], strict=True
                )
            ]
            loss_B += sum(of_stages) / (self.stages * self.views)
        rows = {"embedding": taught[1], "label": pictures.label_B}
        alike_B = jnp.sum(drawn[0][:, -1] * taught[1][:, -1], axis=-1)
        return Term(loss_B, {"alike": alike_B}, rows)

    def embed(self, params: Tree, features: Features, run: Pass) -> jax.Array:
        """Unit embeddings of the last stages, fp32 [B, stages, width], from the mean of each one's tokens."""
        trunk = run.forward.config
        logical = self.axes(trunk, trunk.channels)
        pooled = [jnp.mean(stage.astype(jnp.float32), axis=1) for stage in features[-self.stages :]]
        return jnp.stack(
            [
                unit_length(_projected(params[name], logical[name], x_BxF, run.placement, run.dtype))
                for name, x_BxF in zip(_names(self.stages), pooled, strict=True)
            ],
            axis=1,
        )

    def _loss(
        self,
        query_BxE: jax.Array,
        key_BxE: jax.Array,
        queue_QxE: jax.Array,
        label_Q: jax.Array,
        label_B: jax.Array,
        near_from: jax.Array,
    ) -> jax.Array:
        own_B = jnp.sum(query_BxE * key_BxE, axis=-1) / self.temperature
        others_BxQ = query_BxE @ queue_QxE.T / self.temperature
        all_B = jnp.logaddexp(own_B, jax.nn.logsumexp(others_BxQ, axis=-1))
        positive_BxQ = jnp.zeros(others_BxQ.shape, jnp.float32)
        if self.neighbours:
            near_BxQ = key_BxE @ queue_QxE.T
            least_Bx1 = jax.lax.top_k(near_BxQ, self.neighbours)[0][:, -1:]
            positive_BxQ = jnp.where(near_from & (near_BxQ >= least_Bx1), 1.0, 0.0)
        if self.labels:
            same_BxQ = (label_B[:, None] == label_Q) & (label_B[:, None] >= 0)
            positive_BxQ = jnp.maximum(positive_BxQ, same_BxQ.astype(jnp.float32))
        count_B = 1.0 + jnp.sum(positive_BxQ, axis=-1)
        return all_B - (own_B + jnp.sum(positive_BxQ * others_BxQ, axis=-1)) / count_B

    def flops(self, trunk: TrunkConfig, size: int, channels: int) -> float:
        """Of two views. Without a backward pass a product counts a third: the teacher's, and similarities of
        what it made with the queue, which take no gradient themselves."""
        del size, channels
        projections = sum(2 * (f * self.hidden + self.hidden * self.width) for f in self._widths(trunk))
        queue = 2 * self.stages * self.queue * self.width
        queue *= 2 / 3 + (1 / 3 if self.neighbours else 0)
        teacher = trunk.flops(trunk.units) + projections
        student = trunk.flops(self.shown(trunk)) + projections + queue
        return self.views * (student + teacher / 3)

    def shown(self, trunk: TrunkConfig) -> int:
        """Units that the student sees."""
        return max(1, int(trunk.units * self.seen))

    def _widths(self, trunk: TrunkConfig) -> tuple[int, ...]:
        return trunk.feature_widths[-self.stages :]


class Projection(nnx.Module):
    """`norm`, `up` [F, hidden], `up_bias`, `down` [width, hidden]."""

    def __init__(self, wide: int, objective: NeighbourContrast, rngs: nnx.Rngs):
        hidden, width = objective.hidden, objective.width
        self.norm = LayerNorm(wide)
        self.up = normal(rngs, (wide, hidden), (None, None), fan_in=wide)
        self.up_bias = zeros((hidden,), ("norm",))
        self.down = normal(rngs, (width, hidden), ("embed", None), fan_in=hidden)


class Projections(nnx.Module):
    """A projection for each of the last stages: `stage_1` is the last."""

    def __init__(self, trunk: TrunkConfig, objective: NeighbourContrast, rngs: nnx.Rngs):
        names = _names(objective.stages)
        for name, wide in zip(names, trunk.feature_widths[-objective.stages :], strict=True):
            setattr(self, name, Projection(wide, objective, rngs))


def _names(stages: int) -> list[str]:
    return [f"stage_{number}" for number in range(stages, 0, -1)]


def _projected(params: Tree, logical: Tree, x_BxF: jax.Array, placement: Placement, dtype) -> jax.Array:
    gathered = placement.weights(
        {name: params[name].astype(dtype) for name in MATRICES}, {name: logical[name] for name in MATRICES}
    )
    x = layer_norm(x_BxF, params["norm"]).astype(dtype)
    x = gelu(x @ gathered["up"] + params["up_bias"].astype(dtype))
    return (x @ gathered["down"].T).astype(jnp.float32)


@functools.cache
def _axes(trunk: TrunkConfig, objective: NeighbourContrast) -> Tree:
    return logical_axes(lambda: Projections(trunk, objective, nnx.Rngs(0)))
