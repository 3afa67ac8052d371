"""One side of a set of pairs: pictures and captions by numbers of its own, and which is right of which."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data_pipelines.batches import ValidationBatches
from data_pipelines.images.augment import Augmentation
from data_pipelines.images.batches import Pictures, PictureTask
from data_pipelines.pairs.batches import CaptionTask, CaptionTokens, PairPictureTask, PairTask
from data_pipelines.pairs.stored_features import StoredFeatures
from data_pipelines.pairs.texts import CaptionTexts
from data_pipelines.pairs.views import PixelViews, Views

TASK = "pairs"


@dataclass(frozen=True)
class PairSet:
    """Pictures and captions of one side.

    Attributes:
      pictures: of both sides.
      place_P: of each picture of this side in them, int64.
      text: captions as the source has them: equal ones of several pictures are several.
      links: int32 [L, 2] (text, picture): all right pairs that the source tells of, by texts.
      augment: steps that make a view.
      size: pixels of its side.
      tokens: how captions become tokens.
      features: gives what is shown in the place of pictures, when it is needed; None for pictures.
    """

    pictures: Pictures
    place_P: np.ndarray
    text: CaptionTexts
    links: np.ndarray
    augment: tuple[Augmentation, ...]
    size: int
    tokens: CaptionTokens
    features: Callable[[], StoredFeatures] | None = None

    @property
    def picture_count(self) -> int:
        """Pictures, numbered from 0."""
        return len(self.place_P)

    @functools.cached_property
    def sentence_T(self) -> np.ndarray:
        """Of each caption a number that it shares with those of the same words, int32."""
        numbers: dict[str, int] = {}
        return np.array([numbers.setdefault(text, len(numbers)) for text in self.text], np.int32)

    @functools.cached_property
    def links_by_sentence(self) -> np.ndarray:
        """`links`, and every caption is right of the pictures that another of the same words is of, too."""
        pictures: dict[int, set[int]] = {}
        for text, picture in self.links.tolist():
            pictures.setdefault(int(self.sentence_T[text]), set()).add(picture)
        found = [
            (text, picture)
            for text, sentence in enumerate(self.sentence_T.tolist())
            for picture in sorted(pictures[sentence])
        ]
        return np.array(found, np.int32).reshape(-1, 2)

    @functools.cached_property
    def _by_picture(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each picture's captions begin, int64 [P + 1], and the captions, int32 [L]."""
        order = np.lexsort(self.links.T)
        counts = np.bincount(self.links[:, 1], minlength=self.picture_count)
        return np.cumsum([0, *counts]), self.links[order, 0]

    def texts_of(self, picture: int) -> np.ndarray:
        """Numbers of a picture's captions, int32."""
        first_P, text_L = self._by_picture
        return text_L[first_P[picture] : first_P[picture + 1]]

    def picture_name(self, picture: int) -> str:
        """As the source has it."""
        return self.pictures.name(int(self.place_P[picture]))

    @property
    def picture_names(self) -> list[str]:
        """Of all pictures."""
        return [self.picture_name(picture) for picture in range(self.picture_count)]

    def shuffled(self) -> "PairSet":
        """The control: every picture has the captions of another one. The same each time."""
        order = np.random.default_rng(0).permutation(self.picture_count)
        other_P = np.empty(self.picture_count, np.int32)
        other_P[order] = np.roll(order, 1)  # one round of all: no picture keeps its own
        links = np.stack([self.links[:, 0], other_P[self.links[:, 1]]], axis=1)
        return dataclasses.replace(self, links=links)

    def with_pixels(self) -> "PairSet":
        """The same, and pictures are shown themselves."""
        return dataclasses.replace(self, features=None)

    def drawn(self) -> PairTask:
        """Every picture once in an epoch, with one of its captions."""
        return PairTask(TASK, 0, self, self._views(), self.tokens)

    def once(self, batch_size: int) -> ValidationBatches:
        """Every right pair once: the first captions of all pictures, then the second, and so on, so that a
        batch has as many different pictures as can be."""
        first_P, text_L = self._by_picture
        picture_L = np.repeat(np.arange(self.picture_count), np.diff(first_P))
        rank_L = np.arange(len(text_L)) - first_P[picture_L]
        order = np.lexsort((picture_L, rank_L))
        links = np.stack([text_L[order], picture_L[order]], axis=1)
        task = PairTask(TASK, 0, self, self._views(), self.tokens, links)
        return ValidationBatches(task, batch_size)

    def pictures_once(self, batch_size: int) -> ValidationBatches:
        """Every picture once: image uint8 [B, 1, S, S, C], picture and task_id int32 [B], weight fp32 [B]."""
        return ValidationBatches(PairPictureTask(self.drawn()), batch_size)

    def texts_once(self, batch_size: int) -> ValidationBatches:
        """Every caption once: tokens int32 [B, T], text and task_id int32 [B], weight fp32 [B]."""
        return ValidationBatches(CaptionTask(self.drawn()), batch_size)

    def _views(self) -> Views:
        if self.features is not None:
            return self.features()
        return PixelViews(PictureTask(TASK, 0, self.pictures, (), self.augment, self.size, function="pairs"))


def chosen(
    pictures: Pictures,
    text: CaptionTexts,
    links_Lx2: np.ndarray,
    wanted_N: np.ndarray,
    augment: tuple[Augmentation, ...],
    size: int,
    tokens: CaptionTokens,
    features: Callable[[], StoredFeatures] | None = None,
) -> PairSet:
    """The side of the pictures that are wanted and have a caption.

    Args:
      pictures: of all sides.
      text: of all sides.
      links_Lx2: int32 (text, place in pictures).
      wanted_N: bool, by places.
      augment, size, tokens, features: as `PairSet` has them.
    """
    own = links_Lx2[wanted_N[links_Lx2[:, 1]]]
    texts, text_L = np.unique(own[:, 0], return_inverse=True)
    places, picture_L = np.unique(own[:, 1], return_inverse=True)
    links = np.stack([text_L, picture_L], axis=1).astype(np.int32)
    return PairSet(
        pictures, places.astype(np.int64), text.chosen(texts), links, augment, size, tokens, features
    )
