"""sessions.jsonl: one JSON object for each start of a run's trainer."""

import dataclasses
import datetime
import json
import re
from collections.abc import Sequence
from typing import Any

import pangu_jax
from pangu_jax.errors import UserError
from pangu_jax.runs.run_directory import RunDirectory, write_atomically


@dataclasses.dataclass(frozen=True)
class Session:
    """One start of a trainer in a run directory.

    Attributes:
      from_step: the step that was restored; 0 for a fresh start.
      steps: optimizer steps in all that it was asked for; None where that is not on record.
      started: local time with its offset, ISO 8601; "" where that is not on record.
      version: of pangu_jax; "" where that is not on record.
    """

    from_step: int
    steps: int | None = None
    started: str = ""
    version: str = ""


def begun(from_step: int, steps: int) -> Session:
    """The session of this process."""
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return Session(from_step, steps, now, pangu_jax.__version__)


def write(directory: RunDirectory, sessions: Sequence[Session]) -> None:
    """Write sessions.jsonl, wholly or not at all."""
    lines = [json.dumps(dataclasses.asdict(session)) + "\n" for session in sessions]
    write_atomically(directory.sessions, "".join(lines))


def read(directory: RunDirectory) -> list[Session]:
    """The sessions of a run, oldest first; [] where there was none.

    Raises:
      UserError: a line is not a session.
    """
    if not directory.sessions.is_file():
        return _from_text_of_version_0_1(directory)
    lines = directory.sessions.read_text("utf-8", errors="replace").splitlines()
    return [_session(directory, number, line) for number, line in enumerate(lines, start=1)]


def resumes(sessions: Sequence[Session]) -> list[int]:
    """Steps at which a later session took over, in order.

    Rows of metrics after the step that a session resumed from were dropped, and with them what earlier
    sessions resumed from there.
    """
    steps: list[int] = []
    for session in sessions:
        steps = [step for step in steps if step < session.from_step]
        if session.from_step:
            steps.append(session.from_step)
    return steps


def _session(directory: RunDirectory, number: int, line: str) -> Session:
    known = {field.name for field in dataclasses.fields(Session)}
    try:
        values: dict[str, Any] = json.loads(line)
        # A later version may say more of a session.
        session = Session(**{name: value for name, value in values.items() if name in known})
    except (ValueError, TypeError, AttributeError):
        session = None
    if session is None or not isinstance(session.from_step, int):
        raise UserError(f"{directory.sessions}, line {number} is not a session; fix or delete that line")
    return session


def _from_text_of_version_0_1(directory: RunDirectory) -> list[Session]:
    """What run directories of version 0.1, which have no sessions.jsonl, say in run.log and recipe.gin."""
    recipe = directory.previous_recipe()
    if recipe is None:
        return []
    log = directory.log.read_text("utf-8", errors="replace") if directory.log.is_file() else ""
    resumed = re.findall(r": resuming .* from step (\d+)$", log, re.MULTILINE)
    # `train.steps = 60`, or `train.steps = %STEPS  # 60`: the last session's.
    steps = re.search(r"^train\.steps = .*?(\d+)$", recipe, re.MULTILINE)
    sessions = [Session(step) for step in (0, *map(int, resumed))]
    last = dataclasses.replace(sessions[-1], steps=int(steps[1]) if steps else None)
    return [*sessions[:-1], last]
