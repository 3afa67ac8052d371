"""What the stages of a build counted, added up: the funnel, what rules did, and what each stage cost."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from data_pipelines.corpus import engine, frames
from data_pipelines.corpus.directory import BuildDirectory
from data_pipelines.corpus.reading import left_out
from data_pipelines.corpus.rejected import FILE

# Stages that see documents, in order: the rows of the funnel.
FUNNEL = ("read", "clean", "deduplicate", "decontaminate", "write")
STAGES = (
    "read", "clean", "sign", "join", "gather", "verify", "cluster", "repeats", "deduplicate", "index",
    "decontaminate", "write",
)  # fmt: skip
_COST = ("cpu_seconds", "seconds", "peak_bytes")


def added(statistics: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The sum of statistics: numbers and lists of numbers add up, dicts key by key; "edges" stay."""
    total: dict[str, Any] = {}
    for one in statistics:
        for key, value in one.items():
            total[key] = _plus(total[key], value, key) if key in total else value
    return total


def _plus(a: Any, b: Any, key: str) -> Any:
    if isinstance(a, dict):
        return added([a, b])
    if isinstance(a, list):
        if key == "edges":
            return a
        if len(a) == len(b) and all(isinstance(x, int | float) for x in (*a, *b)):
            return [x + y for x, y in zip(a, b, strict=True)]
        return a + b
    return a + b if isinstance(a, int | float) and not isinstance(a, bool) else a


def counted(directory: BuildDirectory, stage: str) -> dict[str, Any]:
    """What a stage counted, without what it cost."""
    return added(
        {key: value for key, value in one.items() if key not in _COST}
        for one in engine.statistics(directory.stage(stage))
    )


def left_out_lines(directory: BuildDirectory, skipped: Mapping[str, int]) -> list[str]:
    """What reading left out and noted, a line each; `skipped`: files that nobody opened, by suffix."""
    read = counted(directory, "read")
    return left_out.lines(skipped, read["quarantined"], read["noted"], read["documents_out"])


def collect(directory: BuildDirectory) -> dict[str, Any]:
    """Everything a build's report says.

    Returns:
      {"stages": [{"name", "tasks", "documents_in", "documents_out", "bytes_in", "bytes_out", "cpu_seconds",
      "seconds", "peak_bytes", "mb_per_cpu_second"}], "sources": {source: {stage: [documents, bytes]}},
      "rejected": {stage: {rule: [documents, bytes]}}, "counts": {stage: {name: n}}, "histograms": {name:
      {"edges", "counts"}}, "quarantined": {reason: n}, "noted", "evaluation": the statistics of the index,
      with "examples_found" of each set}. MB are 10^6 bytes of UTF-8 text as it was read; seconds are summed
      over tasks.
    """
    found: dict[str, Any] = {
        "stages": [], "sources": {}, "rejected": {}, "counts": {}, "histograms": {},
        "quarantined": {}, "noted": {}, "evaluation": {},
    }  # fmt: skip
    text = 0
    for name in STAGES:
        each = engine.statistics(directory.stage(name))
        if not each:
            continue
        cost = {key: [one.pop(key) for one in each] for key in _COST}
        total = added(each)
        text = text or total.get("bytes_out", 0)
        found["stages"].append(_stage(name, len(each), total, cost, text))
        if name in FUNNEL:
            for source, numbers in total.get("sources", {}).items():
                out = [numbers.get("documents_out", 0), numbers.get("bytes_out", 0)]
                found["sources"].setdefault(source, {})[name] = out
        rejected = added(s.get("rejected", {}) for s in total.get("sources", {}).values())
        rejected = {rule: numbers for rule, numbers in rejected.items() if any(numbers)}
        if rejected:
            found["rejected"][name] = rejected
        if total.get("counts"):
            found["counts"][name] = total["counts"]
        for kind in ("histograms", "quarantined", "noted"):
            found[kind] |= total.get(kind, {})
        if name == "index":
            found["evaluation"] = total
        if name == "decontaminate":
            for known, facts in found["evaluation"]["evaluation_sets"].items():
                facts["examples_found"] = len(total.get("found", {}).get(known, ()))
    return found


def _stage(name: str, tasks: int, total: dict, cost: dict[str, list], text: int) -> dict[str, Any]:
    cpu = sum(cost["cpu_seconds"])
    return {
        "name": name,
        "tasks": tasks,
        **{key: total.get(key) for key in ("documents_in", "documents_out", "bytes_in", "bytes_out")},
        "cpu_seconds": round(cpu, 3),
        "seconds": round(sum(cost["seconds"]), 3),
        "peak_bytes": max(cost["peak_bytes"]),
        "mb_per_cpu_second": round(text / 1e6 / cpu, 2) if cpu else None,
    }


def samples(directory: BuildDirectory, stage: str, rejected: bool, count: int) -> list[dict[str, Any]]:
    """Some documents of a stage, spread over its chunks: what it kept, or of each rule what it rejected."""
    name = FILE if rejected else "*.arrow"
    paths = [p for p in sorted(directory.stage(stage).glob(f"*/{name}")) if rejected or _documents(p)]
    if not paths:
        return []
    picked = [_spread(pl.read_ipc(path), rejected, count) for path in _few(paths)]
    frame = pl.concat(picked, how="diagonal_relaxed")
    if not len(frame):
        return []
    return _spread(frame, rejected, count).to_dicts()


def _documents(path: Path) -> bool:
    return path.name == frames.DOCUMENTS or path.name.startswith("chunk-")


def _few(paths: Sequence[Path], most: int = 64) -> Sequence[Path]:
    return paths[:: (len(paths) - 1) // most + 1]


def _spread(frame: pl.DataFrame, rejected: bool, count: int) -> pl.DataFrame:
    """At most `count` rows, of each rule if there are rules, evenly from first to last."""
    groups = frame.partition_by("rule", maintain_order=True) if rejected and len(frame) else [frame]
    return pl.concat([group[:: (len(group) - 1) // count + 1] for group in groups if len(group)] or [frame])
