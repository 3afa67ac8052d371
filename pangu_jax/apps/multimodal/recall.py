"""Recall and median rank both ways, with intervals: what `pangu eval` says of texts and pictures.

Ranks are those of `workloads/multimodal/ranks`: any of several right answers counts, ties are against the
model. Intervals are by the bootstrap over pictures, each drawn with all of its captions: captions of a photo
are not independent of each other. A text with several right pictures goes with the first of them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.evaluation import bootstrap
from pangu_jax.workloads.multimodal import ranks

Values = dict[str, dict[str, float]]  # measure -> way -> value


class RetrievalScores(NamedTuple):
    """Measures: `recall_at_K`, in percent, and `median_rank`; ways: `text_to_image`, `image_to_text`."""

    values: Values
    interval_95: dict[str, dict[str, tuple[float, float]]]
    chance: Values  # of the recalls: what a random order has on average
    texts: int  # that were asked
    pictures: int  # that were asked

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the measures by their names, and what stands beside them."""
        return {**self.values, "interval_95": self.interval_95, "chance": self.chance} | {
            "texts": self.texts,
            "pictures": self.pictures,
        }


def evaluate(
    text_TxE: np.ndarray,
    picture_PxE: np.ndarray,
    links_Lx2: np.ndarray,
    ks: Sequence[int] = (1, 5, 10),
    resamples: int = bootstrap.RESAMPLES,
) -> RetrievalScores:
    """Scores of all texts among all pictures, and the other way round.

    Args:
      text_TxE: fp32, of length 1.
      picture_PxE: fp32, of length 1.
      links_Lx2: int, (text, picture) of all right pairs.
      ks: of the recalls.
      resamples: of the bootstrap.

    Raises:
      UserError: there is no right pair.
    """
    links_Lx2 = np.unique(np.reshape(links_Lx2, (-1, 2)), axis=0)
    if not len(links_Lx2):
        raise UserError("retrieval: no text has a right picture, so there is nothing to be found")
    by_way = ranks.ranks_both_ways(text_TxE, picture_PxE, links_Lx2)
    values = ranks.measured(by_way, ks)
    text_way, picture_way = ranks.WAYS
    # Sorted, so the first link of a text is that of its first picture; who is not asked has weight 0 anyway.
    asked, first = np.unique(links_Lx2[:, 0], return_index=True)
    groups = {text_way: links_Lx2[first, 1], picture_way: np.unique(links_Lx2[:, 1])}
    asked_by_way = {text_way: by_way[text_way][asked], picture_way: by_way[picture_way][groups[picture_way]]}
    intervals: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in values}
    for way, rank_Q in asked_by_way.items():
        for k in ks:
            intervals[f"recall_at_{k}"][way] = bootstrap.grouped_interval(
                lambda weight_Q, rank_Q=rank_Q, k=k: ranks.recall(rank_Q, k, weight_Q), groups[way], resamples
            )
        intervals["median_rank"][way] = bootstrap.grouped_interval(
            lambda weight_Q, rank_Q=rank_Q: ranks.median_rank(rank_Q, weight_Q), groups[way], resamples
        )
    chance = {
        f"recall_at_{k}": {
            text_way: ranks.chance(links_Lx2, len(picture_PxE), k),
            picture_way: ranks.chance(links_Lx2[:, ::-1], len(text_TxE), k),
        }
        for k in ks
    }
    return RetrievalScores(values, intervals, chance, len(asked), len(groups[picture_way]))
