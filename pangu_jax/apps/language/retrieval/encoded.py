"""Bytes of a knowledge source to text, in whatever encoding they are, as the corpus factory reads them."""

import itertools
from collections.abc import Sequence

from data_pipelines.corpus.reading import encodings
from data_pipelines.corpus.reading.settings import Reading

MAX_BAD = Reading.max_bad
_BAD_VALUE = 0.1  # share of a short value's characters: one bad byte of thirty is no reason to drop it


def text_of(data: bytes) -> tuple[str, int] | None:
    """(text, bytes that were bad, each now U+FFFD), or None of what is no text. Line ends become newlines."""
    found = encodings.decode(data, MAX_BAD)
    return found and (found[0].replace("\r\n", "\n").replace("\r", "\n"), found[1])


def lines_of(block: bytes) -> tuple[list[str], int]:
    """The lines, each from its own encoding, and the number of bad bytes in all."""
    block, bad = encodings.to_utf8(block, MAX_BAD)
    # Not splitlines: U+2028 and the like may be inside a JSON string.
    return block.decode("utf-8", "replace").split("\n"), bad


def values_of(raw: Sequence[bytes]) -> list[tuple[str, int] | None]:
    """As `text_of` for each of many short values, whose encoding is recognised from all of them together."""
    if not raw:
        return []
    lines = iter(encodings.to_utf8(b"\n".join(raw), MAX_BAD)[0].decode("utf-8", "replace").split("\n"))
    texts = ["\n".join(itertools.islice(lines, value.count(b"\n") + 1)) for value in raw]
    counts = [text.count("\ufffd") for text in texts]
    return [
        (text, bad) if bad <= _BAD_VALUE * len(text) else None
        for text, bad in zip(texts, counts, strict=True)
    ]
