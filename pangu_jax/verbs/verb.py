"""What a verb of `pangu` is: its flags, and the public function it calls."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from pangu_jax.result import Result


@dataclass(frozen=True)
class Verb:
    """A line of `pangu --help`. `run` gets the parsed flags, with `bindings` a list of "NAME=VALUE".

    A verb that opens a run has --backend, and bindings of the layout apart from the others, as `layout`.
    """

    summary: str
    example: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Result]
    takes_recipe: bool = False
    opens_run: bool = False
