"""The ids that are no text: start, pad, eos, unk, mode tokens and sentinels; T5's if nothing else is said."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_pipelines.errors import DataError

PAD, EOS, UNK = 0, 1, 2
START = PAD  # T5's decoder begins with padding
SENTINELS = 100
MODES = ("[R]", "[S]", "[X]", "[C]")


class Modes(dict[str, int]):
    """Mode token -> id; empty for a vocabulary without them, such as T5's."""

    def __missing__(self, mode: str) -> int:
        raise DataError(
            f"the vocabulary has no mode token {mode}, as those of T5 have none: set the objective's mode to "
            "None (SpanCorruption.mode), or train with a vocabulary of ours (no corpus.vocabulary_file)"
        )


@dataclasses.dataclass(frozen=True)
class SpecialTokens:
    """The ids that objectives insert.

    Attributes:
      modes: mode token -> id.
      first_sentinel: id of `<extra_id_0>`; `sentinel(i)` is that of `<extra_id_i>`.
      sentinels: how many there are.
      eos: ends a text.
      start: what a decoder reads before the first token of a text; below 0 where it reads nothing.
      pad: fills what batches have too much; in some vocabularies the id of unknown text too, so that lengths
        and not ids say where a text ends.
      unk: unknown text.
    """

    modes: dict[str, int]
    first_sentinel: int
    sentinels: int = SENTINELS
    eos: int = EOS
    start: int = START
    pad: int = PAD
    unk: int = UNK

    def read(self, mode: str | None, *parts: Sequence[int] | np.ndarray) -> np.ndarray:
        """What the encoder reads of a text, in training and when it is asked: int32 [n].

        A mode token, if there is one, and the text; a vocabulary without modes is T5's, whose encoder reads
        the text and eos.
        """
        before = () if mode is None else ([self.modes[mode]],)
        after = () if self.modes else ([self.eos],)
        return np.concatenate([np.zeros(0, np.int32), *before, *parts, *after]).astype(np.int32)

    def sentinel(self, index: int) -> int:
        if not self.sentinels:
            raise DataError(
                "the vocabulary has no sentinels, so that spans cannot be marked: train with another "
                "objective (PrefixLM, with mode None for a vocabulary without modes)"
            )
        if not 0 <= index < self.sentinels:
            raise ValueError(f"sentinel {index} of {self.sentinels}")
        return self.first_sentinel - index


def has_t5_ids(model) -> bool:
    """Whether a sentencepiece processor numbers pad, eos and unk as T5 does."""
    return (model.pad_id(), model.eos_id(), model.unk_id()) == (PAD, EOS, UNK)
