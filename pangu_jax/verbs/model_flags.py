"""The flags that name a run's model, of the verbs that ask it for text; and the model itself."""

import argparse
from typing import TYPE_CHECKING

from pangu_jax.errors import UserError
from pangu_jax.verbs import device_flags

if TYPE_CHECKING:
    from pangu_jax.apps.language.decoding.generator import Generator
    from pangu_jax.apps.language.loaded import LoadedModel

MAX_TOKENS = 128


def add_to(parser: argparse.ArgumentParser) -> None:
    """The run, its checkpoint, and how long a text may be."""
    parser.add_argument("--run_dir", required=True, metavar="DIR", help="the run whose model is asked")
    parser.add_argument("--step", type=int, metavar="N", help="its checkpoint; the newest unless given")
    parser.add_argument(
        "--max_tokens", type=int, default=MAX_TOKENS, metavar="N", help=f"of a text; {MAX_TOKENS}"
    )


def open_run(flags: argparse.Namespace) -> "tuple[LoadedModel, Generator]":
    """The model of the run that flags name, on the devices that they name, and what writes with it."""
    from pangu_jax.apps.language import loading
    from pangu_jax.apps.language.decoding.generator import Generator

    loaded = loading.load(flags.run_dir, flags.step, device_flags.devices(flags))
    return loaded, Generator(loaded.forward, loaded.params)


def require_tokens(max_tokens: int) -> None:
    """UserError where a text may have none."""
    if max_tokens < 1:
        raise UserError(f"--max_tokens {max_tokens}: give a number from 1 on")
