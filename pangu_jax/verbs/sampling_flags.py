"""The flags that say how tokens are chosen, of `generate` and `chat`."""

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pangu_jax.errors import UserError

if TYPE_CHECKING:
    from pangu_jax.apps.language.decoding.settings import Settings


@dataclass(frozen=True)
class SamplingFlags:
    """How tokens are chosen, as flags say it: None where nothing was said."""

    beams: int | None = None
    length_penalty: float | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    seed: int = 0

    @classmethod
    def of(cls, flags: argparse.Namespace) -> "SamplingFlags":
        """What was given on the command line; `chat` has no beams."""
        return cls(
            getattr(flags, "beams", None),
            getattr(flags, "length_penalty", None),
            flags.temperature,
            flags.top_k,
            flags.top_p,
            flags.repetition_penalty,
            flags.no_repeat_ngram,
            flags.seed,
        )

    def settings(self) -> "Settings":
        """Beam search if beams are given, drawing if anything of it is, and greedy otherwise.

        Raises:
          UserError: both are given, or a value is out of its range.
        """
        from pangu_jax.apps.language.decoding.settings import Beam, Greedy, Sampling

        drawing = {
            name: value
            for name in ("temperature", "top_k", "top_p")
            if (value := getattr(self, name)) is not None
        }
        repetition = {
            "repetition_penalty": self.repetition_penalty,
            "no_repeat_ngram": self.no_repeat_ngram,
        }
        if self.beams is not None and drawing:
            raise UserError(f"--beams and --{next(iter(drawing))} exclude each other: search, or draw")
        if self.beams is None and self.length_penalty is not None:
            raise UserError("--length_penalty ranks the texts of beam search: give --beams too")
        if self.beams is not None:
            power = Beam.length_penalty if self.length_penalty is None else self.length_penalty
            return Beam(beams=self.beams, length_penalty=power, **repetition)
        if drawing:
            return Sampling(**drawing, seed=self.seed, **repetition)
        return Greedy(**repetition)


def add_beams_to(parser: argparse.ArgumentParser) -> None:
    """The flags of beam search."""
    beams = parser.add_argument_group("beam search")
    beams.add_argument("--beams", type=int, metavar="N", help="write N texts side by side, keep the best")
    beams.add_argument(
        "--length_penalty", type=float, metavar="X",
        help="rank by log p / tokens^X: 0 by log p, above 1 for longer texts; 1",
    )  # fmt: skip


def add_to(parser: argparse.ArgumentParser) -> None:
    """How tokens are chosen, but for beams."""
    draws = parser.add_argument_group("choosing tokens (the likeliest each time unless one is given)")
    draws.add_argument("--temperature", type=float, metavar="T", help="draw; logits are divided by it")
    draws.add_argument("--top_k", type=int, metavar="K", help="draw among the K likeliest")
    draws.add_argument("--top_p", type=float, metavar="P", help="draw among the likeliest that hold P")
    draws.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws; 0")
    draws.add_argument(
        "--repetition_penalty", type=float, default=1.0, metavar="X", help="above 1: against what was said"
    )
    draws.add_argument(
        "--no_repeat_ngram", type=int, default=0, metavar="N", help="no N tokens come twice; 0 allows it"
    )
