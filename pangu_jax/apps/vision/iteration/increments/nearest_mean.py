"""Nearest class mean on frozen features: no learning, and hard to beat where the trunk is good."""

from dataclasses import dataclass

import gin
import numpy as np

from pangu_jax.apps.vision.iteration.increments.head_fit import UNSEEN
from pangu_jax.apps.vision.iteration.increments.method import IncrementLearnt, State
from pangu_jax.apps.vision.iteration.increments.task import IncrementTask
from pangu_jax.workloads.vision import probing


@gin.configurable
@dataclass(frozen=True)
class NearestMean:
    """The class whose mean is nearest; of a class all its pictures count, and none is kept.

    Args:
      whiten: 0 for cosines; otherwise distances are Mahalanobis's, by the covariance within classes of all
        increments so far, shrunk by so much towards its mean eigenvalue (linear discriminants, which need
        sums alone: Hayes and Kanan, arXiv 1909.01520).
    """

    whiten: float = 0.0

    @property
    def name(self) -> str:
        """In tables."""
        return "nearest mean, whitened" if self.whiten else "nearest mean"

    def learn(self, state: State | None, task: IncrementTask) -> IncrementLearnt:
        """See `IncrementMethod`."""
        x_RxF = task.views_NxVxF[task.new, 0].astype(np.float32)
        labels, classes, width = task.label_N[task.new], len(task.seen_C), x_RxF.shape[1]
        begun = {
            "mean": np.zeros((classes, width), np.float32),
            "within": np.zeros((width, width), np.float32),
            "count": np.zeros((), np.float32),
        }
        found = dict(state or begun)
        found["mean"] = found["mean"].copy()
        for c in np.unique(labels):
            found["mean"][c] = x_RxF[labels == c].mean(0)
        apart_RxF = x_RxF - found["mean"][labels]
        found["within"] = found["within"] + apart_RxF.T @ apart_RxF
        found["count"] = found["count"] + np.float32(len(labels))
        kept = found["mean"].nbytes + (found["within"].nbytes if self.whiten else 0)
        flops = 2.0 * width * len(labels) * (1 + (width if self.whiten else 0))
        return IncrementLearnt(found, flops, kept, len(task.new))

    def scores(self, state: State, features_MxF: np.ndarray, seen_C: np.ndarray) -> np.ndarray:
        """See `IncrementMethod`."""
        x_MxF, mean_CxF = features_MxF.astype(np.float32), state["mean"]
        if self.whiten:
            within = state["within"] / state["count"]
            width = len(within)
            shrunk = (1 - self.whiten) * within + self.whiten * np.trace(within) / width * np.eye(width)
            turned_FxC = np.linalg.solve(shrunk, mean_CxF.T)
            found_MxC = x_MxF @ turned_FxC - 0.5 * np.einsum("cf,fc->c", mean_CxF, turned_FxC)
        else:
            found_MxC = probing.unit(x_MxF) @ probing.unit(mean_CxF).T
        return np.where(seen_C, found_MxC, UNSEEN)
