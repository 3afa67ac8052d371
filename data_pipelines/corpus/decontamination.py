"""Takes out of a corpus what is also in an evaluation set; `overlap.py` says what is found and how."""

import contextlib
import dataclasses
import functools
import gc
import itertools
import json
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import gin
import numpy as np
import polars as pl

from data_pipelines.corpus import evaluation_files, evaluation_sets, frames, index_cache, letters, overlap
from data_pipelines.corpus.rejected import FILE
from data_pipelines.errors import DataError
from data_pipelines.text.benchmarks import published

RULE = "evaluation_overlap"
MODES = ("paragraph", "document")
_EXAMPLES, _REMOVE = "examples.arrow", "remove.json"
_FILES = (*overlap.FILES, _EXAMPLES, _REMOVE)  # of an index


@dataclasses.dataclass(frozen=True)
class Decontamination:
    """What is removed, and because of which evaluation sets.

    Attributes:
      characters: letters and digits in a row that make an overlap.
      shortest: evaluation texts of fewer letters are left alone: much of them is everywhere by chance.
        One between `shortest` and `characters` must be in a document whole.
      remove: "paragraph" removes the lines that an overlap touches, "document" the whole document.
      data_dir: folder of the evaluation sets; None is $PANGU_DATA_DIR.
      sets: names of sets or how they begin ("fewclue/"); None is all.
      more: a user's own, {name: glob of .jsonl or .txt}.

    Raises:
      DataError: numbers that contradict each other, or an unknown name.
    """

    characters: int = 30
    shortest: int = 13
    remove: str = "paragraph"
    data_dir: str | None = None
    sets: tuple[str, ...] | None = None
    more: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 4 <= self.shortest <= self.characters:
            raise DataError(
                f"Decontamination.shortest = {self.shortest} must be at least 4 and not above "
                f"Decontamination.characters = {self.characters}"
            )
        if self.remove not in MODES:
            raise DataError(f"Decontamination.remove: {self.remove!r} is not one of {', '.join(MODES)}")
        names = [known.name for known in evaluation_sets.KNOWN]
        for wanted in self.sets or ():
            if not any(name.startswith(wanted) for name in names):
                raise DataError(f"Decontamination.sets: {wanted!r} is none of {', '.join(names)}")
        for name in self.more:
            if name in names:
                raise DataError(f"Decontamination.more: {name!r} is a known set already; choose another name")

    def chosen(self) -> list[evaluation_sets.EvaluationSet]:
        """The sets, a user's last; whether their files are there is another question."""
        begins = ("",) if self.sets is None else tuple(self.sets)
        known = [known for known in evaluation_sets.KNOWN if known.name.startswith(begins)]
        return [*known, *evaluation_sets.user_sets(self.more)]

    def files(self) -> list[tuple[str, str, int]]:
        """(set, file's name, bytes) of all that is there."""
        data = evaluation_sets.data_folder(self.data_dir)
        found = ((one.name, path) for one in self.chosen() for path in one.found(data))
        return [(name, path.name, path.stat().st_size) for name, path in found]


gin.external_configurable(Decontamination, module="data_pipelines.corpus.decontamination")


class EvaluationIndex(NamedTuple):
    """The evaluation sets' texts (`overlap`), and whose they are.

    `examples`: a row for every text and every example that holds it: text u32, set, example.
    """

    overlap: overlap.OverlapIndex
    remove: str
    examples: pl.DataFrame


def build_index(settings: Decontamination, out: Path) -> dict:
    """Writes the index of the evaluation sets whose files are there into the folder `out`.

    It comes from the user's cache (`index_cache`) if the same one was made before.

    Returns:
      {"evaluation_sets": {name: {"files", "examples", "texts", "undecidable", "published"}}, "missing":
      {name: published}}. Examples and texts are counted once where several files hold them; undecidable are
      the texts that are too short to decide.

    Raises:
      DataError: the data folder is not there, or a file cannot be read.
    """
    data = evaluation_sets.data_folder(settings.data_dir)
    files = [(one.name, path) for one in settings.chosen() for path in one.found(data)]
    names = [one.name for one in settings.chosen()]
    key = index_cache.key([settings.characters, settings.shortest, settings.remove, names], files, _code())
    facts = index_cache.fetch(key, _FILES, out)
    if facts is None:
        with _no_garbage_collection():
            facts = _build_index(settings, out)
        index_cache.store(key, _FILES, out, facts)
    return facts


def _code() -> list[ModuleType]:
    """What decides which index is made of evaluation files."""
    return [published, evaluation_files, evaluation_sets, letters, overlap, sys.modules[__name__]]


@contextlib.contextmanager
def _no_garbage_collection() -> Generator[None]:
    """Within it, cycles are left alone. Of the millions of containers that files are taken apart into none is
    in one, and the collector would walk them again and again: a third of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _build_index(settings: Decontamination, out: Path) -> dict:
    data = evaluation_sets.data_folder(settings.data_dir)
    numbers: dict[str, int] = {}
    holders: list[tuple[int, str, str]] = []
    known, missing = {}, {}
    for one in settings.chosen():
        files = one.found(data)
        if not files:
            missing[one.name] = one.published
            continue
        examples = list(_distinct(example for file in files for example in one.examples(file)))
        texts = {text for _, own in examples for text in own}
        for name, own in examples:
            decidable = sorted(text for text in own if len(text) >= settings.shortest)
            holders += [(numbers.setdefault(text, len(numbers)), one.name, name) for text in decidable]
        known[one.name] = {
            "files": len(files),
            "examples": len(examples),
            "texts": len(texts),
            "undecidable": sum(len(text) < settings.shortest for text in texts),
            "published": one.published,
        }
    overlap.write(list(numbers), settings.characters, settings.shortest, out)
    schema = {"text": pl.UInt32, "set": pl.String, "example": pl.String}
    frames.write(pl.DataFrame(holders, schema=schema, orient="row"), out / _EXAMPLES)
    (out / _REMOVE).write_text(json.dumps(settings.remove), "utf-8")
    return {"evaluation_sets": known, "missing": missing}


def _distinct(examples: Iterable[tuple[str, list[str]]]) -> Iterator[tuple[str, frozenset[str]]]:
    """(name, the texts' letters), once for examples that say the same: small splits lie in larger ones."""
    examples = list(examples)
    found = letters.strings(pl.Series([text for _, own in examples for text in own], dtype=pl.String))
    seen = set()
    for name, texts in examples:
        own = frozenset(filter(None, itertools.islice(found, len(texts))))
        if own and own not in seen:
            seen.add(own)
            yield name, own


@functools.lru_cache(maxsize=2)
def read_index(folder: Path) -> EvaluationIndex:
    """The index that `build_index` wrote."""
    remove = json.loads((folder / _REMOVE).read_text("utf-8"))
    return EvaluationIndex(overlap.read(folder), remove, pl.read_ipc(folder / _EXAMPLES))


def decontaminate(documents: Path, index: Path, out: Path) -> dict:
    """The stage: `documents` is a table's file, `index` the folder of `build_index`.

    Writes the table that is left and rejected.arrow: a row for every line removed, with its set as its rule.
    """
    frame, known = frames.read(documents), read_index(index)
    hits = touched(frame["text"], known)
    left = without(frame, hits, known.remove)
    frames.write(left, out / frames.DOCUMENTS)
    lines = hits.join(known.examples, "text").unique(
        ["row", "line", "set"], keep="first", maintain_order=True
    )
    names = frame.select("id", "source", "url").with_row_index("row")
    rejected = lines.join(names, "row", maintain_order="left")
    frames.write(rejected.select("id", "source", "url", text="removed", rule="set"), out / FILE)
    return statistics(frame, left, hits, known)


def remove(frame: pl.DataFrame, index: EvaluationIndex) -> tuple[pl.DataFrame, dict]:
    """The documents without what overlaps with an evaluation set, and `statistics`.

    What is returned holds no overlap: lines that become neighbours are looked at again. A document with no
    letter left is dropped. Columns beside those of `frames.SCHEMA` stay as they are.
    """
    hits = touched(frame["text"], index)
    left = without(frame, hits, index.remove)
    return left, statistics(frame, left, hits, index)


def touched(texts: pl.Series, index: EvaluationIndex) -> pl.DataFrame:
    """Lines that an overlap touches, once for each evaluation text: row, line, removed (the line), text."""
    hits: list[tuple[int, int, str, int]] = []
    left: dict[int, list[tuple[int, str]]] = {}
    rows, looked_at = list(range(len(texts))), texts
    while rows:
        again = []
        for (at,), overlaps in overlap.find(looked_at, index.overlap).group_by("row", maintain_order=True):
            row = rows[at]
            lines = left.get(row) or list(enumerate(texts[row].split("\n")))
            ends = np.cumsum([len(letters.of(line)) for _, line in lines])
            firsts = np.searchsorted(ends, overlaps["begin"], "right")
            lasts = np.searchsorted(ends, overlaps["end"], "left")
            gone = set()
            for first, last, text in zip(firsts, lasts, overlaps["text"], strict=True):
                hits += [(row, *lines[i], text) for i in range(first, last + 1)]
                gone.update(range(first, last + 1))
            left[row] = [line for i, line in enumerate(lines) if i not in gone]
            again += [row] if left[row] else []
        rows = again
        looked_at = pl.Series(["\n".join(line for _, line in left[row]) for row in rows], dtype=pl.String)
    schema = {"row": pl.UInt32, "line": pl.UInt32, "removed": pl.String, "text": pl.UInt32}
    return pl.DataFrame(hits, schema=schema, orient="row")


def without(frame: pl.DataFrame, hits: pl.DataFrame, mode: str) -> pl.DataFrame:
    """The table without the lines, or, when `mode` is "document", the documents of `touched`."""
    if mode == "document":
        return frame.filter(~pl.int_range(pl.len()).is_in(hits["row"].implode()))
    gone: dict[int, set[int]] = {}
    for row, line in hits.select("row", "line").iter_rows():
        gone.setdefault(row, set()).add(line)
    texts = {}
    for row, lines in gone.items():
        kept = (line for i, line in enumerate(frame["text"][row].split("\n")) if i not in lines)
        texts[row] = "\n".join(kept).strip()
    replaced = frame["text"].scatter(list(texts), list(texts.values())) if texts else frame["text"]
    bare = [row for row, text in texts.items() if not letters.of(text)]
    return frame.with_columns(text=replaced).filter(~pl.int_range(pl.len()).is_in(bare))


def statistics(frame: pl.DataFrame, left: pl.DataFrame, hits: pl.DataFrame, index: EvaluationIndex) -> dict:
    """What every stage counts, and because of which evaluation sets something went.

    {"evaluation_sets": {set: {"documents", "paragraphs", "characters"}}}: touched by an overlap; what two
    sets share counts in both. {"found": {set: {example: paragraphs}}}: so many of its examples were here.
    """
    counted = _counted(frame).join(_counted(left), "source", how="left", suffix="_out").fill_null(0)
    sources: dict[str, dict[str, Any]] = {}
    for source, documents, size, documents_out, size_out in counted.sort("source").iter_rows():
        sources[source] = {
            "documents_in": documents,
            "documents_out": documents_out,
            "bytes_in": size,
            "bytes_out": size_out,
            "rejected": {RULE: [documents - documents_out, size - size_out]},
        }
    lines = hits.join(index.examples, "text")
    by_set = (
        lines.unique(["set", "row", "line"])
        .group_by("set")
        .agg(
            documents=pl.col("row").n_unique(),
            paragraphs=pl.len(),
            characters=pl.col("removed").str.len_chars().sum(),
        )
        .sort("set")
    )
    found: dict[str, dict[str, int]] = {}
    by_example = lines.unique(["set", "example", "row", "line"]).group_by("set", "example").len()
    for name, example, paragraphs in by_example.sort("set", "example").iter_rows():
        found.setdefault(name, {})[example] = paragraphs
    totals = ("documents_in", "documents_out", "bytes_in", "bytes_out")
    return {
        **{total: sum(source[total] for source in sources.values()) for total in totals},
        "sources": sources,
        "evaluation_sets": {row.pop("set"): row for row in by_set.to_dicts()},
        "found": found,
    }


def _counted(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.group_by("source").agg(documents=pl.len(), size=pl.col("text").str.len_bytes().sum())
