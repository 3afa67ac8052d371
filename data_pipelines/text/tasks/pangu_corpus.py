"""A corpus that the corpus factory built: its documents, and its sources as seqio tasks.

`register` adds a task for every source, `pangu_corpus_<name>`, and their mixture `pangu_corpus`, by the
corpus's own weights or by others. `open_` is also how `corpus.path` of a recipe reads such a folder.
Importing this module is cheap, and reading needs nothing of the extra `corpus`.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from data_pipelines import cache
from data_pipelines.corpus import mixture_weights
from data_pipelines.corpus.mixture_weights import MIXTURE, SUMS
from data_pipelines.errors import DataError
from data_pipelines.text.denoising import DenoisingObjective, SpanCorruption
from data_pipelines.text.documents import Document
from data_pipelines.text.tasks.preprocessors import Windows, denoise, tokenise_and_cut

SPLITS = ("train", "validation")
_GOLDEN = (5**0.5 - 1) / 2


@dataclasses.dataclass(frozen=True)
class CorpusDocument:
    """A document of the corpus. cluster_size: documents of the raw text that it represents."""

    id: str
    source: str
    url: str
    text: str
    cluster_size: int


@dataclasses.dataclass(frozen=True)
class BuiltCorpus:
    """A finished corpus. root: the folder of the datasets; mixture: what its mixture.json says."""

    root: Path
    mixture: dict

    @property
    def sources(self) -> dict[str, dict]:
        """By the datasets' names: {"source", "documents", "bytes", "share", "epochs", ...}."""
        sources = self.mixture["sources"].items()
        return {facts["name"]: {**facts, "source": source} for source, facts in sources}

    @property
    def fingerprint(self) -> str:
        """sha256 over the sums of all files."""
        return hashlib.sha256((self.root / SUMS).read_bytes()).hexdigest()

    def splits(self, name: str) -> list[str]:
        """Splits of a dataset that hold documents; a small one may have nothing held out."""
        facts = self.sources[name]
        counts = {"train": facts["documents"], "validation": facts["validation_documents"]}
        return [split for split in SPLITS if counts[split]]

    def records(self, name: str, split: str) -> "Records":
        """The documents of a dataset, by index."""
        return Records(cache.records(self.root, name, split)) if split in self.splits(name) else Records(())

    def documents(self) -> Iterator[Document]:
        """All documents of all sources, each once, train and held out."""
        for name in self.sources:
            for split in self.splits(name):
                for record in self.records(name, split):
                    yield Document(record.id, record.text)


class Records(Sequence[CorpusDocument]):
    """Records by index; `serialized` is a sequence of tf.train.Example."""

    def __init__(self, serialized: Sequence[bytes]):
        self._serialized = serialized

    def __len__(self) -> int:
        return len(self._serialized)

    @overload
    def __getitem__(self, index: int) -> CorpusDocument: ...

    @overload
    def __getitem__(self, index: slice) -> "Records": ...

    def __getitem__(self, index: int | slice) -> "CorpusDocument | Records":
        from tensorflow_datasets.proto import tf_example_pb2

        if isinstance(index, slice):
            return Records([self._serialized[i] for i in range(len(self))[index]])
        if not 0 <= index < len(self):
            raise IndexError(index)
        feature = tf_example_pb2.Example.FromString(self._serialized[index]).features.feature
        texts = {name: feature[name].bytes_list.value[0].decode() for name in ("id", "source", "url", "text")}
        return CorpusDocument(**texts, cluster_size=feature["cluster_size"].int64_list.value[0])


def open_(path: str | Path) -> BuiltCorpus | None:
    """The corpus in the folder of a build or in its `dataset`; None where there is none.

    Raises:
      DataError: there is one, and it is damaged.
    """
    for root in (Path(path).expanduser(), Path(path).expanduser() / "dataset"):
        if (root / MIXTURE).is_file() and (root / SUMS).is_file():
            try:
                mixture = json.loads((root / MIXTURE).read_text("utf-8"))
                return BuiltCorpus(root, mixture)
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise DataError(f"{root / MIXTURE} is damaged ({error}): build the corpus anew") from error
    return None


def register(
    path: str | Path,
    windows: Windows,
    objective: DenoisingObjective | None = None,
    *,
    weights: Mapping[str, float] | None = None,
    temperature: float | None = None,
    repeat_clusters: bool = False,
    name: str = "pangu_corpus",
) -> list[str]:
    """Adds a task for each source, `<name>_<dataset>`, and their mixture `<name>` to seqio's registries.

    A task gives {"inputs", "targets"} int32 [n], as the tasks of `registration.py` do. Names registered
    before are replaced.

    Args:
      path: a built corpus.
      windows: vocabulary and lengths.
      objective: what is learnt; None is span corruption. Register once more under another name for another.
      weights: by source, relative; None is the corpus's own shares, or by size and `temperature`.
      temperature: p_i ~ n_i^(1/T) over bytes of text.
      repeat_clusters: read a document as often as `data_pipelines.corpus.dedup.weights` says, by the number
        of copies it had; needs the extra `corpus`. The mixture's weights do not change.

    Returns:
      the tasks' names, then the mixture's.

    Raises:
      DataError: no corpus there, or weights that do not fit it.
    """
    import seqio
    import tensorflow as tf

    corpus = open_(path)
    if corpus is None:
        raise DataError(f"{path} holds no built corpus: `pangu corpus build --output {path} ...` makes one")
    share = _shares(corpus, weights, temperature, name)
    objective = objective or SpanCorruption()
    vocabulary = windows.vocabulary.seqio()
    output = {
        part: seqio.Feature(vocabulary, add_eos=False, dtype=tf.int32) for part in ("inputs", "targets")
    }
    rates = []
    for dataset in corpus.sources:
        task = f"{name}_{dataset}"
        seqio.TaskRegistry.remove(task)
        seqio.TaskRegistry.add(
            task,
            source=seqio.FunctionDataSource(
                _reader(corpus, dataset, repeat_clusters), corpus.splits(dataset)
            ),
            preprocessors=[
                tokenise_and_cut(windows, objective),
                seqio.CacheDatasetPlaceholder(),
                denoise(windows, objective),
            ],
            output_features=output,
        )
        rates.append((task, share[dataset]))
    seqio.MixtureRegistry.remove(name)
    seqio.MixtureRegistry.add(name, [(task, rate) for task, rate in rates if rate > 0])
    return [*(task for task, _ in rates), name]


def _shares(
    corpus: BuiltCorpus, weights: Mapping[str, float] | None, temperature: float | None, where: str
) -> dict[str, float]:
    """Share of each dataset."""
    if weights is None and temperature is None:
        return {name: facts["share"] for name, facts in corpus.sources.items()}
    sizes = {facts["source"]: facts["bytes"] for facts in corpus.sources.values()}
    share = mixture_weights.shares(sizes, weights, temperature or 1.0, where)
    return {name: share[facts["source"]] for name, facts in corpus.sources.items()}


def _reader(corpus: BuiltCorpus, dataset: str, repeat_clusters: bool):
    """seqio's function of (split, shuffle_files, seed): the texts of a dataset, as {"text"}."""
    import tensorflow as tf

    def read(split: str, shuffle_files: bool, seed: int | None = None):
        def texts():
            records = corpus.records(dataset, split)
            order = np.arange(len(records))
            if shuffle_files:
                np.random.default_rng(seed).shuffle(order)
            ordered = _repeated(records, order) if repeat_clusters else (records[int(i)] for i in order)
            for record in ordered:
                yield {"text": record.text}

        return tf.data.Dataset.from_generator(texts, output_signature={"text": tf.TensorSpec([], tf.string)})

    return read


def _repeated(records: Records, order: np.ndarray) -> Iterator[CorpusDocument]:
    """Records as often as the copies they had call for; what repeats comes in later rounds."""
    from data_pipelines.corpus.dedup.weights import repeat_weight

    sizes = np.array([records[int(i)].cluster_size for i in order], np.int64)
    # A weight of 2.5 is 2 and 3 in turns, spread evenly over the documents.
    times = np.floor(repeat_weight(sizes) + order * _GOLDEN % 1).astype(int)
    for turn in range(times.max(initial=0)):
        yield from (records[int(i)] for i in order[times > turn])
