"""Lines that advertise or lead elsewhere, found by keywords."""

import dataclasses
import functools
import operator
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from data_pipelines.corpus.cleaning.batch import Batch
from data_pipelines.corpus.cleaning.keywords import ADVERTISING, NAVIGATION
from data_pipelines.corpus.cleaning.rules import Edit, Edited, configurable
from data_pipelines.errors import DataError

# Rust's regular expressions look for so many words at once with vector instructions.
_TOGETHER = 60


@configurable
@dataclasses.dataclass(frozen=True)
class Advertising(Edit):
    """Drops short lines with a keyword, and menus: three short items or more in a line, one from a list.

    That one is not the last. A long line with a keyword is a paragraph that speaks of the thing, and stays.
    PanGu-alpha drops advertising by keyword too (arXiv 2104.12369, section 3.1). Expects white space as
    `WhiteSpace` leaves it. Counts lines.

    Args:
      longest: characters of a line that may be dropped.
      keywords: what such a line holds.
      more: a file of further keywords, one per line.
      menu: items of menus; other items have at most 12 characters, or 6 of Han where spaces divide them.

    Raises:
      DataError: the file of keywords cannot be read.
    """

    longest: int = 60
    keywords: tuple[str, ...] = ADVERTISING
    more: str | None = None
    menu: tuple[str, ...] = NAVIGATION
    name: str = "advertising"

    def __post_init__(self) -> None:
        _own(self.more)

    def edit(self, batch: Batch) -> Edited:
        counts = np.zeros(len(batch), np.int64)
        keywords = self.keywords + _own(self.more)
        rows = np.flatnonzero(_holds(batch.texts, keywords) | _follows(batch.texts, self.menu))
        if not len(rows):
            return Edited(batch, {"lines": counts})
        lines = pl.DataFrame({"row": rows, "line": batch.texts[rows].str.split("\n")}).explode("line")
        line = lines["line"]
        short = (line.str.len_chars() <= self.longest).to_numpy()
        drop = np.zeros(len(lines), bool)
        drop[short] = _holds(line.filter(short), keywords) | _menus(line.filter(short), self.menu)
        dropped = np.bincount(lines["row"].to_numpy()[drop], minlength=len(batch))
        changed = np.flatnonzero(dropped)
        if not len(changed):
            return Edited(batch, {"lines": counts})
        left = (
            lines.with_columns(kept=~drop)
            .filter(pl.col("row").is_in(changed))
            .group_by("row", maintain_order=True)
            .agg(pl.col("line").filter("kept").str.join("\n"))
        )
        left = left["line"].str.replace_all(r"\n{3,}", "\n\n").str.strip_chars("\n")
        return Edited(batch.put(changed, left), {"lines": dropped})


def _holds(texts: pl.Series, words: Sequence[str]) -> np.ndarray:
    """bool [texts]: holds one of the words."""
    groups = (words[i : i + _TOGETHER] for i in range(0, len(words), _TOGETHER))
    found = (texts.str.contains("|".join(map(re.escape, group))) for group in groups)
    return functools.reduce(operator.or_, found, pl.repeat(False, len(texts), eager=True)).to_numpy()


def _follows(texts: pl.Series, menu: Sequence[str]) -> np.ndarray:
    """bool [texts]: one of the words of `menu` is followed by what divides items."""
    if not menu:
        return np.zeros(len(texts), bool)
    return texts.str.contains(f"(?:{'|'.join(map(re.escape, menu))})[ |｜>›»•]").to_numpy()


def _menus(lines: pl.Series, menu: Sequence[str]) -> np.ndarray:
    """bool [lines]: is a menu."""
    found = _follows(lines, menu)
    near = lines.filter(found)
    known = "|".join(map(re.escape, menu))
    whole = pl.repeat(False, len(near), eager=True)
    for item, between in ((r"[^|｜>›»•]{0,12}", " ?[|｜>›»•]+ ?"), (r"\p{Han}{2,6}", " ")):
        pattern = rf"^(?:{item}{between})*(?:{known})(?:{between}{item})+$"
        whole |= near.str.contains(pattern) & (near.str.count_matches(between) >= 2)
    found[found] = whole.to_numpy()
    return found


@functools.cache
def _own(path: str | None) -> tuple[str, ...]:
    """The words of a file, one per line."""
    if path is None:
        return ()
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"Advertising.more: cannot read {path}: {error}; give a UTF-8 file, a word per line"
        ) from None
    return tuple(filter(None, map(str.strip, lines)))
