"""best.json: the step of a run that counts, where it is not the newest (`pangu_jax.training.selection`)."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pangu_jax.runs import checkpoint_files
from pangu_jax.runs.json_files import read_json
from pangu_jax.runs.run_directory import RunDirectory, write_atomically


class BestStep(NamedTuple):
    """A step that counts.

    Attributes:
      step: which.
      values: what was measured of it, by name.
      ended: whether the run was ended because nothing better came.
    """

    step: int
    values: Mapping[str, Any]
    ended: bool = False


def write(directory: RunDirectory, best: BestStep) -> None:
    """Write best.json, wholly or not at all; step 0, before anything was measured, removes it."""
    if best.step:
        write_atomically(directory.best, json.dumps(best._asdict(), ensure_ascii=False, indent=1) + "\n")
    else:
        directory.best.unlink(missing_ok=True)


def read(directory: RunDirectory) -> BestStep | None:
    """None where no step is named, or its checkpoint is not there.

    Raises:
      UserError: the file is damaged.
    """
    found = read_json(directory.best, {})
    step = found.get("step")
    if step not in checkpoint_files.committed_steps(directory.checkpoints):
        return None
    return BestStep(step, found.get("values", {}), bool(found.get("ended")))
