"""Which vocabulary a file is of, by its name."""

from pathlib import Path

from data_pipelines.errors import DataError
from data_pipelines.pairs import vocabulary
from data_pipelines.pairs.vocabulary import CaptionVocabulary, CharacterVocabulary

KINDS = {vocabulary.FILE: CharacterVocabulary.from_file}


def opened(path: Path) -> CaptionVocabulary:
    """The vocabulary in a file.

    Raises:
      DataError: it is missing, damaged or of no known kind.
    """
    if path.name not in KINDS:
        raise DataError(f"{path} is no vocabulary that is known here: {', '.join(KINDS)}")
    return KINDS[path.name](path)
