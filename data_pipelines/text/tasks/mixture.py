"""The corpus a recipe names: which text, which vocabulary, which objectives with which weights.

LanguageModel.data = @corpus()
corpus.path = '/my/text'                                  # None: the quickstart corpus
corpus.weights = {'span': 1, 'prefix': 2, 'causal': 1}
corpus.objectives = {'span': @SpanCorruption(), 'prefix': @PrefixLM(), 'x': @x/SpanCorruption()}
x/SpanCorruption.rate = 0.5
"""

import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence

import gin

from data_pipelines import cache
from data_pipelines.batches import Mixture, ValidationBatches
from data_pipelines.corpus.reading import left_out
from data_pipelines.errors import DataError
from data_pipelines.text.denoising import Causal, DenoisingObjective, PrefixLM, SpanCorruption
from data_pipelines.text.documents import Document
from data_pipelines.text.tasks import building, use_of_text
from data_pipelines.text.tasks.corpus_settings import CorpusSettings
from data_pipelines.text.vocabulary import Vocabulary
from data_pipelines.text.windows import WindowTask

for _objective in (SpanCorruption, PrefixLM, Causal):
    gin.external_configurable(_objective, module="data_pipelines.text.denoising")


class Corpus(CorpusSettings):
    """A corpus by its settings, and what the trainer asks of it.

    Nothing is read before it is asked for; the first question builds the token cache or opens it.
    """

    @property
    def vocabulary(self) -> Vocabulary:
        return self.prepared.vocabulary

    @property
    def vocabulary_size(self) -> int:
        """Number of ids, sentinels included."""
        return self.vocabulary.size

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> Mixture:
        """The endless training stream (see data_pipelines.batches)."""
        return self.prepared.train_source(batch_size, seed, shift)

    def validation_sources(self, batch_size: int) -> dict[str, ValidationBatches]:
        """A finite source for each task of the mixture, by the task's name."""
        return self.prepared.validation_sources(batch_size)

    def fingerprint(self) -> dict[str, str]:
        """What a checkpoint must agree with: {"vocabulary": sha256 of the model file}."""
        return {"vocabulary": self.vocabulary.fingerprint}

    def order(self) -> dict[str, str]:
        """What decides the training stream besides its seed: its text and how windows are made of it, both by
        their hashes, and the weights."""
        text = self.prepared.manifest["text"]  # as the cache knows it: the files are not read again
        given = ((name, self.weights.get(name, 0)) for name in self.objectives)
        weights = ", ".join(f"{name} {weight:g}" for name, weight in given if weight)
        windows = _digest(self.windows_key())
        return {"text": f"sha256 {text[:12]}", "windows": f"sha256 {windows[:12]}", "weights": weights}

    def notices(self) -> list[str]:
        """What was left out of the text, in a line; [] where nothing was."""
        manifest = self.prepared.manifest
        said = left_out.lines(
            manifest.get("skipped_files", {}),  # caches of older code lack some
            manifest.get("quarantined", {}),
            manifest.get("noted", {}),
            sum(manifest["documents"].values()) + manifest["duplicates"] + manifest["blank"],
        )
        where = f"; {self.prepared.root / 'quarantine.jsonl'} lists each" if manifest["quarantined"] else ""
        return [f"the text of {self.path}: {'; '.join(said)}{where}"] if said else []

    def baselines(self, objective: str) -> dict[str, float]:
        """Held-out nats per token of n-gram models (see data_pipelines.text.baselines), kept with the cache;
        {} where no windows are evaluated."""
        from data_pipelines.text import baselines

        if not self.validation_windows:
            return {}
        known = self.prepared.root / f"baselines_{objective}_{self.validation_windows}.json"
        if not known.is_file():
            train = ValidationBatches(self.prepared.task(objective, "train"), 64)
            validation = ValidationBatches(
                self.prepared.task(objective, "validation"), 64, limit=self.validation_windows
            )
            found = baselines.ngram_losses(train, validation, self.vocabulary_size)
            fresh = known.with_suffix(f".{os.getpid()}")
            fresh.write_text(json.dumps(found), "utf-8")
            fresh.rename(known)
        return json.loads(known.read_text("utf-8"))

    def use_of_text(self) -> tuple[Sequence[str], Sequence[Sequence[str | int | None]]]:
        """Headings and rows: how much was read, held out, trained on and seen by the vocabulary."""
        return use_of_text.HEADINGS, use_of_text.rows(self.prepared.manifest)

    @functools.cached_property
    def prepared(self) -> "Prepared":
        """`prepare`, once."""
        return self.prepare()

    def prepare(self) -> "Prepared":
        """Opens the token cache; builds it first if this text with these settings was never seen.

        Raises:
          DataError: no text, an unreadable folder, a vocabulary that cannot be trained, no room to write.
        """
        key = self.key()
        name = f"{self.name}-{_digest(key)}"
        found = cache.open_or_build(self.cache_root, name, lambda to: building.build(self, key, to))
        return Prepared(self, found)


@gin.configurable
def corpus(
    path: str | None = None,
    text_field: str = "text",
    documents: str = "file",
    vocabulary_size: int = 8192,
    vocabulary_file: str | None = None,
    encoder_length: int = 256,
    decoder_length: int = 128,
    objectives: Mapping[str, DenoisingObjective] | None = None,
    weights: Mapping[str, float] | None = None,
    validation_fraction: float = 0.02,
    validation_windows: int = 256,
    cache_dir: str | None = None,
) -> Corpus:
    """The text of a language model and what is learnt from it.

    Args:
      path: a folder, file or glob of text in any kind that the corpus factory reads (`text.folder`), or the
        folder of a corpus that `pangu corpus build` made; None is the quickstart corpus.
      text_field: field of a .jsonl line that holds the text.
      documents: what one document of a .txt is: "file", "paragraph" (up to a blank line) or "line".
      vocabulary_size: ids in all, mode tokens and 100 sentinels included, of the vocabulary to train.
      vocabulary_file: a sentencepiece model to use instead; it is renumbered to pad 0, eos 1, unk 2. The
        vocabulary.model of a run keeps its ids, those of a published vocabulary with it; so does a
        tokenizer.json of byte-level BPE, with tokenizer_config.json beside it.
      encoder_length: tokens per encoder window; 0 for a decoder alone, which learns @Causal() with mode None.
      decoder_length: tokens per decoder window.
      objectives: by name; None is span corruption, prefix LM and causal as published, or causal alone for a
        decoder alone.
      weights: share of each objective in the mixture, relative; an objective left out is not trained on.
      validation_fraction: share of the text held out: whole documents, or where these are few stretches of
        all of them (see data_pipelines.text.documents.split).
      validation_windows: at most so many windows per task are evaluated; none when 0.
      cache_dir: folder of the token caches; None is $XDG_CACHE_HOME/pangu_jax.

    Raises:
      DataError: a weight without an objective, a negative one, or lengths that are too small; an objective
        that a decoder alone cannot learn.
    """
    if objectives is None and encoder_length == 0:
        objectives = {"causal": Causal(mode=None)}
    if objectives is None:
        objectives = {"span": SpanCorruption(), "prefix": PrefixLM(), "causal": Causal()}
        weights = {"span": 1, "prefix": 2, "causal": 1} if weights is None else weights
    weights = dict.fromkeys(objectives, 1) if weights is None else dict(weights)
    for name, weight in weights.items():
        if name not in objectives:
            raise DataError(f"corpus.weights: there is no objective {name!r}: have {', '.join(objectives)}")
        if weight < 0:
            raise DataError(f"corpus.weights: {name!r} is {weight}; weights are not negative")
    if not any(weights.values()):
        raise DataError("corpus.weights: all are zero; give at least one objective a positive weight")
    if min(encoder_length or decoder_length, decoder_length) < 16:
        raise DataError(
            f"corpus.encoder_length {encoder_length} and decoder_length {decoder_length} must be at least 16 "
            "(encoder_length 0 for a decoder alone)"
        )
    if encoder_length == 0:
        _require_causal(objectives)
    if not 0 < validation_fraction <= 0.5:
        raise DataError(f"corpus.validation_fraction {validation_fraction} must be in (0, 0.5]")
    if validation_windows < 0:
        raise DataError(f"corpus.validation_windows {validation_windows} must be at least 0")
    return Corpus(
        path,
        text_field,
        documents,
        vocabulary_size,
        vocabulary_file,
        encoder_length,
        decoder_length,
        objectives,
        weights,
        validation_fraction,
        validation_windows,
        cache_dir,
    )


def _require_causal(objectives: Mapping[str, DenoisingObjective]) -> None:
    """DataError for an objective that needs an encoder."""
    for name, objective in objectives.items():
        if not isinstance(objective, Causal) or objective.mode is not None:
            what = type(objective).__name__
            raise DataError(
                f"corpus.objectives: {name!r} is {what} with mode {objective.mode!r}, and "
                "corpus.encoder_length is 0: a decoder alone learns @Causal() with Causal.mode = None; for "
                "others give an encoder"
            )


class Prepared:
    """A corpus ready to train on.

    Attributes:
      vocabulary: a data_pipelines.text.vocabulary.Vocabulary.
      manifest: what the cache was built from, and counts (documents, duplicates, tokens, windows, fill).
    """

    def __init__(self, settings: Corpus, found: cache.Cache):
        self.corpus, self.root, self.manifest = settings, found.root, found.manifest
        self.vocabulary = Vocabulary(found.root / "vocabulary.model")

    def task(self, name: str, split: str) -> WindowTask:
        """The task of an objective (`span`) over `train` or `validation`."""
        return WindowTask(
            self.root,
            f"{self.corpus.name}_{name}",
            split,
            name=f"{self.corpus.name}_{name}",
            index=list(self.corpus.objectives).index(name),
            objective=self.corpus.objectives[name],
            special=self.vocabulary.special,
            encoder_length=self.corpus.encoder_length,
            decoder_length=self.corpus.decoder_length,
        )

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> Mixture:
        weighted = {name: weight for name, weight in self.corpus.weights.items() if weight > 0}
        tasks = {
            name: (self.task(name, "train"), float(weighted[name]))
            for name in self.corpus.objectives
            if name in weighted
        }
        return Mixture(tasks, batch_size, seed, shift)

    def validation_sources(self, batch_size: int) -> dict[str, ValidationBatches]:
        trained = [name for name in self.corpus.objectives if self.corpus.weights.get(name, 0) > 0]
        limit = self.corpus.validation_windows
        return {
            f"{self.corpus.name}_{name}": ValidationBatches(
                self.task(name, "validation"), batch_size, limit=limit
            )
            for name in trained
        }

    @functools.cached_property
    def documents(self) -> dict[str, list[Document]]:
        """The documents of each split, read anew from the text (for seqio's tasks and for tests)."""
        parts = self.corpus.split()
        return {"train": parts.train, "validation": parts.validation}


def _digest(key: dict) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
