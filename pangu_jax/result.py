"""What a verb gives back."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """`value` for --json, `text` for a person, `status` for the shell.

    None and empty where another process of a run reports.
    """

    value: Any
    text: str
    status: int = 0
