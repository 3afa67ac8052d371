"""Which vocabulary a file is of, by its name."""

from collections.abc import Callable
from pathlib import Path

import gin

from data_pipelines.errors import DataError
from data_pipelines.pairs import piece_vocabulary, vocabulary, word_pieces
from data_pipelines.pairs.piece_vocabulary import PieceVocabulary
from data_pipelines.pairs.vocabulary import CaptionVocabulary, CharacterVocabulary

KINDS: dict[str, Callable[[Path], CaptionVocabulary]] = {
    vocabulary.FILE: CharacterVocabulary.from_file,
    piece_vocabulary.FILE: PieceVocabulary.from_file,
    word_pieces.WORD_PIECES: word_pieces.WordPieceVocabulary.from_file,
    word_pieces.SIGLIP: word_pieces.SiglipVocabulary.from_file,
}


def opened(path: Path) -> CaptionVocabulary:
    """The vocabulary in a file.

    Raises:
      DataError: it is missing, damaged or of no known kind.
    """
    if path.name not in KINDS:
        raise DataError(f"{path} is no vocabulary that is known here: {', '.join(KINDS)}")
    return KINDS[path.name](path)


@gin.configurable
def caption_vocabulary(file: str | None = None) -> CaptionVocabulary:
    """The vocabulary of another run, or of an imported model: `pairs.vocabulary = @caption_vocabulary()`.

    Args:
      file: must be given: characters.json, word_pieces.json or spiece.model of a run directory.

    Raises:
      DataError: it is not given, missing, damaged or of no known kind.
    """
    if not file:
        raise DataError("caption_vocabulary.file is not set: name a vocabulary's file in a run directory")
    return opened(Path(file))
