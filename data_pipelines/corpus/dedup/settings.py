"""What counts as a copy, and how much memory finding copies may take."""

import dataclasses
import math

import gin

from data_pipelines.errors import DataError

# Bytes of a row of bands.arrow and of paragraphs.arrow.
_ROW_BYTES = 16


@dataclasses.dataclass(frozen=True)
class Dedup:
    """Settings of deduplication. Letters are those of `corpus/letters.py`.

    A document is the set of its shingles: every `shingle` letters in a row, whatever spaces, punctuation and
    ends of lines are between them. Two documents of Jaccard similarity s become candidates with
    probability 1 - (1 - s^rows)^bands (Broder 1997; Indyk and Motwani 1998): .998 at .8, .92 at .7, .62 at
    .6. A candidate is a duplicate only if the similarity, counted in full, is at least `threshold`.

    Attributes:
      bands: tables that a document is looked up in.
      rows: MinHash values that must all agree in a band.
      shingle: letters. A document of fewer has no near duplicates, only exact copies.
      threshold: least Jaccard similarity of two duplicates.
      min_paragraph_characters: a paragraph (a line) of fewer letters may be in any number of documents; 0
        leaves all paragraphs alone.
      hot_bucket: documents of a bucket that are compared with the same one; see `join`.
      seed: of all hashes.
      part_bytes: hashes that a worker joins at a time. Together with the buffers of Python and its libraries
        it needs about that much memory; five times as much where nearly everything has copies.

    Raises:
      DataError: a number out of range.
    """

    bands: int = 20
    rows: int = 6
    shingle: int = 5
    threshold: float = 0.65
    min_paragraph_characters: int = 20
    hot_bucket: int = 10_000
    seed: int = 0
    part_bytes: int = 2**28

    def __post_init__(self) -> None:
        least = {"bands": 1, "rows": 1, "shingle": 1, "min_paragraph_characters": 0, "hot_bucket": 2}
        for name, bound in {**least, "seed": 0, "part_bytes": 1}.items():
            if getattr(self, name) < bound:
                raise DataError(f"Dedup.{name} is {getattr(self, name)}: it must be at least {bound}")
        if not 0 < self.threshold <= 1:
            raise DataError(f"Dedup.threshold is {self.threshold}: it must be above 0 and at most 1")

    def parts(self, documents: int, text_bytes: int) -> int:
        """Parts into which hashes are split so that one part of all chunks is about `part_bytes`.

        Args:
          documents: how many there are in the corpus.
          text_bytes: UTF-8 bytes of their texts. A paragraph that counts is taken to be of the shortest
            Chinese ones, three bytes per letter.
        """
        letters = self.min_paragraph_characters
        paragraphs = text_bytes / (3 * letters) if letters else 0
        return max(1, math.ceil(_ROW_BYTES * max(documents * self.bands, paragraphs) / self.part_bytes))

    def recall(self, similarity: float) -> float:
        """The probability that documents of this Jaccard similarity become candidates."""
        return 1 - (1 - similarity**self.rows) ** self.bands


gin.external_configurable(Dedup, module="data_pipelines.corpus.dedup")
