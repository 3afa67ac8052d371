"""Accuracy of sub-models that were not measured, from those that were."""

from collections.abc import Mapping, Sequence

import numpy as np

from pangu_jax.workloads.vision.model.slicing import SubModel

STRENGTH = 1e-3  # of regularisation, per sub-model


def predicted(measured: Mapping[SubModel, float], parts: Sequence[SubModel]) -> dict[SubModel, float]:
    """Accuracy by ridge regression on the logarithms of width and of each stage's depth.

    Args:
      measured: accuracy of some; one is enough, and then all are thought to be like it.
      parts: whose accuracy is wanted.
    """
    x_NxF = _described(list(measured))
    y_N = np.array(list(measured.values()), float)
    mean_F, mean = x_NxF.mean(0), y_N.mean()
    x_NxF = x_NxF - mean_F
    gram_FxF = x_NxF.T @ x_NxF + STRENGTH * len(y_N) * np.eye(x_NxF.shape[1])
    weight_F = np.linalg.solve(gram_FxF, x_NxF.T @ (y_N - mean))
    found = mean + (_described(parts) - mean_F) @ weight_F
    return dict(zip(parts, map(float, found), strict=True))


def left_out_error(measured: Mapping[SubModel, float]) -> float | None:
    """Mean distance between accuracy and what the others predict of it; None of fewer than three."""
    if len(measured) < 3:
        return None
    missed = []
    for part, value in measured.items():
        others = {other: accuracy for other, accuracy in measured.items() if other != part}
        missed.append(abs(predicted(others, [part])[part] - value))
    return float(np.mean(missed))


def _described(parts: Sequence[SubModel]) -> np.ndarray:
    return np.log([[part.width, *part.depths] for part in parts])
