"""Captions of pictures: the language family's way of writing, beside a picture instead of a text."""

import hashlib
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.apps.language.decoding import draw_keys, stepping
from pangu_jax.apps.language.decoding.generator import prepare
from pangu_jax.apps.language.decoding.prefill import Prefill
from pangu_jax.apps.language.decoding.settings import Greedy, Sampling
from pangu_jax.apps.multimodal.embedding import filled
from pangu_jax.errors import UserError
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.language.model import incremental
from pangu_jax.workloads.multimodal import ImageTextModel
from pangu_jax.workloads.multimodal.model.language_tower import START, LanguageForward

END = 1  # of every caption


class Captioner:
    """A model that writes captions.

    Args:
      workload: whose decoder writes; UserError where it has none.
      params: {"image", "text", "join"}.
      run: how a forward pass is carried out.
    """

    def __init__(self, workload: ImageTextModel, params: Tree, run: RunContext):
        if not workload.config.text.memory_width:
            raise UserError(
                "the run has learnt no captions (ImageTextModel.caption_weight = 0): it cannot write them"
            )
        self.workload, self.params, self._run = workload, params, run

    def __call__(
        self, views_BxSxSxC: np.ndarray, settings: Greedy | Sampling | None = None, most: int | None = None
    ) -> list[str]:
        """A caption of each picture.

        Args:
          views_BxSxSxC: uint8, as the tower takes them.
          settings: how a token is chosen; the likeliest when None.
          most: tokens of a caption, its end among them; as many as captions have when None.
        """
        settings = settings or Greedy()
        data, most, count = self.workload.data, most or self.workload.data.length, len(views_BxSxSxC)
        views_BxSxSxC = filled(views_BxSxSxC, count, self._run)
        prefilled, cache = _begun(
            self._forward, self._weights, self._memory(self.params, views_BxSxSxC), most
        )
        size = len(views_BxSxSxC)
        start_Bx1 = np.full((size, 1), START, np.int32)
        texts = stepping.begin(self._forward, prefilled, cache, start_Bx1, most, np.zeros(size, bool))
        seed = settings.seed if isinstance(settings, Sampling) else 0
        keys_B = draw_keys.keys(_words(views_BxSxSxC, seed))
        texts = stepping.advance(
            self._forward, prefilled, texts, keys_B, None, most, prefix_len=0, settings=settings, end=END
        )
        return [data.vocabulary.decode(row[1:].tolist()) for row in np.asarray(texts.history_BxW)[:count]]

    @property
    def _forward(self) -> Any:
        text: LanguageForward = self.workload.forward(self._run).text
        return text.inner

    @cached_property
    def _weights(self) -> Tree:
        return prepare(self._forward, self.params["text"])

    @cached_property
    def _memory(self) -> Any:
        forward = self.workload.forward(self._run)
        return jax.jit(lambda params, x: forward.memory(params, forward.seen(params, x)))


def _words(views_BxSxSxC: np.ndarray, seed: int) -> np.ndarray:
    """The keys of draws, uint32 [B, 2]: of the seed and the picture, and not of those beside it."""
    made = [hashlib.blake2b(f"{seed} ".encode() + view.tobytes(), digest_size=8) for view in views_BxSxSxC]
    return np.stack([np.frombuffer(one.digest(), "<u4") for one in made])


@partial(jax.jit, static_argnames=("forward", "columns"))
def _begun(forward: Any, weights: Tree, memory_BxUxD: jax.Array, columns: int) -> tuple[Prefill, Any]:
    batch, units = memory_BxUxD.shape[:2]
    memory = incremental.encode_memory(forward, weights, memory_BxUxD, jnp.ones((batch, units), bool))
    bias_HxL = incremental.bias_by_distance(forward.config, weights, columns)
    prefilled = Prefill(weights, memory, jnp.zeros(batch, jnp.int32), bias_HxL)
    return prefilled, incremental.empty_cache(forward, weights, batch, columns)
