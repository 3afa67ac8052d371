"""Texts of the tasks' domains without labels, for pretraining, with nothing that is evaluated among."""

import csv
import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from data_pipelines.corpus import evaluation_sets
from data_pipelines.corpus.evaluation_files import unpacked
from data_pipelines.errors import DataError
from data_pipelines.text.benchmarks import published
from data_pipelines.text.benchmarks.definition import get
from data_pipelines.text.benchmarks.task import data_folder
from data_pipelines.text.documents import Document
from data_pipelines.text.folder import Quarantine

FILE, REPORT = "unlabelled.jsonl", "unlabelled.report.json"
FEWCLUE = tuple(name for name in published.SETS if name.startswith("fewclue/"))
CHARACTERS = 30  # letters in a row that make an overlap

# Whole sets of a task's domain. As corpora they are not evaluated on.
_RELATED = {"fewclue/eprstmt": ("reviews/shopping", "reviews/takeaway", "reviews/hotels")}

# Fields that are text as it was written. Keywords may be made up.
_TEXTS = frozenset(("sentence", "sentence1", "sentence2", "before", "after", "content", "text", "abstract"))


def unlabelled(tasks: Sequence[str] | None, out: str | Path, data_dir: str | Path | None = None) -> dict:
    """Writes `unlabelled.jsonl` into the folder `out`: {"text", "source"} per line, and a report beside it.

    The texts: the tasks' `unlabeled` splits, each field a text of its own, cut where a word is blanked; for
    eprstmt also reviews/*. Left out are duplicates, and every text that has the letters
    of a dev or test text of the tasks (`Document.digest`), shares CHARACTERS letters in a row with one, or
    holds a whole one of 13 letters or more. Letters: case, spaces and punctuation do not count.

    Args:
      tasks: whose texts, and against whose dev and test splits; None is FewCLUE's nine.

    Returns:
      {"texts", "characters", "sources": {source: {"read", "duplicates", "same_as_evaluated", "overlaps",
      "written"}}, "missing": names of splits and sets that are not there, "against": {task: texts},
      "quarantined": lines that were malformed}.

    Raises:
      DataError: an unknown task, no data folder, or nothing to write.
    """
    import polars as pl

    from data_pipelines.corpus import decontamination

    chosen = tuple(tasks) if tasks else FEWCLUE
    for name in chosen:
        get(name)  # which says so when there is no such task
    data, quarantine = data_folder(data_dir), Quarantine()
    sources, missing = _sources(chosen, data, quarantine)
    evaluated = _evaluated(chosen, data)
    counts, kept, seen = {}, [], set()
    for source, texts in sources:
        own = counts[source] = dict.fromkeys(
            ("read", "duplicates", "same_as_evaluated", "overlaps", "written"), 0
        )
        for text in texts:
            own["read"] += 1
            digest = Document("", text).digest()
            if not digest or digest in seen:
                own["duplicates"] += 1
            elif digest in evaluated:
                own["same_as_evaluated"] += 1
            else:
                kept.append((str(len(kept)), source, None, text))
            seen.add(digest)
    frame = pl.DataFrame(kept, schema=decontamination.frames.SCHEMA, orient="row")
    settings = decontamination.Decontamination(
        characters=CHARACTERS, remove="document", data_dir=str(data), sets=chosen
    )
    with tempfile.TemporaryDirectory() as folder:
        index = decontamination.build_index(settings, Path(folder))
        left, _ = decontamination.remove(frame, decontamination.read_index(Path(folder)))
        # The index maps its files: let go of them before they go.
        decontamination.read_index.cache_clear()
    for source, own in counts.items():
        own["written"] = left.filter(pl.col("source") == source).height
        own["overlaps"] = frame.filter(pl.col("source") == source).height - own["written"]
    if not left.height:
        raise DataError(f"unlabelled: {data} holds no unlabelled texts of {', '.join(chosen)}")
    folder = Path(out).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("w", encoding="utf-8") as lines:
        for source, text in left.select("source", "text").iter_rows():
            lines.write(json.dumps({"text": text, "source": source}, ensure_ascii=False) + "\n")
    report = {
        "texts": left.height,
        "characters": int(left["text"].str.len_chars().sum()),
        "sources": counts,
        "missing": missing,
        "against": {name: facts["texts"] for name, facts in index["evaluation_sets"].items()},
        "quarantined": sum(quarantine.counts.values()),
    }
    (folder / REPORT).write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return report


def _sources(
    chosen: Sequence[str], data: Path, quarantine: Quarantine
) -> tuple[list[tuple[str, Iterable[str]]], list[str]]:
    sources, missing = [], []
    for name in chosen:
        if "unlabeled" in published.SETS[name].splits:
            split = f"{name}/unlabeled"
            if published.SETS[name].files("unlabeled", data):
                sources.append((split, _texts(name, data, quarantine)))
            else:
                missing.append(split)
        for related in _RELATED.get(name, ()):
            if found := published.SETS[related].files(published.WHOLE, data):
                sources.append((related, _reviews(found)))
            else:
                missing.append(related)
    return sources, missing


def _texts(name: str, data: Path, quarantine: Quarantine) -> Iterator[str]:
    for example in get(name).examples("unlabeled", data, quarantine):
        for field, text in example.fields.items():
            if field in _TEXTS and text.strip():
                yield text.strip()


def _reviews(files: Iterable[Path]) -> Iterator[str]:
    for path in files:
        for row in csv.DictReader(io.StringIO(unpacked(path))):
            if text := (row["review"] or "").strip():
                yield text


def _evaluated(chosen: Sequence[str], data: Path) -> set[str]:
    """Digests of all dev and test texts; the overlap index leaves short ones alone."""
    sets = [one for one in evaluation_sets.KNOWN if one.name in chosen]
    return {
        Document("", text).digest()
        for one in sets
        for path in one.found(data)
        for _, texts in one.examples(path)
        for text in texts
    }
