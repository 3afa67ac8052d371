"""Which checkpoint of a directory can be restored: the newest one that is whole.

A damaged one is reported in one warning. Who writes the directory renames it to STEP.corrupt, so that it
neither counts as kept nor is in the way of a save; who only reads leaves it where it is.
"""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from pangu_jax.errors import UserError
from pangu_jax.runs import checkpoint_files as files

log = logging.getLogger(__name__)


class SoundSteps:
    """The steps of a directory of checkpoints; all processes are given the same answers.

    Args:
        directory: where they are.
        read_only: whether this program only reads there.
    """

    def __init__(self, directory: Path, read_only: bool):
        self._directory = directory
        self._read_only = read_only
        self._known: dict[int, str | None] = {}  # of a reader: what it found, None for a sound step
        self._reported: set[int] = set()

    def candidates(self, step: int | None) -> list[int]:
        """Newest first, or `step` alone. UserError where there is none."""
        steps = files.committed_steps(self._directory)
        if not steps or (step is not None and step not in steps):
            wanted = "no checkpoint" if step is None else f"no checkpoint of step {step}"
            there = (
                f"it has steps {', '.join(map(str, steps))}" if steps else "train first, or name another run"
            )
            raise UserError(f"{wanted} in {self._directory}; {there}")
        return steps[::-1] if step is None else [step]

    def first(self, steps: list[int], faults: dict[int, str]) -> int | None:
        """The first of `steps` without a fault; what is wrong with those before it goes into `faults`."""
        chosen = -1
        if jax.process_index() == 0:
            for step in steps:
                if step in faults:
                    continue
                why = self._fault(step)
                if why is None:
                    chosen = step
                    break
                faults[step] = why
        if jax.process_count() > 1:
            chosen = int(multihost_utils.broadcast_one_to_all(np.int32(chosen)))
        return None if chosen < 0 else chosen

    def step_over(self, faults: Mapping[int, str], chosen: int) -> None:
        """Report damaged steps, and set them aside."""
        for step, why in faults.items():
            damaged = self._directory / str(step)
            if step not in self._reported:
                log.warning("checkpoint %s is damaged: %s; step %d is taken instead", damaged, why, chosen)
            if self._read_only:
                self._reported.add(step)  # it may be met again
            else:
                aside = damaged.with_name(damaged.name + files.CORRUPT_SUFFIX)
                shutil.rmtree(aside, ignore_errors=True)  # of an earlier time
                damaged.rename(aside)
        if not self._read_only and jax.process_count() > 1:
            multihost_utils.sync_global_devices("pangu_jax: damaged checkpoints set aside")

    def none_usable(self, faults: Mapping[int, str]) -> UserError:
        """What to raise where all are damaged."""
        return UserError(
            f"no usable checkpoint in {self._directory}: {files.list_faults(faults.items())}; "
            "bring the files back from a copy, or train anew in another run directory"
        )

    def _fault(self, step: int) -> str | None:
        """What is damaged of a step. A reader sums the bytes of each step once."""
        if not self._read_only:
            return files.fault(self._directory / str(step))
        if step not in self._known:
            self._known[step] = files.fault(self._directory / str(step))
        return self._known[step]
