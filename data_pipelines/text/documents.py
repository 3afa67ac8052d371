"""Documents: what a corpus is made of, the split into train and validation, and samples."""

import dataclasses
import hashlib
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.text import stretches
from data_pipelines.text.lines import sentences

# Characters. Of a text too short for it, a tenth is held out.
FEWEST_CHARACTERS = 2000
# What is held out of a document that is not held out whole: some windows at least, where the text has them.
SHORTEST_STRETCH, LONGEST_STRETCH = 200, 4000
# What a vocabulary is trained on of a document that it does not see all of, least and most.
SAMPLED_STRETCHES = 200, 2000
_NOT_TEXT = re.compile(r"[\W_]+")


def is_encodable(text: str) -> bool:
    """False for half a surrogate pair: JSON's escapes can make one, and no encoder takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A text and where it came from: `id` names the file and the line or member, e.g. `pos.txt:17`.

    part_of: id of the document that it is characters of, or its own.
    """

    id: str
    text: str
    part_of: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "part_of", self.part_of or self.id)

    def part(self, begin: int, end: int) -> "Document":
        """Its characters [begin, end), named by them: `book.txt:1@0-4000`; itself where these are all."""
        if (begin, end) == (0, len(self.text)):
            return self
        return Document(f"{self.id}@{begin}-{end}", self.text[begin:end], self.part_of)

    def digest(self) -> str:
        """32 hex digits of the text's letters and digits after NFKC: equal for trivial variants of one text.

        Empty when there is no letter or digit at all.
        """
        letters = _NOT_TEXT.sub("", unicodedata.normalize("NFKC", self.text)).lower()
        return hashlib.blake2b(letters.encode(), digest_size=16).hexdigest() if letters else ""


@dataclasses.dataclass(frozen=True)
class Split:
    """Documents in the order of their digests (pseudo-random, and the same on every machine).

    A document of which stretches are held out is in both lists, in parts.

    duplicates, blank: documents left out.
    """

    train: list[Document]
    validation: list[Document]
    duplicates: int
    blank: int

    def counts(self) -> dict[str, Any]:
        """Characters and documents of each side, how many documents there are, and how many held out parts
        are stretches of one: JSON-able."""
        sides = {"train": self.train, "validation": self.validation}
        documents = {side: {document.part_of for document in part} for side, part in sides.items()}
        return {
            "characters": {side: sum(len(d.text) for d in part) for side, part in sides.items()},
            "documents": {side: len(ids) for side, ids in documents.items()},
            "different": len(documents["train"] | documents["validation"]),
            "stretches": sum(document.part_of != document.id for document in self.validation),
        }


def split(
    documents: Iterable[Document], validation_fraction: float, at_least: int = 8, held_out_below: float = 0
) -> Split:
    """Drops blank documents and exact duplicates, then sets `validation_fraction` of the text aside.

    A document belongs to validation when its digest, read as a number in [0, 1), is below the fraction, so
    it stays on its side when the corpus grows. Where these are fewer than `at_least`, or their text is not
    between half and twice the fraction, because documents are few or a few of them hold most of the text,
    stretches are held out instead, spread over all documents, `at_least` of them; a document of the length
    of two stretches or less is then held out whole.

    Of a short text more than the fraction is held out: 2,000 characters, at most a tenth.

    Args:
      held_out_below: documents whose digest is below this number are held out in any case.

    Raises:
      DataError: no text, or a single document that is too short to hold a part of it out.
    """
    by_digest: dict[str, Document] = {}
    duplicates = blank = 0
    for document in documents:
        digest = document.digest()
        if not digest:
            blank += 1
        elif digest in by_digest:
            duplicates += 1
        else:
            by_digest[digest] = document
    digests = sorted(by_digest)
    ordered = [by_digest[digest] for digest in digests]
    places = [int(digest, 16) / 16**32 for digest in digests]
    total = sum(len(document.text) for document in ordered)
    wanted = max(validation_fraction * total, min(FEWEST_CHARACTERS, total / 10))
    below = sum(place < validation_fraction for place in places)
    if below < at_least or not 0.5 < sum(len(d.text) for d in ordered[:below]) / wanted < 2:
        below = sum(place < held_out_below for place in places)
        wanted -= sum(len(document.text) for document in ordered[:below])
        train, validation = _hold_out_stretches(ordered[below:], wanted, at_least, bool(below))
    else:
        train, validation = ordered[below:], []
    if not train or not (below or validation):
        raise DataError(
            f"the corpus has {len(by_digest)} distinct document(s) with text, {total:,} characters: too "
            "little to hold a part out for validation; give at least 2, or one of a few thousand characters "
            "(a .txt file is one document; see corpus.documents)"
        )
    return Split(train, ordered[:below] + validation, duplicates, blank)


def _hold_out_stretches(
    documents: Sequence[Document], wanted: float, at_least: int, some_are: bool
) -> tuple[list[Document], list[Document]]:
    """Train and validation; `wanted` characters are held out, and some_are: others already."""
    texts = [document.text for document in documents]
    length = int(max(wanted / max(at_least, round(wanted / LONGEST_STRETCH)), SHORTEST_STRETCH))
    share = max(wanted, 0) / max(sum(map(len, texts)), 1)
    found = [*stretches.spread(texts, np.array([share * len(text) for text in texts]), length)]
    if not found and not some_are and len(texts) > 1:
        shortest = min(range(len(texts)), key=lambda i: len(texts[i]))
        found = [stretches.Stretch(shortest, 0, len(texts[shortest]))]
    # Characters at which a document changes sides; it begins with train.
    edges = [[0] for _ in documents]
    for index, begin, end in found:
        edges[index] += [begin, end]
    train, validation = [], []
    for document, own in zip(documents, edges, strict=True):
        for number, (begin, end) in enumerate(itertools.pairwise([*own, len(document.text)])):
            if document.text[begin:end].strip():
                (validation if number % 2 else train).append(document.part(begin, end))
    return train, validation


def sample(documents: Sequence[Document], characters: int) -> list[stretches.Stretch]:
    """Stretches of all documents, about so many characters together (see `stretches.quotas`); all of a
    shorter text. Where documents are very many, it takes a stretch of some of them, in turn."""
    quotas = stretches.quotas([len(document.text) for document in documents], characters)
    each = characters // (2 * max(len(documents), 1))
    length = max(min(each, SAMPLED_STRETCHES[1]), SAMPLED_STRETCHES[0])
    return [*stretches.spread([document.text for document in documents], quotas, length)]


def lines_of(documents: Sequence[Document], sampled: Iterable[stretches.Stretch]) -> Iterator[str]:
    """The lines (see `lines.sentences`) of what a `sample` of the documents holds."""
    for document, begin, end in sampled:
        yield from sentences(documents[document].text[begin:end])
