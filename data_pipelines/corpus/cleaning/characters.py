"""Classes of characters, as bits in one table over all code points.

One look-up per character answers what every rule asks of it: is it Han, white space, a letter, the end of a
sentence?
"""

import functools
import unicodedata

import numpy as np

POINTS = 0x110000

HAN = 1
SPACE = 2
ALPHA = 4
ALNUM = 8
# Ends a line, whatever the operating system it was written on.
BREAK = 16
UNPRINTABLE = 32
# Ends a sentence.
TERMINAL = 64
# Stands in a sentence, and seldom in a title.
CLAUSE = 128
# Neither letter nor digit nor space: punctuation and symbols.
SYMBOL = 256
# Han that only traditional Chinese has: OpenCC makes something else of it, and GB 2312 lacks it.
TRADITIONAL = 512

_HAN = ((0x3007, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))
# The syllables of Hangul; blocks of letters alone need no look at each.
_LETTERS = ((0xAC00, 0xD7A3),)
_BREAKS = "\n\r\v\f\x85\u2028\u2029"
# Those of Chinese and Latin text among the terminal punctuation of FineWeb-2 (datatrove 0.10).
TERMINALS = "。！？．｡.!?‼⁇⁈⁉﹒﹖﹗"
_CLAUSES = TERMINALS + "，、；：…,;"
# Beside Unicode's control (Cc), format (Cf: zero-width, direction marks, soft hyphen, byte order mark) and
# private-use (Co) characters: variation selectors, the replacement character, and code points that never are
# characters.
_UNPRINTABLE = ((0xFE00, 0xFE0F), (0xFDD0, 0xFDEF), (0xFFFD, 0xFFFF), (0xE0000, 0xE01EF), (0xF0000, 0x10FFFF))


@functools.cache
def classes() -> np.ndarray:
    """uint16 [0x110000]: the classes above of every code point."""
    table = np.zeros(POINTS, np.uint16)
    for first, last in _LETTERS:
        table[first : last + 1] |= ALPHA | ALNUM
    for first, last in _HAN:
        table[first : last + 1] |= HAN | ALPHA | ALNUM
    # Beyond plane 1, nothing is assigned but Han and what cannot be printed.
    for point in np.flatnonzero(table[:0x20000] == 0).tolist():
        table[point] |= _bits(chr(point))
    for mark in TERMINALS:
        table[ord(mark)] |= TERMINAL
    for mark in _CLAUSES:
        table[ord(mark)] |= CLAUSE
    for mark in _BREAKS:
        table[ord(mark)] |= BREAK
    for first, last in _UNPRINTABLE:
        table[first : last + 1] |= UNPRINTABLE
    for character in _traditional():
        table[ord(character)] |= TRADITIONAL
    table[0xFFFE::0x10000] |= UNPRINTABLE
    table[0xFFFF::0x10000] |= UNPRINTABLE
    return table


def _bits(character: str) -> int:
    if character.isalpha():
        return ALPHA | ALNUM
    if character.isalnum():
        return ALNUM
    if character.isspace():
        return SPACE
    category = unicodedata.category(character)
    if category in ("Cc", "Cf", "Co"):
        return UNPRINTABLE
    return SYMBOL if category[0] in "PS" else 0


def _traditional() -> list[str]:
    import opencc

    han = [chr(point) for point in (*range(0x3400, 0x4DC0), *range(0x4E00, 0xA000))]
    simplified = opencc.OpenCC("t2s").convert("\n".join(han)).split("\n")
    pairs = zip(han, simplified, strict=True)
    return [own for own, other in pairs if own != other and not own.encode("gb2312", "ignore")]


def code_points(text: str) -> np.ndarray:
    """uint32 [characters]."""
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def text(codes: np.ndarray) -> str:
    """The inverse of `code_points`."""
    return codes.tobytes().decode("utf-32-le")
