"""notices.json: what a person must be told of a run's data, a line each."""

import json
import logging
from collections.abc import Sequence
from typing import Any

from pangu_jax.runs.json_files import read_json
from pangu_jax.runs.run_directory import RunDirectory, write_atomically

log = logging.getLogger(__name__)


def write(directory: RunDirectory, lines: Sequence[str]) -> None:
    """Warn of each and keep them; those of an earlier session, if there are none now, are no more."""
    for line in lines:
        log.warning("%s", line)
    if lines or directory.notices.is_file():
        write_atomically(directory.notices, json.dumps(list(lines), ensure_ascii=False, indent=1) + "\n")


def read(directory: RunDirectory) -> list[str]:
    """The lines; [] where there are none.

    Raises:
      UserError: the file is damaged.
    """
    found: list[Any] = read_json(directory.notices, [])
    return [str(line) for line in found]
