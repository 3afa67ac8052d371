"""A sub-model of a classifier that lies in a run directory: its trunk and its head, cut out."""

import functools

import gin
import jax

from pangu_jax.apps.vision.tuning.stored_run import StoredRun
from pangu_jax.errors import UserError
from pangu_jax.workloads import Tree
from pangu_jax.workloads.vision.classifier import PictureClassifier
from pangu_jax.workloads.vision.elastic import cut_classifier, require_means
from pangu_jax.workloads.vision.model import slicing
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.slicing import SubModel


@gin.configurable(module="pangu_jax.apps.vision.tuning")
class PartOfRun:
    """A part of a finished run's classifier, as a base that is tuned further: what `pangu extract` names.

    Args:
      run_dir: the run of the whole; its trunk is a HiViT.
      width: of the part's main stage.
      depths: of its three stages.
      step: the checkpoint; the best or the newest when None.
    """

    def __init__(
        self,
        run_dir: str = gin.REQUIRED,
        width: int = gin.REQUIRED,
        depths: tuple[int, int, int] = gin.REQUIRED,
        step: int | None = None,
    ):
        self._run, self._part = StoredRun(run_dir, step, "PartOfRun.run_dir"), SubModel(width, tuple(depths))

    @functools.cached_property
    def _whole(self) -> tuple[PictureClassifier, HierarchicalConfig]:
        classifier = self._run.classifier
        if not isinstance(classifier.model, HierarchicalConfig):
            raise UserError(
                f"{self._run.directory.path}: parts are cut out of a HiViT, and its trunk is another"
            )
        require_means(classifier, self._run.directory.path)
        return classifier, classifier.model

    @functools.cached_property
    def config(self) -> HierarchicalConfig:
        """The part's shape."""
        try:
            return slicing.cut_config(self._whole[1], self._part)
        except ValueError as error:
            raise UserError(f"PartOfRun: {error}") from None

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the whole."""
        return self._whole[0].classes

    def restore(self, shardings: Tree) -> Tree:
        """{"trunk", "main", "head"}, fp32; the whole is read and let go."""
        classifier, config = self._whole
        everywhere = shardings["head"]["bias"]  # a head is on every device, and so is the whole for a moment
        shapes = jax.eval_shape(classifier.start, jax.random.key(0), classifier.given())
        variables = self._run.variables(jax.tree.map(lambda _: everywhere, shapes))
        params = classifier.complete(classifier.evaluated(variables))
        part = cut_classifier(config, params, self._part, classifier.stages)
        return jax.device_put(part, shardings)
