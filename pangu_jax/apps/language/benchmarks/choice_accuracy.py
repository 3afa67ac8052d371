"""How often a model chooses right, by both scores in use: log p of a candidate, and log p per token of it.

Where candidates differ in length the two disagree, often by more than methods do, so that a row says both and
which of them is its headline.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pangu_jax.apps.language.benchmarks.candidates import CandidateQueries
from pangu_jax.apps.language.tuning.measuring import Measured
from pangu_jax.apps.language.tuning.settings import Tuning

SUMMED, NORMALISED, CLASSIFIER = "summed", "normalised", "classifier"


def scores(found: Measured, tuning: Tuning) -> dict[str, np.ndarray]:
    """Scores fp32 [N, C] by their kind, the headline's first: that by which the objective chooses.

    A classifier's candidates have no tokens, so that there is one kind.
    """
    if tuning.method.pool is not None:
        return {CLASSIFIER: found.scores}
    other = found.log_p if tuning.objective.normalised else found.log_p / found.lengths
    kinds = (NORMALISED, SUMMED) if tuning.objective.normalised else (SUMMED, NORMALISED)
    return dict(zip(kinds, (found.scores, other), strict=True))


def columns(
    asked: CandidateQueries, scored: Mapping[str, np.ndarray], priors: Mapping[str, np.ndarray] | None = None
) -> dict[str, Any]:
    """Of a row: `accuracy`, percent, the `headline` whose it is, and that of both kinds.

    Args:
      asked: the examples.
      scored: as `scores` gives them.
      priors: fp32 [C] by kind, taken off every score first.
    """
    found = {
        kind: round(asked.accuracy(asked.choices(score_NxC, (priors or {}).get(kind))), 2)
        for kind, score_NxC in scored.items()
    }
    headline = next(iter(found))
    row: dict[str, Any] = {"accuracy": found[headline], "headline": headline}
    if headline != CLASSIFIER:
        row |= {f"accuracy_{kind}": found[kind] for kind in (SUMMED, NORMALISED)}
    return row
