"""Documents as rules see them: all of a batch at once, in views that rules share.

A batch never changes; an edit makes a new one. So a view is computed when the first rule asks for it, and
again only after an edit or a selection.
"""

import functools
import itertools
from collections.abc import Iterator

import numpy as np
import polars as pl

from data_pipelines.corpus.cleaning import characters
from data_pipelines.corpus.cleaning.segmentation import Words
from data_pipelines.corpus.cleaning.sums import ratio, sums
from data_pipelines.corpus.spans import Spans

# UTF-8 bytes of text: the views of so much stay in the processor's cache.
BATCH_BYTES = 2 * 2**20


def batches(texts: pl.Series) -> Iterator[tuple[int, "Batch"]]:
    """(row of its first document, batch) in runs of at most BATCH_BYTES, or one document."""
    sizes = texts.str.len_bytes().to_numpy().cumsum(dtype=np.int64)
    begin = 0
    while begin < len(texts):
        before = int(sizes[begin - 1]) if begin else 0
        end = max(int(np.searchsorted(sizes, before + BATCH_BYTES, "right")), begin + 1)
        yield begin, Batch(texts[begin:end])
        begin = end


class Batch:
    """Documents and what rules know of them.

    Attributes:
      texts: strings [documents], without nulls.
      lengths: int64 [documents], characters.
      codes: uint32 [characters], the code points of all texts end to end.
      starts: int64 [documents + 1]: document d is codes[starts[d] : starts[d + 1]].
      classes: uint16 [characters], see `characters`.
      alive: bool [documents], those not rejected yet. Filters need not measure the others.
    """

    def __init__(self, texts: pl.Series):
        self.texts = texts

    @classmethod
    def of_codes(cls, codes: np.ndarray, lengths: np.ndarray) -> "Batch":
        """The batch whose `codes` and `lengths` these are."""
        batch = cls.__new__(cls)
        batch.codes = codes
        batch.lengths = lengths
        return batch

    @functools.cached_property
    def texts(self) -> pl.Series:
        return pl.Series("text", self.strings, pl.String)

    @functools.cached_property
    def strings(self) -> list[str]:
        """`texts` as Python's."""
        if "texts" in self.__dict__:
            return self.texts.to_list()
        joined = characters.text(self.codes)
        return [joined[i:j] for i, j in itertools.pairwise(self.starts.tolist())]

    @functools.cached_property
    def alive(self) -> np.ndarray:
        return np.ones(len(self), bool)

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        return self.texts.str.len_chars().to_numpy().astype(np.int64)

    @functools.cached_property
    def codes(self) -> np.ndarray:
        return characters.code_points(self.texts.str.join("").item() if len(self.texts) else "")

    @functools.cached_property
    def starts(self) -> np.ndarray:
        return np.concatenate(([0], np.cumsum(self.lengths)))

    @functools.cached_property
    def classes(self) -> np.ndarray:
        return characters.classes().take(self.codes, mode="clip")

    @functools.cached_property
    def spans(self) -> Spans:
        """Hashes of spans of `codes`."""
        return Spans(self.codes)

    @functools.cached_property
    def lines(self) -> "Lines":
        return Lines(self)

    @functools.cached_property
    def words(self) -> Words:
        """The segmentation: by far the most costly view."""
        return Words(self.strings, self.codes, self.starts, self.classes)

    @property
    def segmented(self) -> bool:
        """Whether `words` has been computed."""
        return "words" in self.__dict__

    def __len__(self) -> int:
        return len(self.lengths)

    def places(self, classes: int) -> np.ndarray:
        """int64: where in `codes` there are characters of one of the classes."""
        return np.flatnonzero((self.classes & classes) != 0)

    def count(self, classes: int) -> np.ndarray:
        """int64 [documents]: characters that are in any of the classes."""
        if classes not in self._counts:
            self._counts[classes] = self.sums((self.classes & classes) != 0)
        return self._counts[classes]

    @functools.cached_property
    def _counts(self) -> dict[int, np.ndarray]:
        return {}

    def sums(self, values: np.ndarray) -> np.ndarray:
        """int64 [documents]: sums of a number (or truth) per character."""
        return sums(values, self.starts)

    def select(self, keep: np.ndarray) -> "Batch":
        """The documents of `keep`, bool [documents]."""
        if "texts" in self.__dict__:
            batch = Batch(self.texts.filter(keep))
            if "strings" in self.__dict__:
                batch.strings = list(itertools.compress(self.strings, keep))
            return batch
        return Batch.of_codes(self.codes.compress(np.repeat(keep, self.lengths)), self.lengths[keep])

    def put(self, rows: np.ndarray, texts: pl.Series) -> "Batch":
        """With other texts in `rows`, ascending ints."""
        if not len(rows):
            return self
        order = np.arange(len(self))
        order[rows] = len(self) + np.arange(len(rows))
        batch = Batch(pl.concat([self.texts, texts.rename(self.texts.name)])[order])
        if "codes" in self.__dict__:
            edges = [0, *self.starts[np.stack((rows, rows + 1))].T.ravel().tolist(), len(self.codes)]
            pieces = [self.codes[i:j] for i, j in zip(edges[::2], edges[1::2], strict=True)]
            between = [characters.code_points(text) for text in texts]
            batch.codes = np.concatenate([*itertools.chain(*zip(pieces, between, strict=False)), pieces[-1]])
        return batch

    def patch(self, places: np.ndarray, codes: np.ndarray) -> "Batch":
        """With other characters at `places`, ints."""
        batch = Batch.of_codes(self.codes.copy(), self.lengths)
        batch.codes[places] = codes
        if "classes" in self.__dict__:
            batch.classes = self.classes.copy()
            batch.classes[places] = characters.classes().take(codes)
        return batch


class Lines:
    """The lines of a batch's documents that are not blank.

    Attributes:
      begins, ends: int64 [lines], into the batch's codes; the newline is outside.
      documents: int64 [lines].
      count: int64 [documents].
    """

    def __init__(self, batch: Batch):
        breaks = np.flatnonzero(batch.codes == ord("\n"))
        of_break = np.searchsorted(batch.starts, breaks, "right") - 1
        first = np.arange(len(batch)) + np.searchsorted(breaks, batch.starts[:-1])
        begins = np.empty(len(batch) + len(breaks), np.int64)
        ends = np.empty_like(begins)
        begins[first] = batch.starts[:-1]
        begins[np.arange(len(breaks)) + of_break + 1] = breaks + 1
        ends[np.arange(len(breaks)) + of_break] = breaks
        ends[np.append(first[1:], len(begins))[: len(first)] - 1] = batch.starts[1:]
        self._batch, self._all = batch, np.diff(np.append(first, len(begins)))
        documents = np.repeat(np.arange(len(batch)), self._all)
        spaces = batch.places(characters.SPACE)
        visible = (ends - begins) > np.searchsorted(spaces, ends) - np.searchsorted(spaces, begins)
        self._visible = visible
        self.begins, self.ends, self.documents = begins[visible], ends[visible], documents[visible]
        self.count = np.bincount(self.documents, minlength=len(batch))

    @property
    def lengths(self) -> np.ndarray:
        """int64 [lines], characters."""
        return self.ends - self.begins

    def share(self, lines: np.ndarray) -> np.ndarray:
        """float64 [documents]: share of the lines in `lines`, bool [lines]; 0 where there are none."""
        return ratio(np.bincount(self.documents[lines], minlength=len(self._batch)), self.count)

    def holding(self, classes: int) -> np.ndarray:
        """bool [lines]: holds a character of one of the classes."""
        places = self._batch.places(classes)
        return np.searchsorted(places, self.ends) > np.searchsorted(places, self.begins)

    @functools.cached_property
    def first(self) -> np.ndarray:
        """uint32 [lines]: the first character."""
        return self._batch.codes[self.begins]

    @functools.cached_property
    def last(self) -> np.ndarray:
        """uint32 [lines]: the last character."""
        return self._batch.codes[self.ends - 1]

    @functools.cached_property
    def seen_before(self) -> np.ndarray:
        """bool [lines]: the document has the same line earlier."""
        lines = self._batch.texts.str.split("\n").explode()
        documents = pl.Series(np.repeat(np.arange(len(self._batch)), self._all))
        first = pl.select(pl.struct(documents, lines.rename("line")).is_first_distinct()).to_series()
        return ~first.to_numpy()[self._visible]
