"""Files of JSON that are not lines of it: an array, or objects over several lines, value by value."""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import polars as pl

from data_pipelines.corpus.reading import encodings, json_lines, lines
from data_pipelines.corpus.reading.place import Place, Record

_HEAD = 1 << 16
_STEP = 1 << 20  # bytes that are decoded at a time
_MARK = re.compile(rb"(?:\xef\xbb\xbf)?\s*")
_BETWEEN = re.compile(r"[\s,\]\[]*")
# Where reading goes on behind what is no JSON.
_NEXT = re.compile(r"\n[\s,]*(?=\{)")
# json says it of the beginning of what it has not seen the end of.
_UNFINISHED = "Unterminated string"
_NEAR_THE_END = 16  # characters: no literal and no escape is longer
_SHOWN = 4000


def read(
    stream: io.BufferedReader, place: Place, begin: int = 0, end: int | None = None
) -> Iterator[Record | pl.DataFrame]:
    """The documents of a .json: as JSON lines where it holds those, else value by value, from 1.

    The form is told from the beginning of the file, whatever stretch is asked for; an array is one stretch.
    """
    if is_lines(stream, place):
        yield from json_lines.read(stream, place, begin, end)
    elif begin == 0:
        for number, value, sample in values(stream, place):
            if row := json_lines.row_of(value, place, number, sample):
                yield Record(number, row[0], row[1] or None, source=row[2] or None)


def is_lines(stream: io.BufferedReader, place: Place) -> bool:
    """Whether the first line is a whole object, or too long to be seen whole and the beginning of one.

    Of what is no text too: reading its lines says so.
    """
    head = encodings.as_utf8(stream.peek(_HEAD)[:_HEAD])
    if encodings.is_binary(head, place.settings.max_bad):
        return True
    start = _MARK.match(head)
    first, ended, _ = head[start.end() if start else 0 :].partition(b"\n")
    return first.startswith(b"{") and (not ended or first.rstrip().endswith(b"}"))


def values(stream: io.BufferedReader, place: Place) -> Iterator[tuple[int, Any, str]]:
    """(number from 1, value, its beginning as it is written) of each; what is no JSON goes to the quarantine.

    Raises:
      BrokenFileError, OSError: as the stream does, after the values before the break.
    """
    limit = place.settings.max_document_bytes
    window = _Window(stream, place)
    decoder = json.JSONDecoder()
    number = 0
    while window.at_a_value():
        number += 1
        while True:
            try:
                value, stop = decoder.raw_decode(window.text, window.at)
            except (ValueError, RecursionError) as error:
                reason = getattr(error, "msg", "nested too deeply or too long a number")
                at = getattr(error, "pos", 0)
                held = window.text[window.at : window.at + _SHOWN]
                unfinished = reason.startswith(_UNFINISHED) or at >= len(window.text) - _NEAR_THE_END
                if unfinished and len(window.text) - window.at > limit:
                    place.too_long(number, held)
                elif unfinished and window.more():
                    continue
                else:
                    place.reject(number, f"malformed JSON: {reason}", held)
                window.to_next_line()
            else:
                sample = window.text[window.at : min(stop, window.at + _SHOWN)]
                window.at = stop
                yield number, value, sample
            break
    if window.error:
        raise window.error


class _Window:
    """The part of a stream, as text, that is held; `at`: how far it has been read."""

    def __init__(self, stream: io.BufferedReader, place: Place):
        self._stream, self._place = stream, place
        name = encodings.name_of(stream.peek(_HEAD)[:_HEAD], place.settings.max_bad)
        self._decoder = encodings.incremental(name)
        self._over = False
        self.text, self.at = "", 0
        self.error: Exception | None = None

    def at_a_value(self) -> bool:
        """Moves to where the next value begins; False at the end."""
        while True:
            between = _BETWEEN.match(self.text, self.at)
            self.at = between.end() if between else self.at
            if self.at < len(self.text):
                return True
            if not self.more():
                return False

    def more(self) -> bool:
        """Reads on, as much as is held and at least a step; False at the end."""
        if self._over:
            return False
        self.text, self.at = self.text[self.at :], 0
        data, self.error = lines.read(self._stream, max(_STEP, len(self.text)))
        self._over = not data or self.error is not None
        piece = self._decoder.decode(data, final=self._over)
        self._place.note("bad bytes", piece.count("�"))
        self.text += piece
        return True

    def to_next_line(self) -> None:
        """Moves to the next line that begins an object, or to the end."""
        while True:
            if found := _NEXT.search(self.text, self.at + 1):
                self.at = found.end()
                return
            self.at = max(self.at, len(self.text) - 1)
            if not self.more():
                self.at = len(self.text)
                return
