"""A batch of queries that is about to be answered."""

from typing import NamedTuple

import numpy as np

from pangu_jax.apps.language.decoding import guessing
from pangu_jax.apps.language.decoding.prefill import Prefill
from pangu_jax.workloads.language.model.incremental import Cache


class OpenBatch(NamedTuple):
    """Queries on the device, padded to a shape that programs exist for; all their tokens read but one."""

    prefilled: Prefill
    cache: Cache | guessing.OpenedGuesses
    history_BxG: np.ndarray
    is_padding_B: np.ndarray
    max_new: int
    words_Bx2: np.ndarray  # of the rows' keys

    @property
    def prefix_len(self) -> int:
        """Columns of the cache that hold prefixes."""
        return self.history_BxG.shape[1] - 1

    @property
    def guesses(self) -> bool:
        """Whether a step guesses a token further."""
        return isinstance(self.cache, guessing.OpenedGuesses)
