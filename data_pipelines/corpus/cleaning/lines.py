"""Filters by lines. Blank ones do not count.

Thresholds are FineWeb-2's (arXiv 2506.20920) for Chinese unless said otherwise; its filters are those of
FineWeb (arXiv 2406.17557) and Gopher (arXiv 2112.11446, table A1).
"""

import dataclasses

import numpy as np

from data_pipelines.corpus.cleaning import characters
from data_pipelines.corpus.cleaning.batch import Batch
from data_pipelines.corpus.cleaning.rules import Filter, Verdict, configurable
from data_pipelines.corpus.cleaning.sums import ratio


@configurable
@dataclasses.dataclass(frozen=True)
class TitleOnly(Filter):
    """Rejects documents without a line of `least` characters that has punctuation as sentences have.

    PanGu-alpha drops documents that contain only titles. Measures the characters of the longest such line.
    """

    least: int = 20
    name: str = "title_only"

    def judge(self, batch: Batch) -> Verdict:
        lines = batch.lines
        text = lines.holding(characters.CLAUSE)
        longest = np.zeros(len(batch))
        np.maximum.at(longest, lines.documents[text], lines.lengths[text])
        return Verdict(longest >= self.least, longest)


@configurable
@dataclasses.dataclass(frozen=True)
class DuplicateLines(Filter):
    """Rejects documents of whose lines more than `most` occurred in them before. Measures that share."""

    most: float = 0.287
    name: str = "duplicate_lines"

    def judge(self, batch: Batch) -> Verdict:
        share = batch.lines.share(batch.lines.seen_before)
        return Verdict(share <= self.most, share)


@configurable
@dataclasses.dataclass(frozen=True)
class DuplicateLineCharacters(Filter):
    """Rejects documents of whose characters more than `most` are in lines that occurred in them before.

    Measures the share of the characters that are not newlines. FineWeb-2 has 0.1 for all languages.
    """

    most: float = 0.1
    name: str = "duplicate_line_characters"

    def judge(self, batch: Batch) -> Verdict:
        lines = batch.lines
        again = np.bincount(
            lines.documents[lines.seen_before], lines.lengths[lines.seen_before], minlength=len(batch)
        )
        share = ratio(again, np.bincount(lines.documents, lines.lengths, minlength=len(batch)))
        return Verdict(share <= self.most, share)


@configurable
@dataclasses.dataclass(frozen=True)
class LineEnds(Filter):
    """Rejects documents of whose lines less than `least` end a sentence. Measures the share of the lines.

    Args:
      marks: what ends a sentence.
    """

    least: float = 0.106
    marks: str = characters.TERMINALS
    name: str = "line_ends"

    def judge(self, batch: Batch) -> Verdict:
        share = batch.lines.share(np.isin(batch.lines.last, characters.code_points(self.marks)))
        return Verdict(share >= self.least, share)


@configurable
@dataclasses.dataclass(frozen=True)
class BulletLines(Filter):
    """Rejects documents of whose lines more than `most` begin with a bullet, as Gopher. Measures that."""

    most: float = 0.9
    marks: str = "•-*·●○■"
    name: str = "bullet_lines"

    def judge(self, batch: Batch) -> Verdict:
        share = batch.lines.share(np.isin(batch.lines.first, characters.code_points(self.marks)))
        return Verdict(share <= self.most, share)


@configurable
@dataclasses.dataclass(frozen=True)
class EllipsisLines(Filter):
    """Rejects documents of whose lines more than `most` end in … or ..., as Gopher. Measures the share."""

    most: float = 0.3
    name: str = "ellipsis_lines"

    def judge(self, batch: Batch) -> Verdict:
        lines = batch.lines
        dots = (lines.last == ord(".")) & (lines.lengths >= 3)
        places = lines.ends[dots] - 1
        dots[dots] = (batch.codes[places - 1] == ord(".")) & (batch.codes[places - 2] == ord("."))
        share = lines.share(dots | (lines.last == ord("…")))
        return Verdict(share <= self.most, share)
