"""An example of a benchmark task, and the windows of one that is too long."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from data_pipelines.errors import DataError

JOINED = "；"  # between the intents of one utterance
_WINDOW = "#"


@dataclasses.dataclass(frozen=True)
class Example:
    """What is asked and what is right.

    Attributes:
      id: unique in its split.
      fields: texts by name, which patterns put together.
      label: one of the task's labels; of a choice, the right option; of intents, all of them sorted and
        joined by "；". None where the owners keep it.
      options: what may be chosen, where every example has its own.
      references: texts that are right: answers, a summary, or the intents' names joined by "；".
    """

    id: str
    fields: Mapping[str, str]
    label: str | None
    options: tuple[str, ...] = ()
    references: tuple[str, ...] = ()


class Windowed(NamedTuple):
    """Examples of which none is over-long. `cut`: so many were; `added`: windows beyond one for each."""

    examples: list[Example]
    cut: int
    added: int


def windows(example: Example, length: int, stride: int, field: str | None = None) -> list[Example]:
    """The example once for every window of its longest field, or of `field`: nothing is cut off silently.

    Args:
      length: characters of a window; a shorter text is one window, the example as it is.
      stride: characters from the begin of a window to the next one's; the last window ends with the text.

    Returns:
      Examples with ids "ID#0", "ID#1", ...; label, options and references are the whole example's, also where
      the window does not hold the answer. `origin` undoes the id.

    Raises:
      DataError: not 0 < stride <= length, or no such field.
    """
    if not 0 < stride <= length:
        raise DataError(f"windows: stride {stride} must be at least 1 and not above the length {length}")
    if field is None:
        field = max(example.fields, key=lambda name: len(example.fields[name]))
    if field not in example.fields:
        raise DataError(f"windows: {example.id} has no field {field!r}, but {', '.join(example.fields)}")
    text = example.fields[field]
    if len(text) <= length:
        return [example]
    begins = [*range(0, len(text) - length, stride), len(text) - length]
    return [
        dataclasses.replace(
            example,
            id=f"{example.id}{_WINDOW}{number}",
            fields={**example.fields, field: text[begin : begin + length]},
        )
        for number, begin in enumerate(begins)
    ]


def windowed(examples: Iterable[Example], length: int, stride: int, field: str | None = None) -> Windowed:
    """All examples by `windows`, and how many were too long."""
    parts = [windows(example, length, stride, field) for example in examples]
    flat = [window for part in parts for window in part]
    return Windowed(flat, sum(len(part) > 1 for part in parts), len(flat) - len(parts))


def origin(window_id: str) -> str:
    """The id of the example that a window is of; an example's own id is itself."""
    return window_id.split(_WINDOW)[0]
