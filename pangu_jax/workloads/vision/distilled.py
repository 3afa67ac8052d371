"""A classifier that is taught by another: by its answers to the same views, without labels too.

    loss of a picture = (1 - soft) cross-entropy, where it has a label
                      + soft T^2 KL(teacher || student)
                      + features (1 - cosine(the student's features, a random projection of the teacher's))

The teacher sees what the student sees, crop for crop (Beyer et al., arXiv 2106.05237).
"""

from pathlib import Path
from typing import Protocol

import gin
import jax
import jax.numpy as jnp

from pangu_jax.errors import UserError
from pangu_jax.models.parameters import Tree
from pangu_jax.recipes import Recipe, Reference
from pangu_jax.workloads import Batch, RunContext, Sums, Variables
from pangu_jax.workloads.vision.bases import PretrainedTrunk
from pangu_jax.workloads.vision.classifier import PictureClassifier
from pangu_jax.workloads.vision.data import PictureData
from pangu_jax.workloads.vision.learning import Learning
from pangu_jax.workloads.vision.soft_labels import divergence


class Teacher(Protocol):
    """A classifier that has learnt."""

    @property
    def workload(self) -> PictureClassifier:
        """What it is."""
        ...

    @property
    def named(self) -> str:
        """Where it is from, for messages."""
        ...

    def restore(self, shardings: Variables) -> Variables:
        """Its parameters and extra state, fp32, where they are to be."""
        ...


@gin.configurable(module="pangu_jax.workloads.vision")
class DistilledClassifier(PictureClassifier):
    """`PictureClassifier` with a teacher of the same classes; a finished run is used without it.

    Args:
      base: where the student's trunk is from: @FreshTrunk() of any shape, or @TrunkOfRun().
      data: pictures, @images(); those without a label count too, and there need be none with one.
      teacher: @TeacherOfRun().
      temperature: by which both models' logits are divided.
      soft: share of the loss that is the teacher's answers; the rest is labels.
      features: weight of the features' likeness; 0 for none.
      learns: of the student's trunk; @AllWeights() when None.
      stages: of the trunk, the last ones, whose features the head sees.
      label_smoothing: share of a label's target that goes to all classes alike.
    """

    def __init__(
        self,
        base: PretrainedTrunk = gin.REQUIRED,
        data: PictureData = gin.REQUIRED,
        teacher: Teacher = gin.REQUIRED,
        temperature: float = 3.0,
        soft: float = 0.9,
        features: float = 0.0,
        learns: Learning | None = None,
        stages: int = 1,
        label_smoothing: float = 0.0,
    ):
        self.teacher, self.temperature, self.soft = teacher, temperature, soft
        self.feature_weight = features
        super().__init__(base, data, learns, stages, label_smoothing, "mean")
        if temperature <= 0 or not 0 <= soft <= 1 or features < 0:
            raise UserError(
                "DistilledClassifier: temperature must be above 0, soft from 0 to 1, features at least 0"
            )
        seen, taught = teacher.workload.model, self.model
        if (seen.size, seen.channels) != (taught.size, taught.channels):
            raise UserError(
                f"{teacher.named} sees pictures of {seen.size} pixels and {seen.channels} channels, and the "
                f"student {taught.size} and {taught.channels}: both see the same views, so make them alike"
            )

    def _known_classes(self) -> tuple[str, ...]:
        known, own = self.teacher.workload.classes, tuple(self.data.classes)
        if own and own != known:
            raise UserError(
                f"{self.teacher.named} tells {_few(known)} apart, and the pictures are of {_few(own)}: take "
                "a teacher of these classes, or pictures without labels"
            )
        return known

    @classmethod
    def from_run(cls, recipe: Recipe, reference: Reference, directory: Path) -> PictureClassifier:
        """A finished student is a classifier like others: its teacher need not be there."""
        return PictureClassifier.from_run(recipe, reference, directory)

    @classmethod
    def with_data(cls, recipe: Recipe, reference: Reference, directory: Path) -> PictureClassifier:
        """The same with its pictures."""
        return PictureClassifier.with_data(recipe, reference, directory)

    def given(self) -> Tree:
        """The shapes of the student's trunk and of the teacher."""
        teacher = self.teacher.workload
        variables = jax.eval_shape(teacher.start, jax.random.key(0), teacher.given())
        return {"base": super().given(), "teacher": variables}

    def given_axes(self) -> Tree:
        """Their logical axes."""
        return {"base": super().given_axes(), "teacher": self.teacher.workload.logical_axes()}

    def restore_given(self, shardings: Tree) -> Tree:
        """Their arrays."""
        return {
            "base": super().restore_given(shardings["base"]),
            "teacher": self.teacher.restore(shardings["teacher"]),
        }

    def init(self, key: jax.Array) -> Variables:
        """As `start`, both without having learnt anything."""
        return self.start(key, {"base": self.model.init(key), "teacher": self.teacher.workload.init(key)})

    def start(self, key: jax.Array, given: Tree) -> Variables:
        """The student before the first step; the teacher is a constant."""
        params, extra, _ = super().start(key, given["base"])
        return Variables(params, extra, {"teacher": given["teacher"]})

    def logical_axes(self) -> Variables:
        """Those of the student and of the teacher."""
        params, extra, _ = super().logical_axes()
        return Variables(params, extra, {"teacher": self.teacher.workload.logical_axes()})

    def loss(self, variables: Variables, batch: Batch, keys: jax.Array | None, run: RunContext) -> Sums:
        """In training as above, over all pictures; without `keys` the cross-entropy of labels."""
        if keys is None:
            return super().loss(variables, batch, keys, run)
        pixels = batch["image"][:, -1]
        student_BxC, own_BxF = self.answers(self.model, self.complete(variables), pixels, run)
        workload, known = self.teacher.workload, variables.constants["teacher"]
        teacher_BxC, taught_BxG = workload.answers(workload.model, workload.complete(known), pixels, run)
        hard = self.against_labels(student_BxC, batch, self.label_smoothing)
        weight_B = batch["weight"].astype(jnp.float32)
        count = jnp.sum(weight_B)
        soft = jnp.sum(weight_B * divergence(teacher_BxC, student_BxC, self.temperature))
        agree_B = jnp.argmax(student_BxC, axis=1) == jnp.argmax(teacher_BxC, axis=1)
        metrics = {
            **hard.metrics,
            "loss/labels": (hard.loss, hard.weight),
            "loss/soft": (soft, count),
            "agreement": (jnp.sum(weight_B * agree_B), count),
        }
        loss = (1 - self.soft) * hard.loss + self.soft * soft
        if self.feature_weight:
            apart = jnp.sum(weight_B * (1 - _cosine(own_BxF, _projected(taught_BxG, own_BxF.shape[1]))))
            metrics["loss/features"] = (apart, count)
            loss += self.feature_weight * apart
        return Sums(loss, count, metrics)

    def order(self) -> dict[str, str]:
        """The pictures, the steps that make views, and the teacher."""
        return {**super().order(), "teacher": self.teacher.named}

    def flops_per_step(self, batch_size: int) -> float:
        """The student's, and a forward pass of the teacher."""
        teacher = self.teacher.workload.model
        return super().flops_per_step(batch_size) + batch_size * teacher.flops(teacher.units)


class TeacherInMemory:
    """A classifier that was just trained.

    Args:
      workload: what it is.
      variables: its own; they are not changed.
    """

    named = "the teacher"

    def __init__(self, workload: PictureClassifier, variables: Variables):
        self.workload, self._variables = workload, variables._replace(constants={})

    def restore(self, shardings: Variables) -> Variables:
        """See `Teacher`."""
        return jax.device_put(self._variables, shardings)


def _projected(x_BxG: jax.Array, width: int) -> jax.Array:
    """[B, width]: always the same directions drawn at random, which keep distances (Johnson-Lindenstrauss).

    So a student of another width has something to match without parameters that only training needs.
    """
    directions_GxF = jax.random.normal(jax.random.key(0), (x_BxG.shape[1], width))
    return jax.lax.stop_gradient(x_BxG @ directions_GxF)


def _cosine(x_BxF: jax.Array, y_BxF: jax.Array) -> jax.Array:
    lengths_B = jnp.linalg.norm(x_BxF, axis=1) * jnp.linalg.norm(y_BxF, axis=1)
    return jnp.sum(x_BxF * y_BxF, axis=1) / jnp.maximum(lengths_B, 1e-6)


def _few(classes: tuple[str, ...]) -> str:
    """The first names, and how many there are."""
    names = ", ".join(classes[:3])
    return names if len(classes) <= 3 else f"{len(classes)} classes ({names}, ...)"
