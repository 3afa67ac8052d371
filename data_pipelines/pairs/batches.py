"""Batches of pairs, of pictures alone and of captions alone, as `data_pipelines.batches` takes them.

As for pictures, a batch is a pure function of cache, seed and pairs read.
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from data_pipelines.batches import Batch
from data_pipelines.pairs.views import Views
from data_pipelines.pairs.vocabulary import PAD, CaptionVocabulary, fitted


class CaptionedPictures(Protocol):
    """What tasks need of a side of pairs, such as `pair_set.PairSet`."""

    @property
    def picture_count(self) -> int:
        """Pictures, numbered from 0."""
        ...

    @property
    def place_P(self) -> np.ndarray:
        """Of each in the source, int64."""
        ...

    @property
    def text(self) -> Sequence[str]:
        """Captions."""
        ...

    def texts_of(self, picture: int) -> np.ndarray:
        """Numbers of a picture's captions."""
        ...

    def picture_name(self, picture: int) -> str:
        """As the source has it."""
        ...


@dataclasses.dataclass(frozen=True)
class CaptionTokens:
    """How captions become rows of tokens: by which vocabulary, and of what length."""

    vocabulary: CaptionVocabulary
    length: int

    def row(self, text: str | None) -> np.ndarray:
        """int32 [T]: the text, its end, and padding; of None padding alone."""
        row = np.full(self.length, PAD, np.int32)
        if text is not None:
            ids, _ = fitted(text, self.vocabulary, self.length)
            row[: len(ids)] = ids
        return row


@dataclasses.dataclass
class PairTask:
    """One side of a set of pairs.

    Attributes:
      name: in the mixture.
      index: its `task_id`.
      pairs: what is drawn from; its numbers are those of `picture` and `text` in a batch.
      views: what is shown of a picture, by its place: pixels, or features of them.
      tokens: of captions.
      links: every pair of the set in the order in which they are shown; None to show every picture once, with
        one of its captions that is drawn.
      size: pairs per epoch.
      records: pictures, or places in `links`.
    """

    name: str
    index: int
    pairs: CaptionedPictures
    views: Views
    tokens: CaptionTokens
    links: np.ndarray | None = None
    size: int = dataclasses.field(init=False)
    records: Sequence[int] = dataclasses.field(init=False)

    def __post_init__(self):
        self.size = self.pairs.picture_count if self.links is None else len(self.links)
        self.records = range(self.size)

    def window(self, record: int, rng: np.random.Generator) -> Batch:
        """image uint8 [1, S, S, C], or what else `views` shows · tokens int32 [T] · picture, text int32 [] ·
        weight float32 [] · task_id int32 []."""
        if self.links is None:
            own = self.pairs.texts_of(record)
            picture, text = record, int(own[rng.integers(len(own))])
        else:
            text, picture = map(int, self.links[record])
        shown = self.views.shown(int(self.pairs.place_P[picture]), rng)
        return self._row(shown, self.pairs.text[text], picture, text, 1.0)

    def identity(self, record: int) -> str:
        """The picture's name."""
        picture = record if self.links is None else int(self.links[record, 1])
        return f"{self.name}: {self.pairs.picture_name(picture)}"

    def padding(self) -> Batch:
        """A row without weight, to fill a last batch."""
        return self._row(self.views.nothing(), None, -1, -1, 0.0)

    def _row(self, shown: Batch, said: str | None, picture: int, text: int, weight: float) -> Batch:
        return {
            **shown,
            "tokens": self.tokens.row(said),
            "picture": np.asarray(picture, np.int32),
            "text": np.asarray(text, np.int32),
            "weight": np.asarray(weight, np.float32),
            "task_id": np.asarray(self.index, np.int32),
        }


@dataclasses.dataclass
class PairPictureTask:
    """The pictures of a set of pairs, each once: image, picture, weight and task_id of `PairTask`."""

    pairs: PairTask

    def __post_init__(self):
        self.name, self.index = self.pairs.name, self.pairs.index
        self.size = self.pairs.pairs.picture_count
        self.records: Sequence[int] = range(self.size)

    def window(self, record: int, rng: np.random.Generator) -> Batch:
        """A picture."""
        place = int(self.pairs.pairs.place_P[record])
        return self._row(self.pairs.views.shown(place, rng), record, 1.0)

    def identity(self, record: int) -> str:
        """The picture's name."""
        return f"{self.name}: {self.pairs.pairs.picture_name(record)}"

    def padding(self) -> Batch:
        """A row without weight."""
        return self._row(self.pairs.views.nothing(), -1, 0.0)

    def _row(self, shown: Batch, picture: int, weight: float) -> Batch:
        return {
            **shown,
            "picture": np.asarray(picture, np.int32),
            "weight": np.asarray(weight, np.float32),
            "task_id": np.asarray(self.index, np.int32),
        }


@dataclasses.dataclass
class CaptionTask:
    """The captions of a set of pairs, each once: tokens, text, weight and task_id of `PairTask`."""

    pairs: PairTask

    def __post_init__(self):
        self.name, self.index = self.pairs.name, self.pairs.index
        self.size = len(self.pairs.pairs.text)
        self.records: Sequence[int] = range(self.size)

    def window(self, record: int, rng: np.random.Generator) -> Batch:
        """A caption."""
        del rng
        return self._row(self.pairs.pairs.text[record], record, 1.0)

    def identity(self, record: int) -> str:
        """The caption."""
        return f"{self.name}: {self.pairs.pairs.text[record]}"

    def padding(self) -> Batch:
        """A row without weight."""
        return self._row(None, -1, 0.0)

    def _row(self, said: str | None, text: int, weight: float) -> Batch:
        return {
            "tokens": self.pairs.tokens.row(said),
            "text": np.asarray(text, np.int32),
            "weight": np.asarray(weight, np.float32),
            "task_id": np.asarray(self.index, np.int32),
        }
