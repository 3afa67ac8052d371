"""Builds the token cache of a corpus: read, split, train the vocabulary, tokenise, cut, pack, write."""

import dataclasses
import hashlib
import json
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn
from rich.table import Table

from data_pipelines import cache
from data_pipelines.corpus.reading import left_out
from data_pipelines.errors import DataError
from data_pipelines.text import documents, folder, packing
from data_pipelines.text.denoising import DenoisingObjective, Piece
from data_pipelines.text.documents import Document
from data_pipelines.text.tasks import use_of_text
from data_pipelines.text.tasks.corpus_settings import FORMAT, CorpusSettings
from data_pipelines.text.vocabulary import Vocabulary
from data_pipelines.text.vocabulary import adopt as adopt_vocabulary
from data_pipelines.text.vocabulary import train as train_vocabulary
from data_pipelines.text.windows import Window, fill, write

# What a vocabulary is trained on: enough text for its pieces to settle.
FEWEST_CHARACTERS, CHARACTERS_PER_ID = 1_000_000, 125
CHUNK = 1000  # documents tokenised between two movements of the progress bar


class Tokenised(NamedTuple):
    """A document: tokens int32 [n], word_starts bool [n]."""

    id: str
    tokens: np.ndarray
    word_starts: np.ndarray


def build(corpus: CorpusSettings, key: dict, to: Path) -> dict:
    """Fills the folder `to` (see data_pipelines.cache) and returns its manifest."""
    # Its lazy imports change what `import` means meanwhile; the progress bar's thread must not be in it.
    import tensorflow_datasets  # noqa: F401

    quarantine = folder.Quarantine()
    columns = (SpinnerColumn(), *Progress.get_default_columns()[:3], TimeElapsedColumn())
    # A notebook claims to be a terminal, and cannot move a cursor.
    console = Console(file=sys.stderr, force_jupyter=False, force_terminal=sys.stderr.isatty())
    with Progress(*columns, console=console) as progress:
        step = progress.add_task("Reading text", total=None)
        try:
            parts = corpus.split(quarantine)
        except DataError as error:
            left = left_out.lines(quarantine.skipped, quarantine.counts, quarantine.noted, 0)
            raise DataError("; ".join([str(error), *left])) from None
        progress.update(step, total=1, completed=1)
        step = progress.add_task("Vocabulary", total=None)
        vocabulary_cache = vocabulary_of(corpus, key["text"], parts.train)
        shutil.copyfile(vocabulary_cache.root / "vocabulary.model", to / "vocabulary.model")
        vocabulary = Vocabulary(to / "vocabulary.model")
        _require_sentinels(corpus, vocabulary)
        progress.update(step, total=1, completed=1)
        count = len(parts.train) + len(parts.validation)
        step = progress.add_task("Tokens", total=count)
        tokenised = {
            "train": tokenise(parts.train, vocabulary, lambda n: progress.advance(step, n)),
            "validation": tokenise(parts.validation, vocabulary, lambda n: progress.advance(step, n)),
        }
        tasks = {}
        packing_step = progress.add_task("Packing", total=len(corpus.objectives))
        for name, objective in corpus.objectives.items():
            windows = {split: pack(docs, objective, corpus) for split, docs in tokenised.items()}
            write(to, f"{corpus.name}_{name}", windows)
            tasks[name] = describe(windows, objective, vocabulary, corpus)
            progress.advance(packing_step)
    quarantine.write(to / "quarantine.jsonl")
    manifest = {
        **key,
        "vocabulary_sha256": vocabulary.fingerprint,
        "documents": {"train": len(parts.train), "validation": len(parts.validation)},
        "duplicates": parts.duplicates,
        "blank": parts.blank,
        "quarantined": dict(quarantine.counts),
        "noted": {what: count for what, count in quarantine.noted.items() if count},
        "skipped_files": dict(quarantine.skipped),
        "tokens": {split: sum(len(d.tokens) for d in docs) for split, docs in tokenised.items()},
        "tasks": tasks,
        "use_of_text": parts.counts() | {"vocabulary": vocabulary_cache.manifest["training"]},
    }
    console.print(_table(manifest))
    return manifest


def _table(manifest: dict) -> Table:
    """What was made of the text, for a terminal."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in use_of_text.HEADINGS:
        table.add_column(heading, justify="right" if table.columns else "left")
    for row in use_of_text.rows(manifest):
        table.add_row(*[f"{cell:,}" if isinstance(cell, int) else cell or "–" for cell in row])
    return table


def _require_sentinels(corpus: CorpusSettings, vocabulary: Vocabulary) -> None:
    """DataError where an objective may mark more spans in a text than the vocabulary has sentinels."""
    there = vocabulary.special.sentinels
    for name, objective in corpus.objectives.items():
        if (most := getattr(objective, "sentinels", 0)) > there:
            how = "train with PrefixLM instead" if not there else f"set SpanCorruption.sentinels = {there}"
            raise DataError(
                f"corpus.objectives: {name!r} marks up to {most} spans of a text, and the "
                f"vocabulary has {there or 'no'} sentinels: {how}"
            )


def vocabulary_of(corpus: CorpusSettings, text_key: str, train: Sequence[Document]) -> cache.Cache:
    """The vocabulary, in its own cache: other windows or objectives do not train it anew.

    Its manifest's "training" says what it was made of; {} for one that was not trained here.
    """
    key = {"format": FORMAT, **corpus.vocabulary_key()}
    if not corpus.vocabulary_file:
        key["text"] = text_key

    def make(to: Path) -> dict:
        if corpus.vocabulary_file:
            old_ids = adopt_vocabulary(Path(corpus.vocabulary_file).expanduser(), to / "vocabulary.model")
            np.save(to / "old_ids.npy", old_ids)
            return key | {"training": {}}
        sample = documents.sample(train, vocabulary_characters(corpus.trained_size))
        lines = documents.lines_of(train, sample)
        texts = (document.text for document in train)
        training = train_vocabulary(lines, corpus.trained_size, to / "vocabulary.model", of=texts)
        seen = {
            "seen": sum(stretch.end - stretch.begin for stretch in sample),
            "documents": len({train[stretch.document].part_of for stretch in sample}),
        }
        return key | {"training": dataclasses.asdict(training) | seen}

    name = "vocabulary-" + hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return cache.open_or_build(corpus.cache_root, name, make)


def vocabulary_characters(size: int) -> int:
    """How much text a vocabulary of so many ids is trained on, where there is as much."""
    return max(FEWEST_CHARACTERS, CHARACTERS_PER_ID * size)


def tokenise(docs: Sequence[Document], vocabulary: Vocabulary, done) -> list[Tokenised]:
    """Tokens and word starts of every document; calls `done(n)` after every n of them."""
    tokenised = []
    for begin in range(0, len(docs), CHUNK):
        chunk = docs[begin : begin + CHUNK]
        for document, tokens in zip(chunk, vocabulary.encode_all([d.text for d in chunk]), strict=True):
            starts = vocabulary.word_starts(document.text, tokens)
            tokenised.append(Tokenised(document.id, tokens, starts))
        done(len(chunk))
    return tokenised


def pack(docs: Sequence[Tokenised], objective: DenoisingObjective, corpus: CorpusSettings) -> list[Window]:
    """Windows for one objective, in an order that says nothing about their lengths."""
    lengths = corpus.encoder_length, corpus.decoder_length
    cuts = [c for i, doc in enumerate(docs) for c in packing.cut(i, doc.word_starts, objective, *lengths)]
    costs = [objective.cost(c.end - c.begin, c.longest_word) for c in cuts]
    plan = packing.plan(np.array(costs), objective.capacity(*lengths))
    random.Random(0).shuffle(plan)
    return [_window([cuts[i] for i in members], docs) for members in plan]


def _window(cuts: Sequence[packing.Cut], docs: Sequence[Tokenised]) -> Window:
    pieces, ids = [], []
    for document, begin, end, _ in cuts:
        doc = docs[document]
        final = end == len(doc.tokens)
        pieces.append(Piece(doc.tokens[begin:end], doc.word_starts[begin:end], final))
        ids.append(f"{doc.id}[{begin}:{end}]")
    return Window(pieces, ids)


def describe(
    windows: dict[str, list[Window]],
    objective: DenoisingObjective,
    vocabulary: Vocabulary,
    corpus: CorpusSettings,
) -> dict:
    """Windows by split, and the fill of the encoder and the decoder over a sample of train windows."""
    if not windows["validation"] or not windows["train"]:
        raise DataError("the corpus is too small: its documents hold too few tokens to make a window of them")
    lengths = corpus.encoder_length, corpus.decoder_length
    rng = np.random.default_rng(0)
    sample = [
        packing.assemble(
            objective(window.pieces, rng, vocabulary.special, *lengths),
            *lengths,
            start=vocabulary.special.start,
        )
        for window in windows["train"][:200]
    ]
    encoder, decoder = fill(sample)
    counts = {split: len(members) for split, members in windows.items()}
    return {"windows": counts, "encoder_fill": round(encoder, 4), "decoder_fill": round(decoder, 4)}
