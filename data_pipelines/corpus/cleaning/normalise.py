"""Edits of characters: what cannot be printed, compatibility forms, white space, traditional Chinese."""

import dataclasses
import functools
import re
import unicodedata

import numpy as np
import polars as pl

from data_pipelines.corpus.cleaning import characters
from data_pipelines.corpus.cleaning.batch import Batch
from data_pipelines.corpus.cleaning.rules import Edit, Edited, configurable
from data_pipelines.corpus.cleaning.sums import ratio, sums

# Chinese punctuation to which NFKC would give ASCII forms (and … three full stops).
CHINESE_PUNCTUATION = "，：；！？（）～…"
_DEPENDS = characters.POINTS


@configurable
@dataclasses.dataclass(frozen=True)
class Unprintable(Edit):
    """Removes control, format (zero-width, direction), private-use and replacement characters.

    White space is none of them, not even the form feed. Counts characters.
    """

    name: str = "unprintable"

    def edit(self, batch: Batch) -> Edited:
        counts = batch.count(characters.UNPRINTABLE)
        if counts.any():
            kept = batch.codes.compress((batch.classes & characters.UNPRINTABLE) == 0)
            batch = Batch.of_codes(kept, batch.lengths - counts)
        return Edited(batch, {"characters": counts})


@configurable
@dataclasses.dataclass(frozen=True)
class CompatibilityForms(Edit):
    """Unicode's normalisation form KC: full-width letters, ligatures, circled numbers, square units.

    Args:
      keep: characters that stay as they are, Chinese punctuation; "" is plain NFKC.

    Counts characters that had another form; for texts in which forms depend on neighbours (combining
    accents), the characters by which they became longer or shorter, at least one.
    """

    keep: str = CHINESE_PUNCTUATION
    name: str = "compatibility_forms"

    def edit(self, batch: Batch) -> Edited:
        forms = _forms(self.keep).take(batch.codes, mode="clip")
        places = np.flatnonzero(forms != batch.codes)
        if not len(places):
            return Edited(batch, {"characters": np.zeros(len(batch), np.int64)})
        documents = np.searchsorted(batch.starts, places, "right") - 1
        counts = np.bincount(documents, minlength=len(batch))
        # Documents with such a character are made anew from their old texts, all others are done.
        depends = forms[places] == _DEPENDS
        edited = batch.patch(places[~depends], forms[places[~depends]])
        rows = np.unique(documents[depends])
        if len(rows):
            old = batch.select(np.isin(np.arange(len(batch)), rows)).texts.to_list()
            new = [self._normal(text) for text in old]
            counts[rows] = [max(abs(len(a) - len(b)), int(a != b)) for a, b in zip(old, new, strict=True)]
            edited = edited.put(rows, pl.Series(new, dtype=pl.String))
        return Edited(edited, {"characters": counts})

    def _normal(self, text: str) -> str:
        if not self.keep:
            return unicodedata.normalize("NFKC", text)
        return _others(self.keep).sub(lambda run: unicodedata.normalize("NFKC", run[0]), text)


@functools.cache
def _others(keep: str) -> re.Pattern:
    return re.compile(f"[^{re.escape(keep)}]+")


@functools.lru_cache(maxsize=4)
def _forms(keep: str) -> np.ndarray:
    """uint32 [0x110000]: the one character that NFKC makes of each; `_DEPENDS` where that is not all it does.

    It is not where a character becomes several, or may change places or unite with its neighbours.
    """
    forms = np.arange(characters.POINTS, dtype=np.uint32)
    depends = {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}  # Hangul in pieces
    # Beyond plane 1, only compatibility forms of Han have others. Han and Hangul syllables have none.
    for point in (*range(0x4E00), *range(0xA000, 0xAC00), *range(0xF900, 0x20000), *range(0x2F800, 0x2FA20)):
        character = chr(point)
        normal = unicodedata.normalize("NFKC", character)
        if len(normal) != 1 or unicodedata.combining(normal):
            depends.add(point)
        elif normal != character:
            forms[point] = ord(normal)
        parts = unicodedata.decomposition(character).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            depends.add(int(parts[1], 16))
    kept = [ord(character) for character in keep]
    forms[np.isin(forms, list(depends))] = _DEPENDS
    forms[list(depends)] = _DEPENDS
    forms[kept] = kept
    return forms


@configurable
@dataclasses.dataclass(frozen=True)
class WhiteSpace(Edit):
    """One space between words, one newline between lines, an empty line between paragraphs, none at the ends.

    A run of white space becomes one space, or one newline where it holds one, or two where it holds more.
    That
    drops indentation: of Chinese paragraphs, and of program code. Counts characters removed or replaced.
    """

    name: str = "white_space"

    def edit(self, batch: Batch) -> Edited:
        places = batch.places(characters.SPACE)
        if not len(places):
            return Edited(batch, {"characters": np.zeros(len(batch), np.int64)})
        documents = np.searchsorted(batch.starts, places, "right") - 1
        codes = batch.codes[places]
        opens = np.ones(len(places), bool)
        opens[1:] = (np.diff(places) != 1) | (np.diff(documents) != 0)
        heads = np.flatnonzero(opens)
        tails = np.append(heads[1:], len(places)) - 1
        # A carriage return and the line feed behind it are one newline.
        newline = (batch.classes[places] & characters.BREAK) != 0
        newline[:-1] &= (codes[:-1] != ord("\r")) | (codes[1:] != ord("\n")) | opens[1:]
        newlines = sums(newline, np.append(heads, len(places)))
        at_end = (places[heads] == batch.starts[documents[heads]]) | (
            places[tails] == batch.starts[documents[heads] + 1] - 1
        )
        wanted = np.zeros(len(places), np.uint32)  # 0 drops the character
        wanted[heads] = np.where(at_end, 0, np.where(newlines > 0, ord("\n"), ord(" ")))
        paragraphs = heads[~at_end & (newlines > 1)]
        wanted[paragraphs + 1] = ord("\n")
        changed = wanted != codes
        if not changed.any():
            return Edited(batch, {"characters": np.zeros(len(batch), np.int64)})
        new = batch.codes.copy()
        new[places] = wanted
        keep = np.ones(len(new), bool)
        keep[places] = wanted != 0
        dropped = np.bincount(documents[wanted == 0], minlength=len(batch))
        counts = np.bincount(documents[changed], minlength=len(batch))
        return Edited(Batch.of_codes(new.compress(keep), batch.lengths - dropped), {"characters": counts})


@configurable
@dataclasses.dataclass(frozen=True)
class Simplified(Edit):
    """Traditional Chinese into simplified, by OpenCC (t2s).

    Only documents that are written in it: OpenCC takes 乾, 藉, 覆 or 徵 for traditional wherever it sees
    them, though simplified text has them too.

    Args:
      share: least share of the Han characters that only traditional text has (`characters.TRADITIONAL`).
        Traditional text has 0.3 or more, simplified text that quotes some has less than 0.05.

    Counts characters that only traditional text has.
    """

    share: float = 0.1
    name: str = "simplified"

    def edit(self, batch: Batch) -> Edited:
        counts = batch.count(characters.TRADITIONAL)
        rows = np.flatnonzero((ratio(counts, batch.count(characters.HAN)) >= self.share) & (counts > 0))
        changes = np.zeros(len(batch), np.int64)
        if len(rows):
            changes[rows] = counts[rows]
            convert = _opencc().convert
            batch = batch.put(rows, pl.Series([convert(text) for text in batch.texts[rows]], dtype=pl.String))
        return Edited(batch, {"characters": changes})


@functools.cache
def _opencc():
    import opencc

    return opencc.OpenCC("t2s")
