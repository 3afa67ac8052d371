"""Which vocabulary a file is of, by its name."""

from collections.abc import Callable
from pathlib import Path

from data_pipelines.errors import DataError
from data_pipelines.pairs import piece_vocabulary, vocabulary
from data_pipelines.pairs.piece_vocabulary import PieceVocabulary
from data_pipelines.pairs.vocabulary import CaptionVocabulary, CharacterVocabulary

KINDS: dict[str, Callable[[Path], CaptionVocabulary]] = {
    vocabulary.FILE: CharacterVocabulary.from_file,
    piece_vocabulary.FILE: PieceVocabulary.from_file,
}


def opened(path: Path) -> CaptionVocabulary:
    """The vocabulary in a file.

    Raises:
      DataError: it is missing, damaged or of no known kind.
    """
    if path.name not in KINDS:
        raise DataError(f"{path} is no vocabulary that is known here: {', '.join(KINDS)}")
    return KINDS[path.name](path)
