"""Which pictures are held out: as the source says, or a share of every class, and never half of a group.

A side is decided by a hash and by nothing that happens at run time: the same pictures are held out on every
machine, and a picture stays on its side when others of its class are added or taken away, all but those at
the boundary.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from data_pipelines.errors import DataError

# What folders and files of a source that is split already are called.
TRAIN = ("train", "training")
HELD_OUT = ("val", "valid", "validation", "test", "testing", "dev")


def told(name: str) -> str | None:
    """ "train" or "validation" by the name of a folder or file; None for any other name."""
    stem = name.lower().split(".")[0].split("-")[0]
    return "train" if stem in TRAIN else "validation" if stem in HELD_OUT else None


def held_out(keys: Sequence[str], labels: Sequence[str | None], fraction: float) -> np.ndarray:
    """True for pictures that are held out, bool [N].

    Args:
      keys: of each picture its group; pictures that are alone have a key of their own, such as their digest.
      labels: the class of each; a group counts for the class that most of its pictures have.
      fraction: of the pictures of every class; at least one picture, where a class has two groups.

    Raises:
      DataError: the fraction is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise DataError(f"images.validation_fraction {fraction} must be between 0 and 1")
    members: dict[str, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        members[key].append(place)
    of_class: dict[str, list[str]] = defaultdict(list)
    for key, places in members.items():
        names = sorted(str(labels[place]) for place in places)
        of_class[max(names, key=names.count)].append(key)
    found = np.zeros(len(keys), bool)
    for groups in of_class.values():
        if len(groups) < 2:
            continue
        groups.sort(key=lambda key: hashlib.sha256(key.encode()).digest())
        wanted = max(1, round(fraction * sum(len(members[key]) for key in groups)))
        taken = 0
        for key in groups[: math.ceil(len(groups) / 2)]:  # never more than half of the groups
            # The one that would pass the mark by more than it is short of it is left.
            if taken and taken + len(members[key]) / 2 > wanted:
                break
            found[members[key]] = True
            taken += len(members[key])
            if taken >= wanted:
                break
    return found


def folds(keys: Sequence[str], counts_NxC: np.ndarray, number: int) -> np.ndarray:
    """Which of `number` folds each picture is in, int32 [N]: groups whole, and of every kind about as many.

    From the group with most to that with fewest, each goes where it leaves the shares of all kinds most even;
    of groups that are alike the order is by a hash. So a fold hangs on nothing that happens at run time.

    Args:
      keys: of each picture its group.
      counts_NxC: of each picture how many things of each kind it has.
      number: of folds, 2 at least.

    Raises:
      DataError: there are fewer groups than folds.
    """
    names, group_N = np.unique(np.asarray(keys, object).astype(str), return_inverse=True)
    if not 2 <= number <= len(names):
        raise DataError(f"{number} folds of {len(names)} groups: give from 2 folds on, and a group for each")
    # Pictures are a kind of their own, so that those with nothing in them are spread too.
    kinds_NxK = np.concatenate([counts_NxC, np.ones((len(keys), 1))], axis=1)
    own_GxK = np.zeros((len(names), kinds_NxK.shape[1]))
    np.add.at(own_GxK, group_N, kinds_NxK)
    own_GxK /= np.maximum(own_GxK.sum(axis=0), 1)
    order = sorted(
        range(len(names)),
        key=lambda at: (-own_GxK[at].max().round(9), hashlib.sha256(names[at].encode()).digest()),
    )
    filled_FxK = np.zeros((number, own_GxK.shape[1]))
    fold_G = np.zeros(len(names), np.int32)
    for at in order:
        after_F = [np.square(row + own_GxK[at]).sum() - np.square(row).sum() for row in filled_FxK]
        fold_G[at] = int(np.argmin(after_F))
        filled_FxK[fold_G[at]] += own_GxK[at]
    return fold_G[group_N]
