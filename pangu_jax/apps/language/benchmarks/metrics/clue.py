"""The means of CLUE and FewCLUE. A mean with a task missing is another number, so there is none.

Source: Xu et al., CLUE, COLING 2020 (arXiv 2004.05986); Xu et al., FewCLUE (arXiv 2107.07498).
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from pangu_jax.errors import UserError

# The later board has OCNLI where the first had CMNLI.
INFERENCE = ("ocnli", "cmnli")
CLASSIFICATION = ("afqmc", "tnews", "iflytek", "cluewsc2020", "csl")
READING = ("cmrc2018", "chid", "c3")
FEWCLUE = ("eprstmt", "csldcp", "tnews", "iflytek", "ocnli", "bustm", "chid", "csl", "cluewsc")


def classification(scores: Mapping[str, float]) -> float:
    """Mean accuracy of CLUE's six tasks of classification, with CMNLI or OCNLI, percent.

    Args:
      scores: percent by task, "afqmc" or "clue/afqmc".

    Raises:
      UserError: a task is missing (named), or both CMNLI and OCNLI are there.
    """
    return _mean(scores, _classification(scores))


def reading(scores: Mapping[str, float]) -> float:
    """Mean of CLUE's three tasks of reading, percent: of CMRC2018 the exact match alone, not its F1.

    Raises:
      UserError: as `classification`.
    """
    return _mean(scores, READING)


def total(scores: Mapping[str, float]) -> float:
    """CLUE's total: the mean of the nine tasks, not of the two means, percent.

    Raises:
      UserError: as `classification`.
    """
    return _mean(scores, (*_classification(scores), *READING))


def fewclue(scores: Mapping[str, float]) -> float:
    """FewCLUE's score: the mean accuracy of its nine tasks, percent.

    Args:
      scores: percent by task, "eprstmt" or "fewclue/eprstmt", each already a mean over splits.

    Raises:
      UserError: a task is missing (named).
    """
    return _mean(scores, FEWCLUE, "FewCLUE")


def _classification(scores: Mapping[str, float]) -> tuple[str, ...]:
    inference = [task for task in INFERENCE if task in _short(scores)]
    if len(inference) == 2:
        raise UserError("CLUE: give cmnli (first board) or ocnli (later board), not both: a mean has one")
    return (*CLASSIFICATION, *(inference or ["ocnli"]))


def _mean(scores: Mapping[str, float], tasks: Sequence[str], board: str = "CLUE") -> float:
    scores = _short(scores)
    if missing := [task for task in tasks if task not in scores]:
        raise UserError(f"{board}: no mean without {', '.join(missing)}: run what is missing too")
    return fmean(scores[task] for task in tasks)


def _short(scores: Mapping[str, float]) -> dict[str, float]:
    return {task.rpartition("/")[2]: score for task, score in scores.items()}
