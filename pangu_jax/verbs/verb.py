"""What a verb of `pangu` is: its flags, and the public function it calls."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """What a verb gives back: `value` for --json, `text` for a person, `status` for the shell.

    None and empty where another process of a run tells.
    """

    value: Any
    text: str
    status: int = 0


@dataclass(frozen=True)
class Verb:
    """A line of `pangu --help`. `run` gets the parsed flags, with `bindings` a list of "NAME=VALUE"."""

    summary: str
    example: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Result]
    takes_recipe: bool = False
