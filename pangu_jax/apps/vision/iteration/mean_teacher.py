"""Learning by few labels and many pictures without: Mean Teacher (arXiv 1703.01780) with label suppression.

    loss = CE(student(view), label)                                          where the label is known
         + w_t CE(student(view'), softmax(suppressed(teacher(view)) / T))    where it is not

The teacher is the moving average of the student. A "no" to class k sets the teacher's logit of k to -1e6, so
that the target moves to the classes that are left (Hu et al., "One-bit supervision", NeurIPS 2020).
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import gin
import jax
import jax.numpy as jnp
import numpy as np
import optax

from pangu_jax.apps.vision.iteration import heads
from pangu_jax.apps.vision.iteration.answers import KnownLabels
from pangu_jax.apps.vision.iteration.heads import HeadShape, Params
from pangu_jax.apps.vision.iteration.label_losses import CrossEntropy, LabelLoss
from pangu_jax.apps.vision.iteration.self_paced import SelfPaced
from pangu_jax.errors import UserError

SUPPRESSED = -1e6  # the teacher's logit of a class that a picture is not of
EPOCH = 100  # steps between looks at who counts


class LearntHead(NamedTuple):
    """What learning gives.

    Attributes:
      params: of the head; the teacher's.
      flops: of products, spent.
      members: share of the pictures that counted in the end; 1 without self-paced weights.
    """

    params: Params
    flops: float
    members: float


@gin.configurable
@dataclass(frozen=True)
class MeanTeacher:
    """A head from fresh weights, on cached features of several views.

    Args:
      hidden: width of its hidden layer; 0 for a linear head.
      steps: updates.
      batch_size: pictures with a label per step.
      unlabelled: pictures without per step.
      learning_rate: of AdamW, the peak; a cosine down from it.
      weight_decay: decoupled.
      dropout: of the hidden layer, in the student.
      average: of the teacher's parameters, per step.
      consistency: w, at its full height; 0 learns from labels alone.
      ramp: share of the steps over which w rises.
      temperature: T, of the teacher's target.
      align: how far the targets are moved towards using all classes alike, 0 to 1: their logits less so much
        of log the class's usual probability (distribution alignment, arXiv 1911.09785). Without it a teacher
        that is rarely right comes to prefer a few classes.
      refused: share of the pictures without a label per step that got a "no": of them most is known.
      suppress: whether "no" counts.
      loss: of labels; @CrossEntropy() when None.
      weigh: which pictures count, @SelfPaced(); all when None.
    """

    hidden: int = 256
    steps: int = 500
    batch_size: int = 128
    unlabelled: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    dropout: float = 0.5
    average: float = 0.99
    consistency: float = 1.0
    ramp: float = 0.3
    temperature: float = 0.7
    align: float = 1.0
    refused: float = 0.5
    suppress: bool = True
    loss: LabelLoss | None = None
    weigh: SelfPaced | None = None

    def __post_init__(self):
        if min(self.steps, self.batch_size, self.unlabelled) < 1 or self.temperature <= 0:
            raise UserError("MeanTeacher: steps, batch_size, unlabelled and temperature must be above 0")
        if not 0 <= self.dropout < 1 or not 0 <= self.average < 1:
            raise UserError("MeanTeacher: dropout and average are from 0 to below 1")

    def __call__(self, views_NxVxF: np.ndarray, known: KnownLabels, seed: int) -> LearntHead:
        """The head that these answers come to; the same for the same arguments.

        Args:
          views_NxVxF: features, plain view first.
          known: labels, and classes that are ruled out.
          seed: of weights, order and views.
        """
        count, views, width = views_NxVxF.shape
        shape = HeadShape(width, self.hidden, known.ruled_out_NxC.shape[1])
        labelled, unlabelled = np.flatnonzero(known.label_N >= 0), np.flatnonzero(known.label_N < 0)
        consistent = self.consistency > 0 and len(unlabelled) > 0
        rng = np.random.default_rng([seed, 17])
        begun = _begin(self, shape, jax.random.key(seed))
        state = begun | {"average_N": jnp.full(count, jnp.nan)}
        ruled_out = known.ruled_out_NxC if self.suppress else np.zeros_like(known.ruled_out_NxC)
        given = tuple(map(jnp.asarray, (views_NxVxF, known.label_N.astype(np.int32), ruled_out)))
        member_N = np.ones(count, bool)
        others = unlabelled if consistent else labelled
        refused = others[known.ruled_out_NxC[others].any(1)]
        for epoch, first in enumerate(range(0, self.steps, EPOCH)):
            steps = min(EPOCH, self.steps - first)
            drawn = {
                "labelled": _drawn(rng, labelled, steps, self.batch_size),
                "unlabelled": self._others(rng, others, refused, steps),
                "view": rng.integers(views, size=(steps, self.batch_size), dtype=np.int32),
                "views": rng.integers(views, size=(steps, 2, self.unlabelled), dtype=np.int32),
                "step": np.arange(first, first + steps, dtype=np.int32),
            }
            key = jax.random.fold_in(jax.random.key(seed), first)
            state = _learn(self, consistent, state, given, member_N, drawn, key)
            if self.weigh:
                member_N = self.weigh.members(member_N, np.asarray(state["average_N"]), epoch)
        params = jax.tree.map(np.asarray, state["teacher"])
        return LearntHead(params, self.flops(shape, consistent), float(member_N.mean()))

    def _others(
        self, rng: np.random.Generator, others: np.ndarray, refused: np.ndarray, steps: int
    ) -> np.ndarray:
        """Pictures without a label for each step, int32 [steps, unlabelled]."""
        few = round(self.refused * self.unlabelled) if len(refused) else 0
        parts = _drawn(rng, refused, steps, few) if few else np.zeros((steps, 0), np.int32)
        return np.concatenate([parts, _drawn(rng, others, steps, self.unlabelled - few)], axis=1)

    def flops(self, shape: HeadShape, consistent: bool) -> float:
        """Of products: three passes of the student, one of the teacher."""
        rows = 3 * self.batch_size + (4 * self.unlabelled if consistent else 0)
        return self.steps * rows * shape.flops

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """AdamW along a cosine."""
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, self.learning_rate, max(1, self.steps // 20), self.steps, 0.0
        )
        return optax.adamw(schedule, weight_decay=self.weight_decay)


def _drawn(rng: np.random.Generator, rows: np.ndarray, steps: int, count: int) -> np.ndarray:
    """Rows for each step, int32 [steps, count]."""
    return rows[rng.integers(len(rows), size=(steps, count))].astype(np.int32)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _begin(settings: MeanTeacher, shape: HeadShape, key: jax.Array) -> dict[str, Any]:
    params = heads.init(shape, key)
    begun = {"student": params, "teacher": params, "optimizer": settings.optimizer.init(params)}
    return begun | {"usual_C": jnp.full(shape.classes, 1 / shape.classes)}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _learn(
    settings: MeanTeacher,
    consistent: bool,
    state: dict[str, Any],
    given: tuple[jax.Array, jax.Array, jax.Array],
    member_N: jax.Array,
    drawn: dict[str, jax.Array],
    key: jax.Array,
) -> dict[str, Any]:
    """Some steps, as `drawn` says."""
    views_NxVxF, label_N, ruled_out_NxC = given
    loss_of = settings.loss or CrossEntropy()

    def step(state: dict[str, Any], drawn: dict[str, jax.Array]) -> tuple[dict[str, Any], None]:
        labelled_B, others_U = drawn["labelled"], drawn["unlabelled"]
        own_BxF = views_NxVxF[labelled_B, drawn["view"]].astype(jnp.float32)
        seen_UxF, student_UxF = (views_NxVxF[others_U, v].astype(jnp.float32) for v in drawn["views"])
        target_UxC = None
        if consistent:
            raw_UxC = heads.logits(state["teacher"], seen_UxF)
            usual_C = 0.98 * state["usual_C"] + 0.02 * jnp.mean(jax.nn.softmax(raw_UxC), axis=0)
            state = state | {"usual_C": usual_C}
            raw_UxC -= settings.align * jnp.log(usual_C)
            raw_UxC = jnp.where(ruled_out_NxC[others_U], SUPPRESSED, raw_UxC)
            target_UxC = jax.nn.softmax(raw_UxC / settings.temperature)

        def loss(student: Params) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            x = jnp.concatenate([own_BxF, student_UxF]) if consistent else own_BxF
            keep = None
            if settings.dropout and settings.hidden:
                own_key = jax.random.fold_in(key, drawn["step"])
                share = 1 - settings.dropout
                keep = jax.random.bernoulli(own_key, share, (len(x), settings.hidden)) / share
            logits = heads.logits(student, x, keep)
            rows = labelled_B
            each = loss_of(logits[: len(labelled_B)], label_N[labelled_B])
            total = jnp.mean(each * member_N[labelled_B])
            if target_UxC is not None:
                logs_UxC = jax.nn.log_softmax(logits[len(labelled_B) :])
                apart_U = -jnp.sum(target_UxC * logs_UxC, axis=1)
                ramp = jnp.minimum(1.0, drawn["step"] / max(1.0, settings.ramp * settings.steps))
                total += settings.consistency * ramp * jnp.mean(apart_U * member_N[others_U])
                rows, each = jnp.concatenate([rows, others_U]), jnp.concatenate([each, apart_U])
            return total, (rows, each)

        (_, (rows, each)), grads = jax.value_and_grad(loss, has_aux=True)(state["student"])
        updates, optimizer = settings.optimizer.update(grads, state["optimizer"], state["student"])
        student = optax.apply_updates(state["student"], updates)
        # An average over all steps so far in the beginning: the first weights weigh nothing later.
        average = jnp.minimum(settings.average, (drawn["step"] + 1) / (drawn["step"] + 10))
        teacher = jax.tree.map(lambda t, s: average * t + (1 - average) * s, state["teacher"], student)
        found = state | {"student": student, "teacher": teacher, "optimizer": optimizer}
        if settings.weigh:
            before = state["average_N"][rows]
            m = settings.weigh.momentum
            now = jnp.where(jnp.isnan(before), each, m * before + (1 - m) * each)
            found["average_N"] = state["average_N"].at[rows].set(now)
        return found, None

    return jax.lax.scan(step, state, drawn)[0]
