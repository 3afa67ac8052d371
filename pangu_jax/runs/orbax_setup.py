"""How Orbax is set up here: what it keeps, how it writes, and what it need not say.

Its `CheckpointManager` is used rather than its v1 API, which in 0.12 still lives under `experimental`. OCDBT
keeps the files few (about 20, not 2 per array), zarr3 reads back fastest, and weights do not compress, so
compression is off.
"""

import logging
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from pangu_jax.runs.checkpoint_files import EXPIRED

SAVE_TIMEOUT = 3600  # seconds; a terabyte over a network file system takes its time

# These reach us as exceptions too, and become one line for a person.
SAID_TWICE = ("Event loop is closed", "Encountered error while reading array index")

DISK_TROUBLES = (
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    "Read-only file system",
    "Permission denied",
)


def open_manager(
    directory: Path,
    keep: int,
    keep_every: int | None,
    keep_also: Collection[int],
    read_only: bool,
    before_commit: Callable[[], None],
) -> ocp.CheckpointManager:
    """The manager of `directory`, with the items "state" (a pytree) and "manifest" (JSON) in every step.

    `keep_also` may change; what is in it when a step is saved is kept. `before_commit` runs in the first
    process's writing thread when all files of a step are written, but it does not yet have its number.
    """
    quiet_orbax()
    options = ocp.CheckpointManagerOptions(
        preservation_policy=retention(keep, keep_every, keep_also),
        create=not read_only,
        read_only=read_only,
        cleanup_tmp_directories=not read_only,
        # Renamed away first: a step half removed under its number would pass for a damaged one.
        todelete_subdir=EXPIRED,
        # `before_commit` is called only when asynchronous; who wants to wait, waits.
        enable_async_checkpointing=True,
        async_options=ocp.AsyncOptions(timeout_secs=SAVE_TIMEOUT, post_finalization_callback=before_commit),
    )
    registry = ocp.DefaultCheckpointHandlerRegistry()
    arrays = ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_zarr3=True, use_compression=False)
    registry.add("state", ocp.args.PyTreeSave, arrays)
    registry.add("state", ocp.args.PyTreeRestore, arrays)
    registry.add("manifest", ocp.args.JsonSave, ocp.JsonCheckpointHandler())
    return ocp.CheckpointManager(directory, options=options, handler_registry=registry)


def retention(
    keep: int, keep_every: int | None, keep_also: Collection[int]
) -> ocp.checkpoint_managers.PreservationPolicy:
    """The newest `keep` steps, whatever was measured of them, the multiples of `keep_every` and what is in
    `keep_also` at the time. (Orbax's own BestN drops the newest, from which a run resumes.)"""
    policies: list[ocp.checkpoint_managers.PreservationPolicy] = [
        ocp.checkpoint_managers.LatestN(keep),
        _Named(keep_also),
    ]
    if keep_every:
        policies.append(ocp.checkpoint_managers.EveryNSteps(keep_every))
    return ocp.checkpoint_managers.AnyPreservationPolicy(policies)


@dataclass
class _Named:
    """Preserves the steps of a collection (`ocp.checkpoint_managers.PreservationPolicy`)."""

    steps: Collection[int]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        del context
        return [checkpoint.step in self.steps for checkpoint in checkpoints]


def quiet_orbax() -> None:
    """Keep Orbax and TensorStore from printing tracebacks of what they raise as well, and advice about saves
    that wait for one another. A second call changes nothing."""
    absl = logging.getLogger("absl")
    if _not_from_orbax in absl.filters:
        return
    absl.addFilter(_not_from_orbax)
    previous = sys.unraisablehook

    def hook(unraisable) -> None:
        if not any(text in str(unraisable.exc_value) for text in SAID_TWICE):
            previous(unraisable)

    sys.unraisablehook = hook


def disk_trouble(error: Exception) -> str | None:
    """What is wrong with the disk, if that is why a save failed. TensorStore gives errno only as text."""
    return next((trouble for trouble in DISK_TROUBLES if trouble in str(error)), None)


def _not_from_orbax(record: logging.LogRecord) -> bool:
    return "/orbax/" not in record.pathname
