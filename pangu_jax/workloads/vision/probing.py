"""What features tell of classes, without touching the model: a linear probe by least squares, and the vote of
the nearest neighbours.

Everything is chosen on labelled pictures alone. Of least squares each picture's answer by the others is known
in closed form, so strength and temperature take no second set:

    hat_nn = 1/N + sum_r U_nr^2 s_r^2 / (s_r^2 + strength)
    left out_n = y_n - (y_n - fitted_n) / (1 - hat_nn)

with U and s the singular vectors and values of the centred features (Allen's PRESS).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, special

STRENGTHS = tuple(10.0 ** (half / 2) for half in range(-8, 7))  # of regularisation, per picture
NEGLIGIBLE = 1e-10  # share of the largest eigenvalue below which a direction is rounding
CHUNK = 1024  # pictures whose similarities are held at once


class Standard(NamedTuple):
    """How features are brought to mean 0 and deviation 1: by pictures that need no labels."""

    mean_F: np.ndarray
    deviation_F: np.ndarray

    @classmethod
    def of(cls, features_NxF: np.ndarray) -> "Standard":
        """By these features. What never changes stays as it is."""
        deviation_F = features_NxF.std(0, dtype=np.float64)
        deviation_F[deviation_F < 1e-6] = 1.0
        mean_F = features_NxF.mean(0, dtype=np.float64)
        return cls(mean_F.astype(np.float32), deviation_F.astype(np.float32))

    def __call__(self, features_NxF: np.ndarray) -> np.ndarray:
        """fp32 [N, F]."""
        return ((features_NxF - self.mean_F) / self.deviation_F).astype(np.float32)


class FittedProbe(NamedTuple):
    """A linear classifier.

    Attributes:
      kernel_FxC, bias_C: float64.
      strength: of regularisation, per picture, that was chosen.
      temperature: scores are divided by it before a softmax makes probabilities of them.
    """

    kernel_FxC: np.ndarray
    bias_C: np.ndarray
    strength: float
    temperature: float

    def scores(self, features_NxF: np.ndarray) -> np.ndarray:
        """[N, C], about 1 for the class and 0 for the others."""
        return features_NxF @ self.kernel_FxC.astype(np.float32) + self.bias_C.astype(np.float32)

    def probabilities(self, features_NxF: np.ndarray) -> np.ndarray:
        """[N, C], each row adding up to 1."""
        return special.softmax(self.scores(features_NxF) / self.temperature, axis=1)


def fit_probe(
    features_NxF: np.ndarray,
    label_N: np.ndarray,
    classes: int,
    strengths: Sequence[float] = STRENGTHS,
) -> FittedProbe:
    """Ridge regression of one-hot labels; of the strengths that which answers most pictures right that it has
    not seen, the larger among equals; the temperature that makes those answers likeliest.

    Args:
      features_NxF: standardised, of labelled pictures, two at least.
      label_N: int, from 0 to `classes` - 1.
      classes: how many there are.
      strengths: to choose from, per picture.
    """
    count = len(features_NxF)
    x = features_NxF.astype(np.float64)
    y = np.eye(classes)[label_N]
    mean_F, mean_C = x.mean(0), y.mean(0)
    x, y = x - mean_F, y - mean_C
    u_NxR, squared_R = _left_vectors(x)
    inside_RxC = u_NxR.T @ y
    best: tuple[int, float, np.ndarray] | None = None
    for strength in sorted(strengths, reverse=True):
        shrink_R = squared_R / (squared_R + strength * count)
        hat_N = 1 / count + (u_NxR**2) @ shrink_R
        residual_NxC = y - u_NxR @ (shrink_R[:, None] * inside_RxC)
        left_out_NxC = y - residual_NxC / np.maximum(1 - hat_N, 1e-9)[:, None] + mean_C
        right = int((left_out_NxC.argmax(1) == label_N).sum())
        if best is None or right > best[0]:
            best = right, strength, left_out_NxC
    assert best is not None
    _, strength, left_out_NxC = best
    kernel_FxC = x.T @ (u_NxR @ (inside_RxC / (squared_R + strength * count)[:, None]))
    return FittedProbe(
        kernel_FxC, mean_C - mean_F @ kernel_FxC, strength, likeliest_temperature(left_out_NxC, label_N)
    )


def likeliest_temperature(scores_NxC: np.ndarray, label_N: np.ndarray) -> float:
    """What scores are divided by so that the softmax gives the labels the highest probability (Guo et al.,
    arXiv 1706.04599)."""

    def loss(log_temperature: float) -> float:
        scaled = scores_NxC / np.exp(log_temperature)
        own = np.take_along_axis(scaled, label_N[:, None], 1)[:, 0]
        return float(np.mean(special.logsumexp(scaled, axis=1) - own))

    return float(np.exp(optimize.minimize_scalar(loss, bounds=(-7.0, 5.0), method="bounded").x))


def neighbour_votes(
    features_NxF: np.ndarray,
    label_N: np.ndarray,
    classes: int,
    asked_MxF: np.ndarray,
    neighbours: int = 20,
    temperature: float = 0.07,
) -> np.ndarray:
    """Votes by class, fp32 [M, C]: exp(cosine / temperature) of each of the nearest (Wu et al., arXiv
    1805.01978).

    Args:
      features_NxF: of labelled pictures.
      label_N: int, from 0 to `classes` - 1.
      classes: how many there are.
      asked_MxF: of the pictures that are classified.
      neighbours: how many vote; all where there are fewer.
      temperature: of the votes.
    """
    hot_NxC = np.eye(classes, dtype=np.float32)
    votes = []
    for first in range(0, len(asked_MxF), CHUNK):
        nearest, cosine = nearest_neighbours(features_NxF, asked_MxF[first : first + CHUNK], neighbours)
        weights = np.exp((cosine - 1) / temperature)
        votes.append(np.einsum("mk,mkc->mc", weights, hot_NxC[label_N[nearest]]))
    return np.concatenate(votes)


def nearest_neighbours(
    features_NxF: np.ndarray, asked_MxF: np.ndarray, neighbours: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the nearest by cosine, nearest first, int [M, K], and their cosines, fp32 [M, K].

    Args:
      features_NxF: what is searched.
      asked_MxF: what neighbours are wanted of; a few, all similarities are held at once.
      neighbours: K; all where there are fewer.
    """
    cosine_MxN = unit(asked_MxF.astype(np.float32)) @ unit(features_NxF.astype(np.float32)).T
    few = min(neighbours, len(features_NxF))
    nearest = np.argpartition(-cosine_MxN, few - 1, axis=1)[:, :few]
    cosine = np.take_along_axis(cosine_MxN, nearest, 1)
    order = np.argsort(-cosine, axis=1, kind="stable")
    return np.take_along_axis(nearest, order, 1), np.take_along_axis(cosine, order, 1)


def _left_vectors(x_NxF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """U and squared singular values, of the smaller of the two Gram matrices."""
    if len(x_NxF) <= x_NxF.shape[1]:
        squared_R, u_NxR = np.linalg.eigh(x_NxF @ x_NxF.T)
        kept = squared_R > NEGLIGIBLE * squared_R[-1]
        return u_NxR[:, kept], squared_R[kept]
    squared_R, v_FxR = np.linalg.eigh(x_NxF.T @ x_NxF)
    kept = squared_R > NEGLIGIBLE * squared_R[-1]
    return x_NxF @ (v_FxR[:, kept] / np.sqrt(squared_R[kept])), squared_R[kept]


def unit(x_NxF: np.ndarray) -> np.ndarray:
    """Rows of length 1, in their dtype; rows of zeros stay."""
    return x_NxF / np.maximum(np.linalg.norm(x_NxF, axis=1, keepdims=True), 1e-12)
