"""How a run names the run that it was made from, so that both can be moved together and neither be mistaken.

A name is JSON for a manifest: {"path": relative to the run that holds it, "step", "sha256"}. The hash is of
the list of file sizes and checksums that the base's checkpoint has of itself. So no weights are read to
compare it; that they are as listed is checked when they are restored, as for every checkpoint.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pangu_jax.errors import UserError
from pangu_jax.runs import checkpoint_files
from pangu_jax.runs.run_directory import RunDirectory


def name(directory: Path, base: Path, step: int) -> dict[str, Any]:
    """The name, for the run in `directory`, of a checkpoint of the run in `base`.

    Raises:
      UserError: there is no such checkpoint.
    """
    checkpoints = RunDirectory(base).checkpoints
    if step not in checkpoint_files.committed_steps(checkpoints):
        raise UserError(f"no checkpoint of step {step} in {checkpoints}; name another run, or another step")
    return {
        "path": os.path.relpath(os.path.realpath(base), os.path.realpath(directory)),
        "step": step,
        "sha256": checkpoint_files.digest(checkpoints / str(step)),
    }


def find(directory: Path, named: Mapping[str, Any]) -> Path:
    """The run directory of the base that the run in `directory` names.

    Raises:
      UserError: it was moved, deleted or trained on since.
    """
    base = Path(os.path.normpath(Path(os.path.realpath(directory)) / named["path"]))
    if not base.is_dir():
        raise UserError(
            f"{directory} was made from {base}, which is not there: bring it back, or move both together"
        )
    checkpoints, step = RunDirectory(base).checkpoints, named["step"]
    steps = checkpoint_files.committed_steps(checkpoints)
    if step not in steps:
        there = f"steps {', '.join(map(str, steps))}" if steps else "none"
        raise UserError(
            f"{directory} was made from step {step} of {base}, which has {there} now: it was trained on "
            "since; bring that checkpoint back, or tune again"
        )
    if checkpoint_files.digest(checkpoints / str(step)) != named["sha256"]:
        raise UserError(
            f"{directory} was made from another checkpoint than {base} now has at step {step}; "
            "bring that one back, or tune again"
        )
    return base
