"""The checkpoint of a run that counts: the one asked for, the best where the run names it, or the newest."""

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from pangu_jax.errors import UserError
from pangu_jax.runs import best_step, checkpoint_files, room
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.workloads import NOTHING, Variables

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoundCheckpoint:
    """A checkpoint that can be used; no array is read yet.

    Attributes:
      directory: the run.
      asked: the step that was asked for, or the best; None for the newest.
      step: the step found.
      manifest: of that step.
      checkpoints: reads it.
    """

    directory: RunDirectory
    asked: int | None
    step: int
    manifest: dict[str, Any]
    checkpoints: Checkpoints

    def restore(
        self, entries: Mapping[str, Any], fingerprint: Mapping[str, str], times: int = 1
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Entries of the state by abstract trees, and the manifest of the checkpoint that they are from.

        UserError before any is read where they do not fit `times` into memory.
        """
        room.require_memory(entries, self.directory.path, times)
        return self.checkpoints.restore_entries(entries, self.asked, fingerprint)

    def variables(
        self, wanted: Variables, fingerprint: Mapping[str, str], times: int = 1
    ) -> tuple[Variables, dict[str, Any]]:
        """Parameters and extra state by abstract trees, without constants; and that manifest."""
        entries = {"params": wanted.params, "extra": wanted.extra}
        entries = {name: tree for name, tree in entries.items() if jax.tree.leaves(tree)}
        restored, manifest = self.restore(entries, fingerprint, times)
        return Variables(restored["params"], restored.get("extra", NOTHING)), manifest


def require_run(run_dir: str | Path, named_by: str = "--run_dir") -> RunDirectory:
    """A run directory with a checkpoint; no device is touched.

    Args:
      run_dir: the run.
      named_by: the flag that names it, for messages.

    Raises:
      UserError: there is none.
    """
    directory = RunDirectory(run_dir)
    if not directory.path.is_dir():
        raise UserError(f"there is no run directory {directory.path}; name one with {named_by}")
    if not checkpoint_files.committed_steps(directory.checkpoints):
        raise UserError(f"no checkpoint in {directory.checkpoints}; train first, or name another run")
    return directory


@contextmanager
def find(directory: RunDirectory, step: int | None = None) -> Generator[FoundCheckpoint]:
    """The checkpoint of `step`, or the best one where the run names it, or the newest. It can be read while
    the context lasts, once the caller has chosen devices.

    A damaged checkpoint, whether arrays or manifest, is reported and the one before it is taken; it stays
    where it is.

    Raises:
      UserError: there is none of that step, or none that can be used.
    """
    with Checkpoints(directory.checkpoints, read_only=True) as checkpoints:
        asked = _best(directory, checkpoints) if step is None else step
        chosen, manifest = checkpoints.newest_sound(asked)
        yield FoundCheckpoint(directory, asked, chosen, manifest, checkpoints)


def _best(directory: RunDirectory, checkpoints: Checkpoints) -> int | None:
    """The step that a run names as its best; None where it names none, or that one is damaged."""
    if (best := best_step.read(directory)) is None:
        return None
    try:
        return checkpoints.newest_sound(best.step)[0]
    except UserError as error:
        log.warning("the best step of %s cannot be used: %s", directory.path, error)
        return None
