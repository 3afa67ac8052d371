"""What the workload needs of a corpus, and of how a report's texts are drawn."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from pangu_jax.workloads import Source, TrainStream


class TokenData(Protocol):
    """What the workload needs of a corpus: windows of tokens with seqio's packed feature names."""

    encoder_length: int
    decoder_length: int

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below it."""
        ...

    @property
    def task_names(self) -> tuple[str, ...]:
        """The mixture's tasks, in the order of `task_id`."""
        ...

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """Endless batches of the mixture."""
        ...

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """A finite source for each task, from held-out documents."""
        ...

    def fingerprint(self) -> dict[str, str]:
        """The vocabulary's hash."""
        ...

    def order(self) -> dict[str, str]:
        """What decides the training stream besides its seed (see `Workload.order`)."""
        ...


@runtime_checkable
class TextData(Protocol):
    """What a corpus of text has besides: n-gram models to compare with, and what was made of the text."""

    objectives: Mapping[str, object]  # in the order of `task_names`

    def baselines(self, objective: str) -> dict[str, float]:
        """Held-out nats per token of n-gram models on an objective's targets."""
        ...

    def use_of_text(self) -> tuple[Sequence[str], Sequence[Sequence[str | int | None]]]:
        """Headings and rows: how much of the text was held out, trained on, seen by the vocabulary."""
        ...


@runtime_checkable
class Drawing(Protocol):
    """How tokens of a text are drawn, such as `pangu_jax.apps.language.decoding.settings.Sampling`."""

    @property
    def temperature(self) -> float:
        """Divides the logits."""
        ...

    @property
    def top_p(self) -> float:
        """The share of the likeliest that is drawn from."""
        ...
