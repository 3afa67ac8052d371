"""A classifier that holds smaller ones: they learn in one training, and are cut out of it afterwards.

In a step the largest learns from labels, the smallest and one drawn between them from labels and from its
answers to the same views (the sandwich rule with in-place distillation: Yu & Huang, arXiv 1903.05134; Yu et
al., arXiv 2003.11142). Their gradients are summed in the weights that they share. Each size is a program of
its own shape, so that a small one costs what it costs alone; which one is drawn, and whether any is, is a
phase of the training (`Workload.phase`), so each is compiled once.

In-place distillation as it was published, at full weight, can hold the largest back: it is drawn to answers
that the small ones can give as well. On CIFAR-10 it cost it 8 points beside a weight of 0.3
(docs/extraction.md).
"""

from collections.abc import Sequence

import gin
import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.workloads import Batch, RunContext, Sums, Tree, Variables
from pangu_jax.workloads.vision.bases import PretrainedTrunk
from pangu_jax.workloads.vision.classifier import PictureClassifier
from pangu_jax.workloads.vision.data import PictureData
from pangu_jax.workloads.vision.learning import AllWeights
from pangu_jax.workloads.vision.model import slicing
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.slicing import SubModel
from pangu_jax.workloads.vision.soft_labels import divergence

ALONE = 0  # the phase of steps in which the largest learns alone; from 1 on which middle size is drawn


@gin.configurable(module="pangu_jax.workloads.vision")
class ElasticClassifier(PictureClassifier):
    """`PictureClassifier` of a HiViT all of whose weights learn, and of some of its sub-models.

    Args:
      base: where the trunk is from, @FreshTrunk() or @TrunkOfRun().
      data: labelled pictures, @images().
      sizes: sub-models that learn, smallest last, (width of the main stage, depths of the three stages) each;
        the trunk itself is not among them.
      every: they learn in every so-manieth step, the largest in each.
      alone: steps in which the largest learns alone, before them.
      weight: of a sub-model's loss beside the largest's, in a step that has one.
      labels: share of a sub-model's loss that is labels; the rest is the largest's answers.
      temperature: of its answers as they see them.
      stages: of the trunk, the last ones, whose features the head sees.
      label_smoothing: share of a label's target that goes to all classes alike.
    """

    OF_MODEL = (
        "sizes", "every", "alone", "weight", "labels", "temperature", "stages", "label_smoothing",
    )  # fmt: skip

    def __init__(
        self,
        base: PretrainedTrunk = gin.REQUIRED,
        data: PictureData = gin.REQUIRED,
        sizes: Sequence[tuple[int, tuple[int, int, int]]] = gin.REQUIRED,
        every: int = 1,
        alone: int = 0,
        weight: float = 0.5,
        labels: float = 0.5,
        temperature: float = 1.0,
        stages: int = 1,
        label_smoothing: float = 0.0,
    ):
        super().__init__(base, data, AllWeights(), stages, label_smoothing, "mean")
        self.every, self.alone, self.temperature = every, alone, temperature
        self.weight, self.labels = weight, labels
        if not isinstance(base.config, HierarchicalConfig):
            raise UserError("ElasticClassifier cuts sub-models out of a HiViT, and the base is another trunk")
        self.whole = base.config
        if not sizes:
            raise UserError("ElasticClassifier.sizes is empty: name sub-models, such as ((64, (1, 1, 2)),)")
        self.parts = tuple(SubModel(width, (first, second, main)) for width, (first, second, main) in sizes)
        for part in self.parts:
            try:
                slicing.cut_config(self.whole, part)
            except ValueError as error:
                raise UserError(f"ElasticClassifier.sizes: {error}") from None
            if part == slicing.whole(self.whole):
                raise UserError(f"ElasticClassifier.sizes: {part.label} is the whole model: leave it out")
        if every < 1 or alone < 0 or temperature <= 0 or weight <= 0 or not 0 <= labels <= 1:
            raise UserError(
                "ElasticClassifier: every must be at least 1, alone 0, temperature and weight above 0, labels"
                " from 0 to 1"
            )

    def phase(self, step: int) -> int:
        """Alone, or which of the middle sizes is drawn: a pure function of the step.

        Steps whose number, from 1, `every` divides have sub-models: of rows that are logged each has them.
        """
        if step < self.alone or (step + 1) % self.every:
            return ALONE
        return 1 + int(np.random.default_rng([17, step]).integers(max(1, len(self.parts) - 1)))

    def loss(self, variables: Variables, batch: Batch, keys: jax.Array | None, run: RunContext) -> Sums:
        """The largest's cross-entropy; in training what the smaller ones have to learn is added."""
        if keys is None or run.phase == ALONE:
            return super().loss(variables, batch, keys, run)
        params, pixels = self.complete(variables), batch["image"][:, -1]
        logits_BxC, _ = self.answers(self.model, params, pixels, run)
        sums = self.against_labels(logits_BxC, batch, self.label_smoothing)
        weight_B = jnp.where(batch["label"] >= 0, batch["weight"], 0.0).astype(jnp.float32)
        loss, metrics = sums.loss, dict(sums.metrics)
        for name, part in self._taught(run.phase):
            config = slicing.cut_config(self.whole, part)
            cut = cut_classifier(self.whole, params, part, self.stages)
            student_BxC, _ = self.answers(config, cut, pixels, run)
            apart = jnp.sum(weight_B * divergence(logits_BxC, student_BxC, self.temperature))
            metrics[f"loss/{name}"] = (apart, sums.weight)
            hard = self.against_labels(student_BxC, batch, self.label_smoothing).loss
            loss += self.weight * (self.labels * hard + (1 - self.labels) * apart)
        return sums._replace(loss=loss, metrics=metrics)

    def _taught(self, phase: int) -> list[tuple[str, SubModel]]:
        """The smallest, and where there are others one of them."""
        *middle, smallest = self.parts
        return [("smallest", smallest), *([("drawn", middle[phase - 1])] if middle else [])]

    def flops_per_step(self, batch_size: int) -> float:
        """Of the mean step once sub-models learn, of which the middle ones count by their mean."""
        units = self.model.units
        costs = [slicing.cut_config(self.whole, part).flops(units) for part in self.parts]
        *middle, smallest = costs
        taught = smallest + (sum(middle) / len(middle) if middle else 0.0)
        return 3.0 * batch_size * (self.model.flops(units) + taught / self.every)


def require_means(classifier: PictureClassifier, named: object) -> None:
    """UserError where the head sees units side by side: of such a head no part can be cut out."""
    if classifier.pooling != "mean":
        raise UserError(f"{named}: parts are cut out of a head on means of units; its pooling is another")


def cut_classifier(config: HierarchicalConfig, params: Tree, part: SubModel, stages: int) -> Tree:
    """A sub-model's trunk and head, cut out of a classifier's.

    Args:
      config: the whole trunk's shape.
      params: {"trunk", "main", "head"}.
      part: what is cut out.
      stages: of the trunk, the last ones, whose features the head sees.
    """
    head = params["head"]

    def rows(array: jax.Array) -> jax.Array:
        return slicing.cut_features(config, array, part.width, stages)

    norm = {name: rows(value) for name, value in head["norm"].items()}
    small = {"norm": norm, "kernel": rows(head["kernel"]), "bias": head["bias"]}
    return {**slicing.cut(config, params, part), "head": small}
