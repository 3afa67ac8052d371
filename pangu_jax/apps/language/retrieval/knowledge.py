"""Knowledge: passages of files and databases that a question finds, each with the place it comes from."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from data_pipelines.corpus.reading.quarantine import Quarantine
from data_pipelines.errors import DataError
from pangu_jax.apps.language.retrieval import index
from pangu_jax.apps.language.retrieval.bm25 import BM25
from pangu_jax.apps.language.retrieval.chunking import chunks
from pangu_jax.apps.language.retrieval.embeddings import Embeddings, Encoder
from pangu_jax.apps.language.retrieval.sources import SourceText, sources
from pangu_jax.errors import UserError

RETRIEVERS = ("bm25", "embeddings")


class Passage(NamedTuple):
    """A piece of the knowledge.

    Attributes:
      text: as it is there.
      source: `file:line` of its first character, or `table:rowid`.
      score: of the search that found it: BM25, or a cosine; 0 outside a search.
    """

    text: str
    source: str
    score: float = 0.0


class Knowledge:
    """Passages and their index. `Knowledge.open` reads both from files.

    Attributes:
      passages: all of them, in order.
      quarantine: lines that could not be read.
      reused: whether the index was on disk already.
    """

    def __init__(
        self,
        passages: Sequence[Passage],
        searched: index.Index,
        quarantine: Quarantine | None = None,
        reused: bool = False,
    ):
        self.passages, self._index = tuple(passages), searched
        self.quarantine, self.reused = quarantine or Quarantine(), reused

    @classmethod
    def open(
        cls,
        paths: Sequence[str | Path],
        retriever: Literal["bm25", "embeddings"] = "bm25",
        *,
        encoder: Encoder | None = None,
        cache: str | Path | None = None,
        size: int = 300,
        overlap: int = 60,
    ) -> "Knowledge":
        """Reads files, cuts them into passages and indexes them, or finds the index of the same passages.

        Args:
          paths: .txt, .md, .jsonl, folders of them, SQLite databases.
          retriever: "bm25", or "embeddings" by `encoder`.
          encoder: needed for embeddings only.
          cache: folder of the indexes; the user's cache directory when None.
          size: characters of a passage, at most.
          overlap: characters of a passage that may be in the next, at most.

        Raises:
          DataError: a path cannot be read, or nothing is in there.
          UserError: the retriever is unknown or its library is missing; the cache cannot be written.
        """
        quarantine = Quarantine()
        passages = [
            passage for source in sources(paths, quarantine) for passage in _passages(source, size, overlap)
        ]
        if not passages:
            bad = f"; {quarantine.counts.total()} lines could not be read" if quarantine.counts else ""
            raise DataError(f"{', '.join(map(str, paths))}: there is no text in it{bad}")
        texts = [passage.text for passage in passages]
        if retriever == "bm25":
            name, load, build = "words", BM25.load, partial(BM25.build, texts)
        elif retriever == "embeddings" and encoder is not None:
            name = encoder.fingerprint()
            load, build = partial(Embeddings.load, encoder), partial(Embeddings.build, encoder, texts)
        elif retriever == "embeddings":
            raise UserError("retrieval by embeddings needs a model that embeds: give its run directory")
        else:
            raise UserError(f"retriever {retriever!r} is not one of {', '.join(RETRIEVERS)}")
        name = index.fingerprint([retriever, name, *texts])
        place = Path(cache).expanduser() if cache else index.default_cache()
        found, reused = index.kept(place, name, load, build)
        return cls(passages, found, quarantine, reused)

    def search(self, question: str, count: int = 3) -> list[Passage]:
        """At most `count` passages, best first."""
        found = self._index.search(question, count)
        return [self.passages[number]._replace(score=score) for number, score in found]


def _passages(source: SourceText, size: int, overlap: int) -> Iterator[Passage]:
    line, counted = source.number, 0
    for begin, end in chunks(source.text, size, overlap):
        if source.multiline:  # counted from span to span: a long file is not read once per passage
            line, counted = line + source.text.count("\n", counted, begin), begin
        yield Passage(source.text[begin:end], f"{source.name}:{line}")
