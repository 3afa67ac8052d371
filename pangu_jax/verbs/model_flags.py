"""The flags that name a run's model, of the verbs that ask it for text; and the model itself."""

import argparse
import dataclasses
from typing import TYPE_CHECKING

from pangu_jax.errors import UserError
from pangu_jax.verbs import device_flags

if TYPE_CHECKING:
    from pangu_jax.apps.language.decoding.generator import Generator
    from pangu_jax.apps.language.loaded import LoadedModel

MAX_TOKENS = 128


def add_to(parser: argparse.ArgumentParser, max_tokens: int | None = MAX_TOKENS) -> None:
    """The run, its checkpoint, and how long a text may be; None leaves that to the model."""
    most = f"{MAX_TOKENS}, with turns of its own up to 8192" if max_tokens is None else str(max_tokens)
    parser.add_argument("--run_dir", required=True, metavar="DIR", help="the run whose model is asked")
    parser.add_argument("--step", type=int, metavar="N", help="its checkpoint; the newest unless given")
    parser.add_argument("--max_tokens", type=int, default=max_tokens, metavar="N", help=f"of a text; {most}")
    parser.add_argument(
        "--weights", choices=("float32", "bfloat16", "int8"), default="float32",
        help="what the decoder keeps of its weights on a CPU: fewer bytes are read faster; float32",
    )  # fmt: skip


def open_run(flags: argparse.Namespace) -> "tuple[LoadedModel, Generator]":
    """The model of the run that flags name, on the devices that they name, and what writes with it.

    Of its parameters those are left that read, see `Generator`.
    """
    from pangu_jax.apps.language import loading
    from pangu_jax.apps.language.decoding.generator import Generator
    from pangu_jax.workloads.language.model import decoder_weights
    from tpu_npu_backends.cpu_kernels import library

    loaded = loading.load(flags.run_dir, flags.step, device_flags.devices(flags), writes=True)
    forward = dataclasses.replace(loaded.forward, weights=flags.weights)
    if flags.weights != "float32" and not decoder_weights.has_kernels(forward):
        raise UserError(
            f"--weights {flags.weights} is for the kernels of one CPU device, which are not in use here: "
            f"build them ({library.BUILD}), take --backend cpu, or leave the flag out"
        )
    generator = Generator.of(forward, loaded.params, loaded.vocabulary)
    return dataclasses.replace(loaded, params=generator.params), generator  # weights are in memory once


def require_tokens(max_tokens: int) -> None:
    """UserError where a text may have none."""
    if max_tokens < 1:
        raise UserError(f"--max_tokens {max_tokens}: give a number from 1 on")


def require_mode(mode: str | None, loaded: "LoadedModel") -> None:
    """UserError where a mode token is asked for that the model does not know."""
    modes = loaded.vocabulary.special.modes
    if mode is not None and mode not in modes:
        raise UserError(f"--mode {mode}: this model knows {', '.join(modes) or 'no modes; leave it out'}")
