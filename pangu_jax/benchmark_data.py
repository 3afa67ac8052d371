"""`pangu data`: which benchmark sets are there, and texts of their domains for pretraining."""

from collections.abc import Sequence

from pangu_jax.errors import UserError
from pangu_jax.shown import Shown


def check(data_dir: str | None) -> Shown:
    """`presence` as a table: a set a line, and below it what is absent, leaks or was left out.

    Raises:
      DataError: there is no data folder.
    """
    from data_pipelines.text.benchmarks.presence import MISSING, presence

    rows = presence(data_dir)
    lines = []
    for row in rows:
        counts = _counts({**row["splits"], **row["derived"]})
        lines.append(f"{row['set']:<20}{row['state']:<9}{counts or 'get it from ' + row['owners']}")
        remarks = {
            "absent": ", ".join(row["absent"]) + f" ({row['owners']})" if row["absent"] else "",
            "left out": _counts({**row["quarantined"], **row["passed_over"]}),
            "leaks": row["leaks"] if row["state"] != MISSING else "",
            "problem": row["problem"],
        }
        if row["state"] != MISSING:
            lines += [f"{'':<20}{name}: {remark}" for name, remark in remarks.items() if remark]
    states = [row["state"] for row in rows]
    total = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
    return Shown(rows, "\n".join([*lines, f"{len(rows)} sets: {total}"]))


def unlabelled(tasks: Sequence[str] | None, out: str, data_dir: str | None) -> Shown:
    """`unlabelled` of the data pipelines.

    Raises:
      UserError: the extra of the corpus factory is missing.
      DataError: an unknown task, no data folder, or nothing to write.
    """
    try:
        import polars  # noqa: F401
    except ImportError as error:
        raise UserError("pangu data unlabelled needs polars: pip install 'pangu-jax[corpus]'") from error
    from data_pipelines.text.benchmarks import unlabelled as texts

    report = texts.unlabelled(tasks, out, data_dir)
    columns = ("read", "duplicates", "same_as_evaluated", "overlaps", "written")
    heads = ("read", "duplicates", "evaluated", "overlaps", "written")
    lines = [f"{'source':<28}" + "".join(f"{head:>12}" for head in heads)]
    for source, counts in report["sources"].items():
        lines.append(f"{source:<28}" + "".join(f"{counts[column]:>12,}" for column in columns))
    lines += [f"not there: {name}" for name in report["missing"]]
    if report["quarantined"]:
        lines.append(f"malformed lines left out: {report['quarantined']:,}")
    lines.append(f"{report['texts']:,} texts, {report['characters']:,} characters in {out}/{texts.FILE}")
    return Shown(report, "\n".join(lines))


def _counts(numbers: dict[str, int]) -> str:
    """ "train_0-4 32, test 610": splits that differ in their number alone are one where they are as large."""
    groups: dict[tuple[str, int], list[str]] = {}
    for name, count in numbers.items():
        stem, _, end = name.rpartition("_")
        groups.setdefault((stem if end.isdigit() else name, count), []).append(end)
    return ", ".join(
        f"{stem}_{ends[0]}-{ends[-1]} {count:,}" if len(ends) > 1 else f"{_named(stem, ends[0])} {count:,}"
        for (stem, count), ends in groups.items()
    )


def _named(stem: str, end: str) -> str:
    return f"{stem}_{end}" if end.isdigit() else stem
