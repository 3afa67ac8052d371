"""The vocabulary of a run of language, for captions: what its text tower and its decoder have learnt."""

from collections.abc import Iterable
from pathlib import Path

from data_pipelines.errors import DataError
from data_pipelines.pairs.vocabulary import END, PAD
from data_pipelines.text.vocabulary import Vocabulary

FILE = "vocabulary.model"  # as a run of language has it


class PieceVocabulary:
    """Pieces of SentencePiece under T5's conventions, whose ids 0, 1 and 2 are those of captions as well.

    No mode token and no sentinel is ever among the ids of a caption.

    Args:
      contents: of the file that a run of language keeps.
      path: where it is from, for messages.

    Raises:
      DataError: it is no such vocabulary.
    """

    end = END

    def __init__(self, contents: bytes, path: str | Path = FILE):
        self._contents = contents
        self._vocabulary = Vocabulary(path, contents)
        special = self._vocabulary.special
        if (special.pad, special.eos) != (PAD, END):
            raise DataError(
                f"{path} pads with id {special.pad} and ends in {special.eos}, and captions with {PAD} and "
                f"{END}: use the vocabulary of a run that was not imported with published ids"
            )

    @classmethod
    def from_file(cls, path: Path) -> "PieceVocabulary":
        """Of a file; DataError where it is missing or no such vocabulary."""
        try:
            return cls(path.read_bytes(), path)
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from None

    @property
    def size(self) -> int:
        """All ids are below it; sentinels are among them."""
        return self._vocabulary.size

    @property
    def hash(self) -> str:
        """Of its file: the fingerprint of the run of language."""
        return self._vocabulary.fingerprint

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without the end."""
        return self._vocabulary.encode(text).tolist()

    def decode(self, ids: Iterable[int]) -> str:
        """A text up to its end, without padding."""
        return self._vocabulary.decode(ids)

    def file(self) -> tuple[str, bytes]:
        """Its name beside a run's checkpoints, and what is in it."""
        return FILE, self._contents
