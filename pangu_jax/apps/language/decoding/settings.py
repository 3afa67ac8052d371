"""How tokens are chosen: greedily, by beam search, or drawn."""

import math
from dataclasses import dataclass
from typing import Literal

import gin

from pangu_jax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """What keeps a text from going round in circles; the decoder's prefix counts as text.

    Args:
      repetition_penalty: logits of tokens that are in the text are divided by it where positive and
        multiplied where negative (Keskar et al., arXiv 1909.05858); 1 changes nothing.
      no_repeat_ngram: no sequence of this many tokens comes twice; 0 allows it.
    """

    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0

    def __post_init__(self):
        if not 0 < self.repetition_penalty < math.inf:
            raise UserError(f"repetition_penalty must be above 0 and finite, got {self.repetition_penalty}")
        if self.no_repeat_ngram < 0:
            raise UserError(f"no_repeat_ngram must be 0 or more, got {self.no_repeat_ngram}")

    @property
    def repeats_freely(self) -> bool:
        """Whether nothing here looks at the text."""
        return self.repetition_penalty == 1.0 and self.no_repeat_ngram == 0


@dataclass(frozen=True, kw_only=True)
class Greedy(Repetition):
    """The likeliest token, each time.

    Args:
      guess: whether a model that has a module for it guesses a token further, and checks it in its next step
        (`guessing`): the same text in fewer steps. Where repetition is kept in check nothing is guessed.
    """

    guess: bool = True


@dataclass(frozen=True, kw_only=True)
class Sampling(Repetition):
    """Tokens drawn from the model's distribution, cut off and sharpened.

    Args:
      temperature: divides the logits; above 0.
      top_k: draws among this many likeliest tokens; 0 among all.
      top_p: then among the fewest likeliest that hold this much probability (Holtzman et al., arXiv
        1904.09751); 1 among all.
      seed: of the draws, any whole number; with it a query's own tokens decide its text (`draw_keys`).
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.temperature < math.inf:
            raise UserError(
                f"temperature must be above 0 and finite, got {self.temperature}: Greedy takes the likeliest"
            )
        if self.top_k < 0:
            raise UserError(f"top_k must be 0 (all) or more, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p must be above 0 and at most 1, got {self.top_p}")


@dataclass(frozen=True, kw_only=True)
class Beam(Repetition):
    """The best of several texts that are written side by side.

    Args:
      beams: how many.
      length_penalty: texts are ranked by their log p divided by their length, in tokens, the end among them,
        to this power: 0 ranks by log p, above 0 favours long texts. From -1 to 10.
      early_stopping: True stops when `beams` texts are finished; False when the best running one would not
        enter if it ended now; "never" when it could not enter at any length. As in transformers.
    """

    beams: int = 4
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False

    def __post_init__(self):
        super().__post_init__()
        if self.beams < 1:
            raise UserError(f"beams must be at least 1, got {self.beams}")
        if not -1 <= self.length_penalty <= 10:
            raise UserError(f"length_penalty must be from -1 to 10, got {self.length_penalty}")
        if self.early_stopping not in (True, False, "never"):
            raise UserError(f'early_stopping is True, False or "never", got {self.early_stopping!r}')


Settings = Greedy | Beam | Sampling


def check_beams(settings: Settings, ids: int) -> None:
    """Raises UserError where a vocabulary of so many ids has too few for the beams."""
    if isinstance(settings, Beam) and 2 * settings.beams > ids:
        raise UserError(
            f"{settings.beams} beams choose from {2 * settings.beams} tokens, and the vocabulary has {ids}: "
            "ask for fewer beams"
        )


def check_count(settings: Settings, count: int) -> None:
    """Raises UserError where the settings cannot give so many texts of a query."""
    if count < 1:
        raise UserError(f"give at least 1 text per prompt, got {count}")
    if isinstance(settings, Beam) and count > settings.beams:
        raise UserError(
            f"{settings.beams} beams have no {count} best texts: ask for more beams, or fewer texts"
        )
    if isinstance(settings, Greedy) and count > 1:
        raise UserError(f"the likeliest text is one and not {count}: draw, or search with {count} beams")


for _class in (Greedy, Sampling, Beam):
    gin.external_configurable(_class, module=__name__)
