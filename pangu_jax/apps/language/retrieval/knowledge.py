"""Knowledge: passages of files and databases that a question finds, each with the place it comes from."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from data_pipelines.corpus.reading.quarantine import Quarantine
from data_pipelines.errors import DataError
from pangu_jax.apps.language.retrieval import index, left_out
from pangu_jax.apps.language.retrieval.bm25 import BM25
from pangu_jax.apps.language.retrieval.cutting import pieces
from pangu_jax.apps.language.retrieval.embeddings import Embeddings, Encoder
from pangu_jax.apps.language.retrieval.sources import KNOWN, sources
from pangu_jax.errors import UserError

RETRIEVERS = ("bm25", "embeddings")


class Passage(NamedTuple):
    """A piece of the knowledge.

    Attributes:
      text: as it is there, below the headings that it stands under; a row with its columns' names.
      source: `file:line` of its first character (of a section's first passage: of its heading), or
        `table:rowid`.
      score: of the search that found it: BM25, or a cosine; 0 outside a search.
    """

    text: str
    source: str
    score: float = 0.0


class Knowledge:
    """Passages and their index. `Knowledge.open` reads both from files.

    Attributes:
      passages: all of them, in order.
      quarantine: files, tables, rows and lines that were left out, and why; see `left_out.lines`.
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
          paths: texts, pages, tables, JSON, archives and compressed files of them, SQLite databases, folders
            of all these.
          retriever: "bm25", or "embeddings" by `encoder`.
          encoder: needed for embeddings only.
          cache: folder of the indexes; the user's cache directory when None.
          size: characters of a passage, at most.
          overlap: characters of a passage that may be in the next, at most.

        Raises:
          DataError: there is nothing at a path, or no text in all of them.
          UserError: the retriever is unknown or its library is missing; the cache cannot be written.
        """
        quarantine = Quarantine()
        passages = [
            Passage(text, f"{source.name}:{number}")
            for source in sources(paths, quarantine)
            for text, number in pieces(source, size, overlap)
        ]
        if not passages:
            why = "; ".join(left_out.lines(quarantine))
            raise DataError(
                f"{', '.join(map(str, paths))}: there is no text in it; give {KNOWN}"
                + (f" (left out: {why})" if why else "")
            )
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
