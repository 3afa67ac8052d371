"""report.html and report.json of a build: what came in, what went and why, and what it cost."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_pipelines.corpus import collecting
from data_pipelines.corpus.directory import BuildDirectory
from data_pipelines.templates import rendered

EXAMPLES = 3  # documents shown for each rule
EXAMPLE_CHARACTERS = 300


def write(
    directory: BuildDirectory, identity: Mapping[str, Any], skipped: Mapping[str, int]
) -> dict[str, Any]:
    """Writes both files of a finished build and returns what is in report.json.

    Args:
      directory: of the build.
      identity: what it was built from, as in build.json.
      skipped: files of unknown kinds, by suffix.
    """
    found = collecting.collect(directory)
    found["identity"] = dict(identity)
    found["skipped_files"] = dict(skipped)
    found["left_out"] = collecting.left_out_lines(directory, skipped)
    found["stored_bytes"] = sum(size for _, _, size in identity["inputs"])
    found["disk_bytes"] = {
        "work": _bytes_under(directory.work),
        "dataset": _bytes_under(directory.dataset),
    }
    found["examples"] = {
        stage: {"rejected": _examples(directory, stage, True), "kept": _examples(directory, stage, False)}
        for stage in collecting.FUNNEL[1:]  # what was only read may hold personal data
    }
    directory.report_json.write_text(json.dumps(found, ensure_ascii=False, indent=1), "utf-8")
    directory.report.write_text(render(found, directory.root.name), "utf-8")
    return found


def render(found: Mapping[str, Any], name: str) -> str:
    """The page, self-contained."""
    stages = {stage["name"]: stage for stage in found["stages"]}
    funnel = [stages[name] for name in collecting.FUNNEL if name in stages]
    read = funnel[0]["bytes_out"] or 1
    return rendered(
        "data_pipelines.corpus",
        "report.html.jinja",
        {"mb": _megabytes, "n": _grouped},
        report=found,
        name=name,
        funnel=[
            (s["name"], s["documents_out"], s["bytes_out"], (s["bytes_out"] or 0) / read) for s in funnel
        ],
        names=[s["name"] for s in funnel],
        cpu=sum(s["cpu_seconds"] for s in found["stages"]) or 1e-3,
        read=read,
    )


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.1f}"


def _grouped(number: int) -> str:
    return f"{number:,}"


def _examples(directory: BuildDirectory, stage: str, rejected: bool) -> list[dict[str, Any]]:
    rows = collecting.samples(directory, stage, rejected, EXAMPLES)
    keep = ("id", "source", "rule", "value", "text")
    return [
        {
            key: row[key][:EXAMPLE_CHARACTERS] if key == "text" else row[key]
            for key in keep
            if row.get(key) is not None
        }
        for row in rows
    ]


def _bytes_under(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
