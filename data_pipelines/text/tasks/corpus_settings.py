"""The settings of a corpus: which text it is, and the key of the token cache that is made of it."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from data_pipelines import cache
from data_pipelines.errors import DataError
from data_pipelines.text import folder, quickstart
from data_pipelines.text.denoising import DenoisingObjective
from data_pipelines.text.documents import Document, Split, split
from data_pipelines.text.tasks.pangu_corpus import open_
from data_pipelines.text.vocabulary.adopting import content_of

# Raise it when the records of a cache change, so that caches of older code are not read.
FORMAT = 2


@dataclasses.dataclass(frozen=True)
class CorpusSettings:
    """As `mixture.corpus` documents them; `trained_size` is its `vocabulary_size`."""

    path: str | None
    text_field: str
    documents: str
    trained_size: int
    vocabulary_file: str | None
    encoder_length: int
    decoder_length: int
    objectives: Mapping[str, DenoisingObjective]
    weights: Mapping[str, float]
    validation_fraction: float
    validation_windows: int
    cache_dir: str | None

    @property
    def name(self) -> str:
        """Prefix of the seqio tasks and of the TFDS datasets."""
        return "quickstart" if self.path is None else "corpus"

    @property
    def cache_root(self) -> Path:
        return Path(self.cache_dir).expanduser() if self.cache_dir else cache.default_root()

    def split(self, quarantine: folder.Quarantine | None = None) -> Split:
        """The documents in train and validation; what a built corpus holds out is held out here too."""
        built = open_(self.path) if self.path is not None else None
        held_out = built.mixture["validation_fraction"] if built else 0.0
        return split(self.read(quarantine), self.validation_fraction, held_out_below=held_out)

    def read(self, quarantine: folder.Quarantine | None = None) -> Iterator[Document]:
        """Iterates over the documents, duplicates included. Raises DataError when there is no text."""
        if self.path is None:
            return quickstart.documents()
        if built := open_(self.path):
            held_out = built.mixture["validation_fraction"]
            if self.validation_fraction < held_out:
                raise DataError(
                    f"corpus.validation_fraction {self.validation_fraction} is below the {held_out} that "
                    f"{self.path} holds out: held out text would be trained on; set it to {held_out} or more"
                )
            return built.documents()
        return folder.documents(self.path, self.text_field, self.documents, quarantine)

    def text_key(self) -> str:
        """sha256 over the names and bytes of the text files and over how documents are read from them."""
        if self.path is not None and (built := open_(self.path)):
            return hashlib.sha256(f"{FORMAT} {built.fingerprint}".encode()).hexdigest()
        paths = quickstart.files() if self.path is None else folder.files(self.path)
        how: list[object] = [FORMAT, self.text_field, self.documents]
        if self.path is not None:
            how += [folder.FORMAT, dataclasses.asdict(folder.reading(self.text_field, self.documents))]
        key = hashlib.sha256(json.dumps(how).encode())
        for path in paths:
            try:
                with path.open("rb") as stream:
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError as error:  # An unreadable file is quarantined when it is read.
                digest = f"unreadable: {error.errno}"
            key.update(f"{path.name} {digest}\n".encode())
        return key.hexdigest()

    def vocabulary_key(self) -> dict[str, str | float]:
        if self.vocabulary_file:
            try:
                content = content_of(Path(self.vocabulary_file).expanduser())
            except OSError as error:
                raise DataError(
                    f"corpus.vocabulary_file: cannot read {self.vocabulary_file}: {error.strerror}"
                ) from error
            return {"vocabulary_file": hashlib.sha256(content).hexdigest()}
        return {"vocabulary_size": self.trained_size, "validation_fraction": self.validation_fraction}

    def key(self) -> dict:
        """Everything the token cache depends on, JSON-able."""
        return {"format": FORMAT, "text": self.text_key(), **self.windows_key()}

    def windows_key(self) -> dict:
        """What windows depend on besides their text, JSON-able."""
        return {
            "vocabulary": self.vocabulary_key(),
            "encoder_length": self.encoder_length,
            "decoder_length": self.decoder_length,
            "validation_fraction": self.validation_fraction,
            "objectives": {
                name: {"class": type(objective).__name__, **dataclasses.asdict(objective)}
                for name, objective in self.objectives.items()
            },
        }

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names by `task_id`: `quickstart_span`, ..."""
        return tuple(f"{self.name}_{objective}" for objective in self.objectives)
