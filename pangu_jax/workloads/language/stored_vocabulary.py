"""The vocabulary of a finished run, in the place of the corpus that it was trained on."""

import functools
from collections.abc import Mapping
from pathlib import Path

from data_pipelines.errors import DataError
from data_pipelines.text.vocabulary import Vocabulary
from pangu_jax.errors import UserError
from pangu_jax.workloads import Source, TrainStream

FILE = "vocabulary.model"  # beside the run's checkpoints


class StoredVocabulary:
    """What is left of a run's data: ids and texts, but no windows to learn from.

    Args:
      directory: the run directory.
    """

    encoder_length = decoder_length = 0  # of no windows
    task_names: tuple[str, ...] = ()

    def __init__(self, directory: Path):
        self.file = directory / FILE

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary.

        Raises:
          DataError: its file is missing or damaged.
        """
        if not self.file.is_file():
            raise DataError(
                f"{self.file} is missing, and text cannot be read without it: run this run's "
                "`pangu train` again, which puts it there, or copy it from the token cache"
            )
        return Vocabulary(self.file)

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below it."""
        return self.vocabulary.size

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """UserError: there is nothing to learn from."""
        del batch_size, seed, shift
        raise UserError(f"{self.file.parent} was opened without its corpus: `pangu train` trains it further")

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """None."""
        del batch_size
        return {}

    def order(self) -> dict[str, str]:
        """There are no windows, in no order."""
        return {}

    def fingerprint(self) -> dict[str, str]:
        """The vocabulary's hash; nothing for a run that was trained without text."""
        return {"vocabulary": self.vocabulary.fingerprint} if self.file.is_file() else {}
