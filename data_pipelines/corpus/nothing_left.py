"""The one line that ends a build of which nothing is left: what took it all."""

from collections.abc import Mapping
from typing import Any

from data_pipelines.corpus.reading import left_out

_NAMED = 4  # rules


def line(report: Mapping[str, Any], limits: Mapping[str, str], output: str) -> str:
    """`report` as `report.write` returns it; `limits`: rule -> its threshold in words."""
    stages = {stage["name"]: stage for stage in report["stages"]}
    read = stages["read"]["documents_out"]
    said = [f"nothing is left: {_documents(read)} read{_rejected(report, limits)}"]
    said += left_out.lines(report["skipped_files"], report["quarantined"], report["noted"], read)
    if not read:
        fields = "; is Reading.text_field the right one?" if _no_field(report["quarantined"]) else ""
        where = f"see {output}/work/read/*/quarantine.jsonl{fields}"
    else:
        last = next(reversed(report["rejected"]), "clean")
        where = f"see pangu corpus sample {output} --stage {last} --rejected"
    return "; ".join([*said, f"{where}; {output}/report.html has the rest"])


def _rejected(report: Mapping[str, Any], limits: Mapping[str, str]) -> str:
    counts = [
        (documents, rule) for rules in report["rejected"].values() for rule, (documents, _) in rules.items()
    ]
    said = ""
    for number, (documents, rule) in enumerate(sorted(counts, reverse=True)[:_NAMED]):
        limit = f" ({limits[rule]})" if limits.get(rule) else ""
        said += f", {documents:,} {'by' if number else 'rejected by'} {rule}{limit}"
    return said


def _documents(count: int) -> str:
    return f"{count:,} document{'' if count == 1 else 's'}"


def _no_field(quarantined: Mapping[str, int]) -> bool:
    return any(reason.startswith(("no text in field", "no column")) for reason in quarantined)
