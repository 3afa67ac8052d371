"""What a model of pictures and captions needs of its pairs, and what is left of them in a finished run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from data_pipelines.pairs.vocabulary import CaptionVocabulary
from pangu_jax.workloads import Source, TrainStream
from pangu_jax.workloads.no_views import NoViews


class PairData(Protocol):
    """Where pairs come from, such as `data_pipelines.pairs.pairs.ImageTextPairs`.

    A batch is image uint8 [B, 1, size, size, channels], tokens int32 [B, length] (the end, then zeros),
    picture, text and task_id int32 [B], weight [B].
    """

    @property
    def size(self) -> int:
        """Pixels of a picture's side."""
        ...

    @property
    def channels(self) -> int:
        """Of a picture."""
        ...

    @property
    def length(self) -> int:
        """Tokens of a caption, its end among them."""
        ...

    @property
    def vocabulary(self) -> CaptionVocabulary:
        """What captions are cut into."""
        ...

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """Endless pairs."""
        ...

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """Every pair that is held out, once."""
        ...

    def order(self) -> dict[str, str]:
        """What decides the stream, in words."""
        ...

    def notices(self) -> Sequence[str]:
        """What a person must be told."""
        ...


@dataclass(frozen=True)
class NoPairs(NoViews):
    """What is left of the pairs when a finished run is opened: their shape and their vocabulary."""

    size: int
    channels: int
    length: int
    vocabulary: CaptionVocabulary
