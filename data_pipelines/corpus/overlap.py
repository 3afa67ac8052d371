"""Finds what documents share with a set of given texts: `characters` letters in a row, or a whole text.

Seed and extend, as BLAST does it (Altschul et al. 1990). The index holds the given texts at every stride-th
letter, by the hash of the `shortest` letters there. With stride = characters - shortest + 1, whatever shares
`characters` letters holds a whole seed. Documents are hashed at every letter; few hashes pass two tables of
bits, fewer are found among the seeds, and those places are compared letter by letter and extended to both
sides. So nothing is missed, and nothing is found only because two hashes are equal.

Letters are those of `letters.py`: case, width, spaces, punctuation and the ends of lines do not count.
"""

import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from data_pipelines.corpus import letters

# Where a document shares letters with a text: the row of the document, letters [begin, end) of it, the text.
FOUND = pl.Schema({"row": pl.UInt32, "begin": pl.UInt32, "end": pl.UInt32, "text": pl.UInt32})

_TEXT_END = letters.END + 1  # behind a given text; no document holds it
_MULTIPLIER = 0x9E3779B97F4A7C15
_OTHER_MULTIPLIER = np.uint64(0xD1342543DE82EF95)
_TILE = 2**16  # letters hashed at a time: the arrays stay in the processor's cache
_BITS_A_SEED = 16  # at least; the tables' sizes are powers of two
_MASKS = (1 << (np.arange(256) & 7)).astype(np.uint8)
_PAIRS = 2**15  # places compared at a time


class OverlapIndex(NamedTuple):
    """Given texts by their letters; its arrays are mapped from files, so that processes share them.

    Attributes:
      characters, shortest: letters of an overlap; of a seed, and of the shortest text to be found whole.
      seeds: uint64 [seeds], sorted hashes.
      places: int64 [seeds], where each is in `stream`.
      bits: uint8 [2, 2^k]: two tables of bits with one set for each seed.
      stream: uint32, the texts' letters with `_TEXT_END` behind each, and padding on both sides.
      begins: int64 [texts + 1], where texts begin in `stream`.
    """

    characters: int
    shortest: int
    seeds: np.ndarray
    places: np.ndarray
    bits: np.ndarray
    stream: np.ndarray
    begins: np.ndarray

    @property
    def reach(self) -> int:
        """Letters that a seed is extended by, on each side: enough to decide, and to get to the next seed."""
        return self.characters - self.shortest


_ARRAYS = OverlapIndex._fields[2:]
_NUMBERS = "index.json"
FILES = (*(f"{name}.npy" for name in _ARRAYS), _NUMBERS)  # what `write` writes


def write(texts: Sequence[str], characters: int, shortest: int, folder: Path) -> None:
    """Writes the index of texts into `folder`. They are letters already, at least `shortest` of them each."""
    reach = characters - shortest
    lengths = np.array([len(text) for text in texts], np.int64)
    points = np.frombuffer("".join(f"{text}\uffff" for text in texts).encode("utf-32-le"), np.uint32)
    points = np.where(points == 0xFFFF, np.uint32(_TEXT_END), points)
    stream = _padded(points, reach + shortest, _TEXT_END)
    begins = reach + shortest + np.cumsum([0, *(lengths + 1)], dtype=np.int64)
    counts = (lengths - shortest) // (reach + 1) + 1
    nth = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    places = np.repeat(begins[:-1], counts) + nth * (reach + 1)
    seeds = np.empty(len(places), np.uint64)
    for tile in range(0, len(stream), _TILE):
        first, last = np.searchsorted(places, (tile, tile + _TILE))
        if first < last:
            hashed = hashes(stream[tile : tile + _TILE + shortest - 1], shortest)
            seeds[first:last] = hashed[places[first:last] - tile]
    order = np.argsort(seeds, kind="stable")  # places ascend already
    arrays = (seeds[order], places[order], _bits(seeds), stream, begins)
    for name, array in zip(_ARRAYS, arrays, strict=True):
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    (folder / _NUMBERS).write_text(json.dumps({"characters": characters, "shortest": shortest}), "utf-8")


@functools.lru_cache(maxsize=2)
def read(folder: Path) -> OverlapIndex:
    """The index that `write` wrote."""
    numbers = json.loads((folder / _NUMBERS).read_text("utf-8"))
    loaded = (np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS)
    return OverlapIndex(
        numbers["characters"], numbers["shortest"], *(array.view(np.ndarray) for array in loaded)
    )


def find(documents: pl.Series, index: OverlapIndex) -> pl.DataFrame:
    """Every place where a document shares letters with a text, as `FOUND`; a long one in several rows."""
    tables = [pl.DataFrame(schema=FOUND)]
    if len(index.seeds):
        for first, block in letters.blocks(documents):
            stream = _padded(letters.stream(block), index.reach, letters.END)
            for at, place in _pairs(stream, index):
                tables.append(_extended(stream, at, place, first, index))
    return pl.concat(tables)


def hashes(stream: np.ndarray, length: int) -> np.ndarray:
    """uint64 [len(stream) - length + 1]: a hash of the `length` letters from each place on.

    Neighbouring stretches of 1, 2, 4, ... letters are joined, in the end overlapping ones: factor * left +
    right modulo 2^64, a polynomial in `_MULTIPLIER`. Its high bits are the better ones.
    """
    factor = _MULTIPLIER
    joined = np.multiply(stream, np.uint64(factor), dtype=np.uint64)
    size = 1
    while size < length:
        step = min(size, length - size)
        longer = joined[:-step] * np.uint64(factor)
        longer += joined[step:]
        joined, size, factor = longer, size + step, factor * factor % 2**64
    return joined


def _slots(hashed: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(byte of the table, mask of the bit in it) of every hash: its high bits, and some in the middle."""
    shift = np.uint64(64 - (len(table) - 1).bit_length())
    return (hashed >> shift).view(np.int64), _MASKS.take(hashed.view(np.uint8)[4::8])


def _bits(seeds: np.ndarray) -> np.ndarray:
    tables = np.zeros((2, 2 ** max((len(seeds) * _BITS_A_SEED // 8).bit_length(), 8)), np.uint8)
    np.bitwise_or.at(tables[0], *_slots(seeds, tables[0]))
    np.bitwise_or.at(tables[1], *_slots(seeds * _OTHER_MULTIPLIER, tables[1]))
    return tables


def _may_be_seeds(hashed: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Places of the hashes that pass both tables: all that are among the seeds, and few others."""
    slots, masks = _slots(hashed, bits[0])
    at = np.flatnonzero(bits[0].take(slots) & masks != 0)
    slots, masks = _slots(hashed[at] * _OTHER_MULTIPLIER, bits[1])
    return at[bits[1].take(slots) & masks != 0]


def _padded(stream: np.ndarray, width: int, value: int) -> np.ndarray:
    edge = np.full(width, value, np.uint32)
    return np.concatenate([edge, stream, edge])


def _pairs(stream: np.ndarray, index: OverlapIndex) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(places in `stream`, places in the index) with equal hashes, int64 each, at most `_PAIRS` at a time."""
    stop = len(stream) - index.reach - index.shortest + 1
    for tile in range(index.reach, stop, _TILE):
        hashed = hashes(stream[tile : min(tile + _TILE, stop) + index.shortest - 1], index.shortest)
        at = _may_be_seeds(hashed, index.bits)
        if not len(at):
            continue
        low = np.searchsorted(index.seeds, hashed[at], "left")
        counts = np.searchsorted(index.seeds, hashed[at], "right") - low
        at, low, counts = at[counts > 0], low[counts > 0], counts[counts > 0]
        ends = np.cumsum(counts)
        for begin in range(0, int(counts.sum()), _PAIRS):
            nth = np.arange(begin, min(begin + _PAIRS, ends[-1]))
            which = np.searchsorted(ends, nth, "right")
            seed = low[which] + nth - (ends[which] - counts[which])
            yield tile + at[which], index.places[seed]


def _extended(
    stream: np.ndarray, at: np.ndarray, place: np.ndarray, first: int, index: OverlapIndex
) -> pl.DataFrame:
    """Of pairs of places those that are overlaps, from end to end as far as `reach`, as `FOUND`."""
    reach, shortest = index.reach, index.shortest
    window = np.arange(-reach, shortest + reach)
    same = stream[at[:, None] + window] == index.stream[place[:, None] + window]
    whole = same[:, reach : reach + shortest].all(1)
    same, at, place = same[whole], at[whole], place[whole]
    left = np.logical_and.accumulate(same[:, :reach][:, ::-1], 1).sum(1)
    right = np.logical_and.accumulate(same[:, reach + shortest :], 1).sum(1)
    text = np.searchsorted(index.begins, place, "right") - 1
    lengths = index.begins[text + 1] - index.begins[text] - 1
    enough = left + shortest + right >= np.minimum(index.characters, lengths)
    begin, end, text = (at - left)[enough], (at + shortest + right)[enough], text[enough]
    document_ends = np.flatnonzero(stream[reach:] == letters.END) + reach
    row = np.searchsorted(document_ends, begin)
    document = np.where(row > 0, document_ends[row - 1] + 1, reach)
    columns = (first + row, begin - document, end - document, text)
    return pl.DataFrame(dict(zip(FOUND, columns, strict=True)), schema_overrides=FOUND)
