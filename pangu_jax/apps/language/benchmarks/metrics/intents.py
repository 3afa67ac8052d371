"""Sets of intents: exact-set accuracy and micro-F1."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from data_pipelines.text.benchmarks.examples import JOINED
from pangu_jax.errors import UserError


class Intents(NamedTuple):
    """Scores over a set of turns, percent."""

    exact_set: float  # turns whose predicted set is the gold set
    micro_f1: float  # over all (turn, intent)
    precision: float
    recall: float
    turns: int


def parse(text: str) -> frozenset[str]:
    """The set that a text names: intents joined by "；", in any order; nothing of an empty text."""
    return frozenset(name.strip() for name in text.split(JOINED) if name.strip())


def evaluate(predicted: Sequence[Collection[str]], gold: Sequence[Collection[str]]) -> Intents:
    """Exact-set accuracy and micro-F1; a turn without intents is right when none is predicted.

    Raises:
      UserError: the lengths differ, or there is no turn.
    """
    if len(predicted) != len(gold) or not gold:
        raise UserError(f"intents: {len(predicted)} predictions for {len(gold)} turns: give one for each")
    pairs = [(set(guess), set(true)) for guess, true in zip(predicted, gold, strict=True)]
    hits = sum(len(guess & true) for guess, true in pairs)
    guessed, expected = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
    return Intents(
        exact_set=100 * sum(guess == true for guess, true in pairs) / len(pairs),
        micro_f1=100 * 2 * hits / (guessed + expected) if guessed + expected else 100.0,
        precision=100 * hits / guessed if guessed else 0.0,
        recall=100 * hits / expected if expected else 0.0,
        turns=len(pairs),
    )
