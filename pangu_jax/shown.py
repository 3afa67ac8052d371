"""What a verb found, for programs and for people."""

from typing import Any, NamedTuple


class Shown(NamedTuple):
    """`value` is JSON; `text` is what a person reads."""

    value: Any
    text: str
