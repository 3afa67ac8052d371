"""Accuracy and macro-F1 over labels."""

from collections.abc import Sequence

from pangu_jax.errors import UserError


def accuracy(predicted: Sequence[str], gold: Sequence[str]) -> float:
    """Percent of predictions that equal their gold label.

    Raises:
      UserError: the lengths differ, or there is nothing to score.
    """
    from sklearn import metrics

    _check(predicted, gold)
    return 100 * float(metrics.accuracy_score(gold, predicted))


def macro_f1(predicted: Sequence[str], gold: Sequence[str], labels: Sequence[str] | None = None) -> float:
    """Mean over labels of the F1 of each, percent.

    Args:
      predicted: labels of a model.
      gold: true labels.
      labels: over which the mean goes; those that occur in `gold` unless given. One that is never predicted
        has F1 0; one that neither occurs nor is predicted counts 0 too, so name only what is tested.

    Raises:
      UserError: as `accuracy`.
    """
    from sklearn import metrics

    _check(predicted, gold)
    labels = sorted(set(gold)) if labels is None else list(labels)
    return 100 * float(metrics.f1_score(gold, predicted, labels=labels, average="macro", zero_division=0))


def _check(predicted: Sequence[str], gold: Sequence[str]) -> None:
    if len(predicted) != len(gold) or not gold:
        raise UserError(
            f"accuracy: {len(predicted)} predictions for {len(gold)} labels: give one for each label"
        )
