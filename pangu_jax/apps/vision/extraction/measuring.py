"""Accuracy and time of classifiers of one run's classes, each a program of its own shape."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.workloads import Batch, RunContext, Tree
from pangu_jax.workloads.vision.classifier import PictureClassifier
from pangu_jax.workloads.vision.data import PictureData
from pangu_jax.workloads.vision.model.trunk import TrunkConfig

Answer = Callable[[Tree, Any], jax.Array]


class Measurer:
    """Held-out pictures, asked about: every second one to choose by, the others to report.

    What is chosen by pictures looks better on them than it is. They are read anew for each question: a set of
    any size is held out.

    Attributes:
      pictures: that are held out, with a label.

    Args:
      classifier: whose head's stages and classes they are.
      data: whose held-out pictures are asked about.
      run: dtype and kernel of a forward pass.
      batch_size: pictures of a batch.

    Raises:
      UserError: no labelled pictures are held out.
    """

    def __init__(self, classifier: PictureClassifier, data: PictureData, run: RunContext, batch_size: int):
        self._classifier, self._run = classifier, run
        self._sources = tuple(data.validation_sources(batch_size).values())
        self._programs: dict[Any, Answer] = {}
        self.pictures = int(sum(np.sum(counted) for _, counted in self._batches()))
        if self.pictures < 2:
            raise UserError("the run holds out no labelled pictures, and sub-models are chosen by them")

    def _batches(self) -> Iterator[tuple[Batch, np.ndarray]]:
        """Each batch, read anew, and which of its pictures count: those with a label, bool [B]."""
        for source in self._sources:
            for batch in source.iterator(0):
                yield batch, (batch["weight"] > 0) & (batch["label"] >= 0)

    def accuracy(self, config: TrunkConfig, params: Tree) -> tuple[float, float]:
        """Percent right of the pictures to choose by, and of those to report.

        Args:
          config: the trunk's shape.
          params: {"trunk", "main", "head"}.
        """
        answer, right = self._program(config), []
        for batch, counted_B in self._batches():
            logits_BxC = np.asarray(answer(params, batch["image"][:, -1]))
            right.append((logits_BxC.argmax(1) == batch["label"])[counted_B])
        found = 100.0 * np.concatenate(right)
        return float(found[::2].mean()), float(found[1::2].mean())

    def call(self, config: TrunkConfig, params: Tree, batch: int) -> Callable[[], jax.Array]:
        """A forward pass of so many pictures, on the device, to be timed."""
        side, channels = config.size, config.channels
        pixels = np.random.default_rng(0).integers(0, 256, (batch, side, side, channels), np.uint8)
        return partial(self._program(config), *jax.device_put((params, pixels)))

    def _program(self, config: TrunkConfig) -> Answer:
        if config not in self._programs:

            def answer(params: Tree, pixels_BxSxSxC: jax.Array) -> jax.Array:
                logits_BxC, _ = self._classifier.answers(config, params, pixels_BxSxSxC, self._run)
                return logits_BxC.astype(jnp.float32)

            self._programs[config] = jax.jit(answer)
        return self._programs[config]
