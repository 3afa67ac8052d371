"""Text in lines, as the trainer of a vocabulary takes them: sentences, none of them too long for it."""

import re
from collections.abc import Iterator

# UTF-8 bytes. sentencepiece leaves out what is longer, and says so in a log that nobody sees.
LONGEST_LINE = 4192
_SENTENCE = re.compile(r"[^。！？!?\n]+[。！？!?”』」）)]*|[。！？!?]+[”』」）)]*")
# Where a line that is too long is cut, by preference.
_PAUSES = re.compile(r"[.．…;；]+\s*"), re.compile(r"[,，、:：]\s*"), re.compile(r"\s+")


def sentences(text: str) -> Iterator[str]:
    """The lines of a text cut at sentence ends, in order; nothing but newlines is missing.

    None has more than `LONGEST_LINE` bytes.
    """
    for sentence in _SENTENCE.findall(text):
        yield from within(sentence)


def within(line: str, longest: int = LONGEST_LINE) -> Iterator[str]:
    """A line in parts of at most `longest` (4 or more) bytes of UTF-8, never cut within a character.

    A part ends at a pause of the text, or at a space, where its second half has one.
    """
    begin = 0
    while begin < len(line):
        # What is left of a character at the end is no UTF-8, and is ignored.
        part = line[begin : begin + longest].encode()[:longest].decode(errors="ignore")
        if begin + len(part) < len(line):
            part = part[: _last_pause(part)]
        yield part
        begin += len(part)


def _last_pause(part: str) -> int:
    for pause in _PAUSES:
        if ends := [found.end() for found in pause.finditer(part, len(part) // 2)]:
            return ends[-1]
    return len(part)
