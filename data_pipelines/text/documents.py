"""Documents: what a corpus is made of, its exact duplicates, and the split into train and validation."""

import dataclasses
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator

from data_pipelines.errors import DataError

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
    """A text and where it came from: `id` names the file and the line or member, e.g. `pos.txt:17`."""

    id: str
    text: str

    def digest(self) -> str:
        """32 hex digits of the text's letters and digits after NFKC: equal for trivial variants of one text.

        Empty when there is no letter or digit at all.
        """
        letters = _NOT_TEXT.sub("", unicodedata.normalize("NFKC", self.text)).lower()
        return hashlib.blake2b(letters.encode(), digest_size=16).hexdigest() if letters else ""


@dataclasses.dataclass(frozen=True)
class Split:
    """Documents in the order of their digests (pseudo-random, and the same on every machine)."""

    train: list[Document]
    validation: list[Document]
    duplicates: int
    blank: int


def split(documents: Iterable[Document], validation_fraction: float, at_least: int = 8) -> Split:
    """Drops blank documents and exact duplicates, then sets `validation_fraction` of the rest aside.

    A document belongs to validation when its digest, read as a number in [0, 1), is below the fraction, so
    it stays on its side when the corpus grows. When that gives fewer than `at_least` documents, the lowest
    digests are taken, up to half of the corpus.

    Raises:
      DataError: fewer than two distinct documents: nothing could be held out.
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
    if len(by_digest) < 2:
        raise DataError(
            f"the corpus has {len(by_digest)} distinct document(s) with text; at least 2 are needed, since "
            "one is held out for validation (a .txt file is one document; see corpus.documents)"
        )
    digests = sorted(by_digest)
    below = sum(int(digest, 16) / 16**32 < validation_fraction for digest in digests)
    held_out = min(max(below, at_least), len(digests) // 2)
    ordered = [by_digest[digest] for digest in digests]
    return Split(ordered[held_out:], ordered[:held_out], duplicates, blank)


def lines_of(documents: Iterable[Document], limit: int) -> Iterator[str]:
    """Lines of the documents in order, cut at sentence ends, until `limit` characters have been given."""
    given = 0
    for document in documents:
        for line in re.findall(r"[^。！？!?\n]+[。！？!?”』」）)]*", document.text):
            yield line
            given += len(line)
            if given >= limit:
                return
