"""What an increment is given: new classes, and a memory of old ones, by numbers that never change."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.workloads.vision import probing


class IncrementTask(NamedTuple):
    """One group of classes, as a method sees it.

    Attributes:
      views_NxVxF: features of the whole pool, plain view first; a method looks at
        `new` and `memory` alone.
      label_N: int, classes by their numbers in the whole set.
      new: rows of pictures of the new classes, of each those first that a memory keeps first.
      memory: rows kept of the classes before, as many of each.
      was_C: bool, classes before this increment.
      seen_C: bool, those and the new ones.
      seed: of what is drawn.
      per_class: pictures that the memory keeps of a class.
      picture_bytes: of a kept picture, its pixels.
    """

    views_NxVxF: np.ndarray
    label_N: np.ndarray
    new: np.ndarray
    memory: np.ndarray
    was_C: np.ndarray
    seen_C: np.ndarray
    seed: int
    per_class: int
    picture_bytes: int

    @property
    def rows(self) -> np.ndarray:
        """New pictures and the memory."""
        return np.concatenate([self.new, self.memory])

    @property
    def kept(self) -> np.ndarray:
        """An equal share of all classes: the memory, and of the new ones the first that it will keep."""
        labels = self.label_N[self.new]
        first = [self.new[labels == c][: self.per_class] for c in np.unique(labels)]
        return np.concatenate([*first, self.memory])


def groups_of(classes: int, groups: int, seed: int) -> list[np.ndarray]:
    """Numbers of the classes of each group, in an order drawn by the seed: those of the whole set.

    Raises:
      UserError: there are more groups than classes.
    """
    if not 1 <= groups <= classes:
        raise UserError(f"increment.groups = {groups}: from 1 to the {classes} classes that there are")
    order = np.random.default_rng([seed, 5]).permutation(classes)
    return [np.sort(part) for part in np.array_split(order, groups)]


def require_numbers(before: Sequence[str], seen: Sequence[int], classes: Sequence[str]) -> None:
    """UserError where a class that was learnt has another number now.

    Args:
      before: names of all classes when it was learnt.
      seen: numbers of those that were learnt.
      classes: names now.
    """
    for number in seen:
        name = before[number]
        if number >= len(classes) or classes[number] != name:
            now = f"has number {classes.index(name)} now" if name in classes else "is not there any more"
            raise UserError(
                f"class {name!r} was learnt as number {number} and {now}: classes are not renumbered between "
                "increments; give new ones names that sort behind the old ones, or name another --out"
            )


def herded(features_NxF: np.ndarray, count: int) -> np.ndarray:
    """Rows whose means come nearest to the mean of all, the best first (Rebuffi et al., iCaRL, arXiv
    1611.07725).

    Args:
      features_NxF: of one class.
      count: so many; all where there are fewer.
    """
    x = probing.unit(features_NxF.astype(np.float64))
    mean_F, total_F = x.mean(0), np.zeros(x.shape[1])
    chosen: list[int] = []
    open_N = np.ones(len(x), bool)
    for number in range(1, min(count, len(x)) + 1):
        apart_N = ((mean_F - (total_F + x) / number) ** 2).sum(1)
        chosen.append(int(np.where(open_N, apart_N, np.inf).argmin()))
        open_N[chosen[-1]] = False
        total_F += x[chosen[-1]]
    return np.array(chosen, np.int64)
