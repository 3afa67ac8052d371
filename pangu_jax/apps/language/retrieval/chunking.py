"""Passages of a text: whole sentences up to a number of characters, each overlapping the one before it."""

import re
from collections.abc import Iterator
from typing import NamedTuple

# A sentence ends at a newline or at end marks with the quotes and brackets that close it. An ASCII full stop
# ends one only before a space: 3.14 and example.com continue.
_SENTENCE = re.compile(r".*?(?:[。！？；!?;…]+[”’」』）)\"']*|\.(?=\s)|\n|$)", re.DOTALL)


class Span(NamedTuple):
    """text[begin:end]."""

    begin: int
    end: int


def chunks(text: str, size: int = 300, overlap: int = 60) -> Iterator[Span]:
    """Spans of at most `size` characters that together cover every character that is not a space.

    A span begins and ends between sentences; only a sentence longer than `size` is cut inside. A span closes
    early at a blank line once it is half full. At most `overlap` characters of a span are in the next.

    Raises:
      ValueError: not 0 <= overlap < size / 2.
    """
    if not 0 <= overlap < size / 2:
        raise ValueError(f"chunks: overlap {overlap} must be at least 0 and below half of size {size}")
    sentences = [
        piece
        for sentence in _sentences(text)
        for piece in _cut(sentence, size)
        if text[piece.begin : piece.end].strip()
    ]
    first = 0
    while first < len(sentences):
        begin, last = sentences[first].begin, first
        while last + 1 < len(sentences) and sentences[last + 1].end - begin <= size:
            gap = text[sentences[last].end : sentences[last + 1].begin]
            if "\n" in gap and sentences[last].end - begin >= size / 2:
                break
            last += 1
        end = sentences[last].end
        yield Span(begin, end)
        following = last + 1
        if following < len(sentences):  # what the next passage repeats of this one
            while following - 1 > first and sentences[following - 1].begin >= end - overlap:
                following -= 1
            # A repeated sentence must leave room for a new one, or two spans would end alike.
            while following <= last and sentences[last + 1].end - sentences[following].begin > size:
                following += 1
        first = following


def _sentences(text: str) -> Iterator[Span]:
    """Sentences without the spaces around them; the newline that ends one is such a space."""
    for match in _SENTENCE.finditer(text):
        stripped = match.group().strip()
        if stripped:
            begin = match.start() + match.group().index(stripped[0])
            yield Span(begin, begin + len(stripped))


def _cut(sentence: Span, size: int) -> Iterator[Span]:
    for begin in range(sentence.begin, sentence.end, size):
        yield Span(begin, min(begin + size, sentence.end))
