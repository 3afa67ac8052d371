"""Cleans a table of documents by a list of rules."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from data_pipelines.corpus import frames
from data_pipelines.corpus.cleaning.batch import Batch, batches
from data_pipelines.corpus.cleaning.rules import Edit, Filter, Histogram, Rule
from data_pipelines.corpus.rejected import FILE, SHOWN, sampled
from data_pipelines.errors import DataError

# Characters beyond those shown, so that what `Edit.private` removes is not cut in two.
_MARGIN = 200


class Cleaned(NamedTuple):
    """What became of a table of documents.

    Attributes:
      kept: the documents that no filter rejected, edited, in their order; `frames.SCHEMA`.
      rejected: the others, in their order: id, source, rule (the first that rejected it), value (what that
        measured), text (its first 500 characters then), bytes (its UTF-8 before any edit).
      changes: {rule: (documents changed, changes)} of edits, and {rule.kind: ...} of those that count kinds
        apart.
      counts: {rule.name: count}, what filters counted beside.
      histograms: {name: {"edges": [...], "counts": [...]}} of what filters measured.
    """

    kept: pl.DataFrame
    rejected: pl.DataFrame
    changes: dict[str, tuple[int, int]]
    counts: dict[str, int]
    histograms: dict[str, dict[str, list]]


def clean(frame: pl.DataFrame, rules: Sequence[Rule]) -> Cleaned:
    """Applies the rules one after the other. What becomes of a document does not depend on the others.

    Args:
      frame: `frames.SCHEMA`; a null is an empty text.
      rules: edits and filters, in this order.

    Raises:
      DataError: two different rules bear one name, or what rules raise.
    """
    _check_names(rules)
    texts = frame["text"].fill_null("")
    tally = _Tally(rules)
    kept = [_clean(batch, begin, rules, tally) for begin, batch in batches(texts)]
    rows = np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in kept)])
    edited = pl.concat([texts.clear(), *(own.rename("text") for _, own in kept)])
    rejected = tally.rejected()
    fate = frame[rejected["row"]].select("id", "source").hstack(rejected.select("rule", "value", "text"))
    return Cleaned(
        kept=frame[rows].with_columns(edited),
        rejected=fate.with_columns(bytes=texts.gather(rejected["row"]).str.len_bytes().cast(pl.Int64)),
        changes={name: (tally.documents[name], tally.changes[name]) for name in sorted(tally.changes)},
        counts={name: tally.counts[name] for name in sorted(tally.counts)},
        histograms=tally.histograms,
    )


def _clean(batch: Batch, begin: int, rules: Sequence[Rule], tally: "_Tally") -> tuple[np.ndarray, pl.Series]:
    """(rows kept, their texts) of a batch whose first document is in row `begin`."""
    rows, alive = np.arange(begin, begin + len(batch)), np.ones(len(batch), bool)
    for rule in rules:
        # Selecting would lose the segmentation, which costs more than all the rules behind it.
        if rule.costly and not alive.all() and (isinstance(rule, Edit) or not batch.segmented):
            rows, batch = rows[alive], batch.select(alive)
            alive = np.ones(len(batch), bool)
        if not alive.any():
            break
        if isinstance(rule, Edit):
            batch, changes = rule.edit(batch)
            tally.edited(rule, {kind: counts[alive] for kind, counts in changes.items()})
            continue
        batch.alive = alive
        verdict = rule.judge(batch)
        counts = {name: int(own[alive].sum()) for name, own in verdict.counts.items()}
        tally.judged(rule, verdict.value[alive], counts)
        out = np.flatnonzero(alive & ~verdict.keep)
        if len(out):
            tally.reject(rule, rows[out], verdict.value[out], batch.texts.gather(out))
            alive[out] = False
    return rows[alive], batch.texts.filter(alive)


class _Tally:
    """Counts what rules did, over all batches."""

    def __init__(self, rules: Sequence[Rule]):
        self.documents, self.changes, self.counts = Counter(), Counter(), Counter()
        self.histograms = {}
        for rule in rules:
            if isinstance(rule, Filter) and rule.histogram:
                name, edges = rule.histogram
                self.histograms[name] = {"edges": list(edges), "counts": [0] * (len(edges) - 1)}
        self._private = [rule for rule in rules if isinstance(rule, Edit) and rule.private]
        schema = {"row": pl.Int64, "rule": pl.String, "value": pl.Float64, "text": pl.String}
        self._rejected = [pl.DataFrame(schema=schema)]

    def edited(self, rule: Edit, changes: dict[str, np.ndarray]) -> None:
        named = {rule.name: sum(changes.values())}
        if len(changes) > 1:
            named |= {f"{rule.name}.{kind}": counts for kind, counts in changes.items()}
        for name, counts in named.items():
            self.documents[name] += int(np.count_nonzero(counts))
            self.changes[name] += int(np.sum(counts))

    def judged(self, rule: Filter, values: np.ndarray, counts: dict[str, int]) -> None:
        for name, count in counts.items():
            self.counts[f"{rule.name}.{name}"] += count
        if rule.histogram:
            add_to_histogram(self.histograms[rule.histogram.name], rule.histogram, values)

    def reject(self, rule: Filter, rows: np.ndarray, values: np.ndarray, texts: pl.Series) -> None:
        shown = rule.shown(texts.str.slice(0, SHOWN + _MARGIN))
        self._rejected.append(pl.DataFrame({"row": rows, "rule": rule.name, "value": values, "text": shown}))

    def rejected(self) -> pl.DataFrame:
        """row, rule, value, text, by row."""
        rejected = pl.concat(self._rejected).sort("row")
        shown = rejected["text"]
        for edit in self._private:
            shown = edit.edit(Batch(shown)).batch.texts
        return rejected.with_columns(shown.str.slice(0, SHOWN).alias("text"))


def add_to_histogram(counts: dict[str, list], histogram: Histogram, values: np.ndarray) -> None:
    """Counts values in; those beyond the edges in the first and last bin."""
    edges = np.array(histogram.edges, np.float64)
    found, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    counts["counts"] = [old + int(new) for old, new in zip(counts["counts"], found, strict=True)]


def _check_names(rules: Sequence[Rule]) -> None:
    seen: dict[str, Rule] = {}
    for rule in rules:
        if seen.setdefault(rule.name, rule) != rule:
            raise DataError(
                f"cleaning: two different rules are named {rule.name!r}; set the name of one of them"
            )


def clean_chunk(documents: Path, rules: Sequence[Rule], *, out: Path) -> dict:
    """Cleans a chunk, from the file `documents` into the folder `out`: documents.arrow and rejected.arrow.

    rejected.arrow has `Cleaned.rejected`'s columns, of each rule at most 50 documents, chosen by a hash of
    what is shown of them.

    Returns:
      statistics: documents and bytes in and out, and by source with what each rule rejected; "counts" of what
      edits changed ("RULE.documents", "RULE.changes") and of what filters counted; histograms.
    """
    frame = frames.read(documents)
    cleaned = clean(frame, rules)
    frames.write(cleaned.kept, out / frames.DOCUMENTS)
    frames.write(sampled(cleaned.rejected), out / FILE)
    counts = dict(cleaned.counts)
    for name, (changed, changes) in cleaned.changes.items():
        counts |= {f"{name}.documents": changed, f"{name}.changes": changes}
    sources = _by_source(frame, cleaned)
    totals = {
        name: sum(source[name] for source in sources.values())
        for name in ("documents_in", "documents_out", "bytes_in", "bytes_out")
    }
    return {**totals, "sources": sources, "counts": counts, "histograms": cleaned.histograms}


def _by_source(frame: pl.DataFrame, cleaned: Cleaned) -> dict[str, dict]:
    def summed(table: pl.DataFrame) -> dict[str, tuple[int, int]]:
        size = pl.col("text").str.len_bytes().sum()
        return {
            source: (n, total) for source, n, total in table.group_by("source").agg(pl.len(), size).rows()
        }

    before, after = summed(frame), summed(cleaned.kept)
    sources = {}
    for source in sorted(before):
        (documents_in, bytes_in), (documents_out, bytes_out) = before[source], after.get(source, (0, 0))
        sources[source] = {
            "documents_in": documents_in,
            "documents_out": documents_out,
            "bytes_in": bytes_in,
            "bytes_out": bytes_out,
            "rejected": {},
        }
    lost = cleaned.rejected.group_by("source", "rule").agg(pl.len(), pl.col("bytes").sum())
    for source, rule, documents, size in sorted(lost.rows()):
        sources[source]["rejected"][rule] = [documents, size]
    return sources
