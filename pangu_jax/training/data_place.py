"""The place of a run in its data: how many examples it has read, whatever the batch sizes were.

A checkpoint's manifest keeps the count, and what decided the order of the examples. One of an older version
has no count: its run was at step * batch_size of the recipe that the manifest holds.
"""

import logging
from collections.abc import Mapping
from typing import Any

from pangu_jax import recipes
from pangu_jax.recipes.functions import TRAIN, TUNE
from pangu_jax.workloads import TrainStream, Workload

log = logging.getLogger(__name__)
EXAMPLES, ORDER = "examples", "order"  # in a manifest


def order(workload: Workload, seed: int) -> dict[str, str]:
    """What decides which examples come when."""
    return {**workload.order(), "seed": str(seed)}


def examples_read(manifest: Mapping[str, Any], batch_size: int) -> int:
    """Examples that a run had read at a checkpoint.

    Args:
      manifest: the checkpoint's.
      batch_size: of an older checkpoint whose recipe does not say it.
    """
    if EXAMPLES in manifest:
        return manifest[EXAMPLES]
    return manifest["step"] * (_batch_size(manifest.get("recipe", "")) or batch_size)


def say_what_follows(manifest: Mapping[str, Any], now: Mapping[str, str], batch_size: int) -> None:
    """One warning where a run does not go on in the data as it began: what has changed, and what follows."""
    read = f"{examples_read(manifest, batch_size):,}"
    before = manifest.get(ORDER, {})
    if changed := [name for name in now if before.get(name, now[name]) != now[name]]:
        log.warning(
            "the training data are not those of the run so far: %s; after %s examples it goes on in another "
            "order, in which some of those come again before an epoch ends, and others are not read in it",
            ", ".join(f"{name} {before[name]} -> {now[name]}" for name in changed),
            read,
        )
        return
    was = _batch_size(manifest.get("recipe", "")) or batch_size
    if was != batch_size:
        log.warning(
            "batches had %d examples and have %d: the run goes on with the one after the %s it has read, so "
            "that none comes twice in an epoch and none is left out",
            was,
            batch_size,
            read,
        )


def _batch_size(recipe: str) -> int | None:
    """Of a resolved recipe's text; None where it does not say."""
    for function in (TRAIN, TUNE):
        text = recipes.value_in(recipe, f"{function.rpartition('.')[2]}.batch_size")
        if text and text.isdecimal() and int(text):
            return int(text)
    return None


class EpochLines:
    """Lines for a person when every example of a source has been read once more.

    The first nine ends, then every tenth up to the 99th, and so on: an epoch may be shorter than a batch.

    Args:
      stream: the run's.
      start: steps done before.
    """

    def __init__(self, stream: TrainStream, start: int):
        self._stream = stream
        self._done = stream.epochs(start - 1)

    def after(self, step: int) -> list[str]:
        """What ended with step number `step`, from 1; asked for each step in turn."""
        before, self._done = self._done, self._stream.epochs(step - 1)
        return [
            f"step {step}: epoch {epochs} of {name} ends"
            for name, epochs in self._done.items()
            if epochs != before[name] and len(str(epochs).rstrip("0")) == 1
        ]
