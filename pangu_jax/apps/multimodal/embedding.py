"""A run of pictures and captions as two functions: embeddings of pictures, and of texts."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax
import numpy as np

from data_pipelines.images import augment
from data_pipelines.images.augment import CenterCrop, Resize
from data_pipelines.pairs.vocabulary import fitted
from pangu_jax.errors import UserError
from pangu_jax.runs.opening import OpenedRun
from pangu_jax.workloads import RunContext, Tree
from pangu_jax.workloads.multimodal import ImageTextModel

BATCH = 64  # pictures or texts that go through a tower together


class Embedder:
    """The towers of a model.

    Args:
      workload: the model.
      params: {"image", "text", "join"}, `complete`, as they are evaluated.
      run: how a forward pass is carried out.
    """

    def __init__(self, workload: ImageTextModel, params: Tree, run: RunContext):
        self.workload, self.params, self.run = workload, params, run
        self._batch = BATCH * max(1, run.placement.batch_shards)
        self._steps = Resize(workload.data.size), CenterCrop(workload.data.size)

    @classmethod
    def of_run(cls, run: OpenedRun) -> "Embedder":
        """Those of a finished run, of the family `multimodal`."""
        workload: Any = run.workload
        params = workload.complete(workload.evaluated(run.variables))
        return cls(workload, params, run.spread.run)

    @property
    def width(self) -> int:
        """Of embeddings."""
        return self.workload.config.width

    def view(self, pixels_HxWxC: np.ndarray) -> np.ndarray:
        """A picture as the tower takes it: its middle, as large as fits, uint8 [S, S, C]."""
        return augment.apply(self._steps, pixels_HxWxC, np.random.default_rng(0))

    def pictures(self, views_BxSxSxC: np.ndarray) -> np.ndarray:
        """fp32 [B, width], of unit length."""
        self._require_contrast()
        return self._in_batches(self._image, views_BxSxSxC)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """fp32 [B, width], of unit length; what is longer than a caption may be is cut."""
        self._require_contrast()
        return self._in_batches(self._text, self.tokens(texts))

    def tokens(self, texts: Sequence[str]) -> np.ndarray:
        """int32 [B, length]: their tokens, the end, then zeros.

        Raises:
          UserError: one is empty.
        """
        data = self.workload.data
        found = np.zeros((len(texts), data.length), np.int32)
        for row, text in enumerate(texts):
            if not text.strip():
                raise UserError("an empty text has no embedding: give words")
            ids, _ = fitted(text.strip(), data.vocabulary, data.length)
            found[row, : len(ids)] = ids
        return found

    @cached_property
    def _image(self) -> Any:
        forward = self.workload.forward(self.run)
        return jax.jit(lambda params, x: forward.image_embedding(params, forward.seen(params, x)))

    @cached_property
    def _text(self) -> Any:
        return jax.jit(self.workload.forward(self.run).text_embedding)

    def _in_batches(self, embed: Any, rows: np.ndarray) -> np.ndarray:
        """embed(rows), so many at once; the last batch is filled up, so that one program serves all."""
        found = []
        for first in range(0, len(rows), self._batch):
            part = rows[first : first + self._batch]
            size = self._batch if len(rows) > self._batch else len(rows)
            found.append(np.asarray(embed(self.params, filled(part, size, self.run)))[: len(part)])
        return np.concatenate(found) if found else np.zeros((0, self.width), np.float32)

    def _require_contrast(self) -> None:
        if self.workload.config.contrast == "none":
            raise UserError(
                "the run learnt captions alone (ImageTextModel.contrast = 'none'): it has no embeddings"
            )


def filled(rows_BxN: np.ndarray, size: int, run: RunContext) -> np.ndarray:
    """Rows, filled up by the last of them to `size`, or to what the parts of a batch divide."""
    shards = run.placement.batch_shards
    size = -(-size // shards) * shards
    return np.concatenate([rows_BxN, np.repeat(rows_BxN[-1:], size - len(rows_BxN), axis=0)])
