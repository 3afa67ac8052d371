"""The ids that are no text: pad, eos, unk, mode tokens and sentinels, under T5's conventions."""

import dataclasses

from data_pipelines.errors import DataError

PAD, EOS, UNK = 0, 1, 2
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
    """The ids that objectives insert. `sentinel(i)` is the id of `<extra_id_i>`."""

    modes: dict[str, int]
    first_sentinel: int
    sentinels: int = SENTINELS
    eos: int = EOS

    def mode(self, name: str | None) -> list[int]:
        """What the encoder reads before the text: a mode token, or for None nothing, as T5 has it."""
        return [] if name is None else [self.modes[name]]

    def sentinel(self, index: int) -> int:
        if not 0 <= index < self.sentinels:
            raise ValueError(f"sentinel {index} of {self.sentinels}")
        return self.first_sentinel - index


def has_t5_ids(model) -> bool:
    """Whether a sentencepiece processor numbers pad, eos and unk as T5 does."""
    return (model.pad_id(), model.eos_id(), model.unk_id()) == (PAD, EOS, UNK)
