"""What a person must be told of pairs before they are learnt from."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data_pipelines.images import copies
from data_pipelines.pairs import preparing, shapes
from data_pipelines.pairs.pair_set import PairSet
from data_pipelines.pairs.sides import Sides


def lines(manifest: Mapping[str, Any], sides: Sides, hash_N: np.ndarray, held_out: PairSet) -> list[str]:
    """Of what is left out, of copies and of captions that are alike, a line each.

    Args:
      manifest: of the cache.
      sides: of its pictures.
      hash_N: `copies.difference_hash` of them, uint64.
      held_out: what is measured on.
    """
    said = [
        f"left out {line}"
        for line in preparing.left_out(
            manifest["pictures_set_aside"], manifest["captions_set_aside"], manifest["skipped_files"]
        )
    ]
    if count := manifest["exact_copies"]:
        said.append(f"{count} pictures are exact copies of others: each is one with the captions of all")
    said += sides.said
    if manifest["path"] != shapes.NAME:  # drawn ones are as alike as they are meant to be
        said += _near_copies(sides, hash_N, held_out)
    extra = held_out.links_by_sentence
    alike = int((np.bincount(extra[:, 0]) > np.bincount(held_out.links[:, 0])).sum()) if len(extra) else 0
    if alike:
        said.append(
            f"{alike} of {len(held_out.text)} captions that are held out have the words of one of another "
            "picture: who counts by pairs alone cannot find all of them at first"
        )
    return said


def _near_copies(sides: Sides, hash_N: np.ndarray, held_out: PairSet) -> list[str]:
    train, out = np.flatnonzero(sides.train_N), np.flatnonzero(sides.held_out_N)
    near = copies.near_copies(hash_N[train], hash_N[out])
    if not (count := len(np.unique(near[:, 1]))):
        return []
    one, other = (held_out.pictures.name(int(place)) for place in (train[near[0, 0]], out[near[0, 1]]))
    return [
        f"{count} of those held out ({count / len(out):.1%}) look like one that is trained on, such as "
        f"{other} and {one}: what is measured on them is too good"
    ]
