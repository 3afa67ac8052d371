"""Text that was once decoded in a wrong encoding, and encoded again: no reader can see that any more."""

import dataclasses
import re

import numpy as np

from data_pipelines.corpus.cleaning.batch import Batch
from data_pipelines.corpus.cleaning.rules import Filter, Verdict, configurable

# U+FFFD in UTF-8, read as GBK, as Big5 and as Latin-1.
_REPLACED = ("锟斤拷", "斤拷锟", "嚙踝蕭", "ï¿½")
# Memory that nobody filled (0xCC, 0xCD, 0xDD, 0xFE), and marks of byte order, read as GBK.
_FILLING = ("烫烫烫", "屯屯屯", "葺葺葺", "铪铪铪", "锘锘锘")
# What full stop, comma and 的 of UTF-8 are in GBK: no text has these characters, any text has those.
_AS_GBK = "銆锛鐨"
_MARKERS = (*_REPLACED, *_FILLING, *_AS_GBK)
# The second half of a byte's values as Latin-1 and as Windows-1252 have them.
_HIGH = "\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
# Chinese in UTF-8 read as Latin-1, and in GB 2312.
_AS_LATIN = re.compile(rf"(?:[ã-ï][{_HIGH}]{{2}}){{2,}}|[¡-ÿ]{{6,}}")
_LATIN = r"[\x{e3}-\x{ef}][^\x{00}-\x{7f}]{2}|[\x{a1}-\x{ff}]{6}"
_SPELLED = re.compile("|".join([*(f"(?:{text})+" for text in _REPLACED), *(f"{text}+" for text in _FILLING)]))
_LETTER = re.compile("[À-ÖØ-öø-ÿ]")
_STANDS_FOR = 10  # characters: how often text has one of the three


@configurable
@dataclasses.dataclass(frozen=True)
class Mojibake(Filter):
    """Rejects documents of whose characters more than `most` are mojibake, such as 锟斤拷.

    Measures the share of characters that are: U+FFFD decoded as GBK, Big5 or Latin-1; memory that nobody
    filled; Chinese in UTF-8 decoded as GBK, by three characters that each count for ten; Chinese in UTF-8 or
    GB 2312 decoded as Latin-1. A text that speaks of 锟斤拷 has fewer. Put before edits: they take some out.
    """

    most: float = 0.01
    name: str = "mojibake"

    def judge(self, batch: Batch) -> Verdict:
        value = np.zeros(len(batch))
        near = batch.texts.str.contains_any(list(_MARKERS)) | batch.texts.str.contains(_LATIN)
        for row in np.flatnonzero(near.to_numpy()).tolist():
            text = batch.texts[row]
            value[row] = min(_wrong(text) / max(len(text), 1), 1.0)
        return Verdict(value <= self.most, value)


def _wrong(text: str) -> int:
    """Characters of mojibake."""
    count = sum(len(found[0]) for found in _SPELLED.finditer(text))
    count += _STANDS_FOR * sum(text.count(character) for character in _AS_GBK)
    for found in _AS_LATIN.finditer(text):
        letters = len(_LETTER.findall(found[0]))
        # Rows of dots, of multiplication signs and the like have no letters.
        count += len(found[0]) if 4 * letters >= len(found[0]) else 0
    return count
