"""Objectives: from pieces of text to encoder inputs and decoder targets. Pure NumPy, the only definition.

An objective takes the pieces that share a window and a random generator. Whatever the generator says, what
it makes fits the window: `cost` bounds every piece beforehand as a vector, costs add up, and pieces fit a
window when their sum is within `capacity`. That is what lets windows be packed before the corruption is
drawn, and a batch be a pure function of its index.

The encoder reads a mode token and then text; text and eos where the vocabulary has no mode tokens, such as
T5's, and `mode` is None (`SpecialTokens.read`). Targets end in eos only where the document does (a window's
edge is not an end); span targets always do, as T5's. Sources: T5 (arXiv 1910.10683), UL2 (arXiv 2205.05131).
"""

import bisect
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from data_pipelines.text.vocabulary import SpecialTokens


class Piece(NamedTuple):
    """A stretch of one document: tokens int32 [n], word_starts bool [n], whether the document ends here."""

    tokens: np.ndarray
    word_starts: np.ndarray
    final: bool = True


class DenoisingExample(NamedTuple):
    """inputs int32 [<= encoder length], targets int32 [<= decoder length]."""

    inputs: np.ndarray
    targets: np.ndarray


class DenoisingObjective(Protocol):
    """See the module's docstring. A dataclass; `shortest` is the fewest tokens that a piece may have."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @property
    def mode(self) -> str | None: ...

    @property
    def shortest(self) -> int: ...

    def capacity(self, encoder_length: int, decoder_length: int) -> tuple[int, ...]: ...

    def cost(self, tokens: int, longest_word: int) -> tuple[int, ...]: ...

    def windows(self, encoder_length: int, decoder_length: int) -> tuple[int, ...]:
        """Lengths into which a long document is cut, in turn; a first cut may be shortened to fit."""
        ...

    def __call__(
        self,
        pieces: Sequence[Piece],
        rng: np.random.Generator,
        special: SpecialTokens,
        encoder_length: int,
        decoder_length: int,
    ) -> list[DenoisingExample]: ...


@dataclasses.dataclass(frozen=True)
class SpanCorruption:
    """T5's span corruption on word boundaries: `rate` of the tokens, in spans of `mean_span` on average.

    Spans are drawn as T5 draws them (uniform among all ways to cut the noise and the rest into so many
    parts) and then moved down to word boundaries; what a span or a gap loses, the next one gets. A piece of
    n tokens always has N - w < noise <= N tokens of noise, with N = round(n * rate) and w its longest word.
    """

    rate: float = 0.15
    mean_span: float = 3.0
    mode: str | None = "[R]"
    sentinels: int = 100
    shortest: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1 or self.mean_span < 1:
            raise ValueError(f"rate {self.rate} must be in (0, 1) and mean_span {self.mean_span} at least 1")

    def budget(self, tokens: int) -> tuple[int, int]:
        """At most how many tokens of noise, in at most how many spans."""
        if tokens == 0:
            return 0, 0
        noise = min(max(round(tokens * self.rate), 1), max(tokens - 1, 1))
        spans = min(max(round(noise / self.mean_span), 1), noise, tokens - noise + 1, self.sentinels)
        return noise, spans

    def capacity(self, encoder_length: int, decoder_length: int) -> tuple[int, int]:
        return encoder_length, decoder_length

    def cost(self, tokens: int, longest_word: int) -> tuple[int, int]:
        noise, spans = self.budget(tokens)
        surely = max(noise - longest_word + 1, 0)
        return 1 + tokens - surely + spans, noise + spans + 1  # a mode token or eos; eos

    def windows(self, encoder_length: int, decoder_length: int) -> tuple[int]:
        return (_longest_piece(self, encoder_length, decoder_length),)

    def spans(self, piece: Piece, rng: np.random.Generator) -> list[tuple[int, int]]:
        """(begin, end) of the corrupted spans, ascending, disjoint and apart, on word boundaries."""
        tokens = len(piece.tokens)
        noise, count = self.budget(tokens)
        if count == 0:
            return []
        # Tokens left alone before each span, and corrupted up to its end: their differences are T5's parts.
        kept_before = np.sort(rng.choice(tokens - noise + 1, count, replace=False)).tolist()
        noise_ends = [*np.sort(rng.choice(np.arange(1, noise), count - 1, replace=False)).tolist(), noise]
        edges = [0, *(np.flatnonzero(piece.word_starts[1:]) + 1).tolist(), tokens]

        spans: list[tuple[int, int]] = []
        end = taken = 0
        for kept, noise_end in zip(kept_before, noise_ends, strict=True):
            if taken == noise:
                break
            word = bisect.bisect_right(edges, max(taken + kept, end)) - 1
            # Spans that touch would be one, of twice the length: leave a word between, where there is room.
            if spans and edges[word] == end and tokens - edges[word + 1] >= noise - taken:
                word += 1
            begin = edges[word]
            end = edges[bisect.bisect_right(edges, begin + max(noise_end - taken, 0)) - 1]
            # A span shorter than its first word takes the word, at the later spans' cost.
            if end == begin and edges[word + 1] - begin <= noise - taken:
                end = edges[word + 1]
            taken += end - begin
            if spans and spans[-1][1] == begin:
                spans[-1] = (spans[-1][0], end)
            elif end > begin:
                spans.append((begin, end))
        return spans

    def __call__(self, pieces, rng, special, encoder_length, decoder_length) -> list[DenoisingExample]:
        return [self._corrupt(piece, rng, special) for piece in pieces]

    def _corrupt(self, piece: Piece, rng: np.random.Generator, special: SpecialTokens) -> DenoisingExample:
        inputs, targets, end = [], [], 0
        for index, span in enumerate(self.spans(piece, rng)):
            sentinel = [special.sentinel(index)]
            inputs += [piece.tokens[end : span[0]], sentinel]
            targets += [sentinel, piece.tokens[span[0] : span[1]]]
            end = span[1]
        inputs = special.read(self.mode, *inputs, piece.tokens[end:])
        return _example(inputs, [*targets, [special.eos]])


@functools.cache
def _longest_piece(objective: SpanCorruption, encoder_length: int, decoder_length: int) -> int:
    """Most tokens whose corruption fits the windows, were all words one token long."""
    costs = ((n, objective.cost(n, 1)) for n in range(4 * encoder_length))
    return max(n for n, cost in costs if cost[0] <= encoder_length and cost[1] <= decoder_length)


@dataclasses.dataclass(frozen=True)
class PrefixLM:
    """The encoder reads a prefix, the decoder writes the rest: UL2's S, with the split drawn uniformly.

    Pieces that share a window are split jointly, so that their prefixes fill the encoder and their rests the
    decoder: one gets a short prefix and a long rest, another the opposite. Splits fall on word boundaries
    wherever one is within reach.
    """

    mode: str | None = "[S]"
    shortest: int = 2

    def capacity(self, encoder_length: int, decoder_length: int) -> tuple[int, int, int]:
        return encoder_length + decoder_length, encoder_length, decoder_length

    def cost(self, tokens: int, longest_word: int) -> tuple[int, int, int]:
        return tokens + 2, 2, 2  # mode (or eos) and eos; at least a token of prefix and one of the rest

    def windows(self, encoder_length: int, decoder_length: int) -> tuple[int, int]:
        # Two pieces per window: a single one that fills it could be split at one place only.
        return encoder_length - 1, max(decoder_length - 3, self.shortest)

    def __call__(self, pieces, rng, special, encoder_length, decoder_length) -> list[DenoisingExample]:
        lengths = [len(piece.tokens) for piece in pieces]
        count = len(pieces)
        fewest = sum(lengths) + count - decoder_length  # tokens of prefix, over all pieces
        most = encoder_length - count
        splits = [0] * count
        spent, ahead = 0, sum(lengths)  # prefixes already drawn; tokens of the pieces not yet split
        for done, i in enumerate(rng.permutation(count).tolist()):
            others = count - done - 1
            ahead -= lengths[i]
            low = max(1, fewest - spent - (ahead - others))
            high = min(lengths[i] - 1, most - spent - others)
            places = np.flatnonzero(pieces[i].word_starts[low : high + 1])
            splits[i] = low + int(places[rng.integers(len(places))]) if len(places) else max(high, 0)
            spent += splits[i]
        return [
            _example(
                special.read(self.mode, p.tokens[:split]),
                [p.tokens[split:], [special.eos] if p.final else []],
            )
            for p, split in zip(pieces, splits, strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class Causal:
    """Plain language modelling by the decoder; the encoder reads the mode token only.

    For a decoder alone (encoder_length 0) there is no mode, and the inputs of its examples are not read.
    """

    mode: str | None = "[C]"
    shortest: int = 1

    def capacity(self, encoder_length: int, decoder_length: int) -> tuple[int, int]:
        # Without an encoder nothing of it runs short: a piece takes more of the decoder than 1.
        return encoder_length or decoder_length, decoder_length

    def cost(self, tokens: int, longest_word: int) -> tuple[int, int]:
        return 1, tokens + 1

    def windows(self, encoder_length: int, decoder_length: int) -> tuple[int]:
        return (decoder_length - 1,)

    def __call__(self, pieces, rng, special, encoder_length, decoder_length) -> list[DenoisingExample]:
        mode = special.read(self.mode)
        return [_example(mode, [p.tokens, [special.eos] if p.final else []]) for p in pieces]


def _example(inputs: np.ndarray, targets: list) -> DenoisingExample:
    return DenoisingExample(inputs, np.concatenate(targets).astype(np.int32))
