"""The benchmark sets: which are there, and texts of their domains."""

import argparse

from pangu_jax.result import Result
from pangu_jax.verbs.verb import Verb


def _data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data_dir", metavar="DIR", help="the data folder; $PANGU_DATA_DIR unless given")


def _check(flags: argparse.Namespace) -> Result:
    """A line per set, and below it what is absent, leaks or was left out."""
    from data_pipelines.text.benchmarks.presence import MISSING, presence

    rows = presence(flags.data_dir)
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
    return Result(rows, "\n".join([*lines, f"{len(rows)} sets: {total}"]))


def _unlabelled_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="DIR", help="where the texts and their report go")
    parser.add_argument(
        "--task",
        action="append",
        metavar="NAME",
        help="whose texts, without what its dev and test hold; may be repeated; FewCLUE's nine unless given",
    )
    _data_dir(parser)


def _unlabelled(flags: argparse.Namespace) -> Result:
    from data_pipelines.text.benchmarks import unlabelled as texts

    report = texts.unlabelled(flags.task, flags.out, flags.data_dir)
    columns = ("read", "duplicates", "same_as_evaluated", "overlaps", "written")
    heads = ("read", "duplicates", "evaluated", "overlaps", "written")
    lines = [f"{'source':<28}" + "".join(f"{head:>12}" for head in heads)]
    for source, counts in report["sources"].items():
        lines.append(f"{source:<28}" + "".join(f"{counts[column]:>12,}" for column in columns))
    lines += [f"not there: {name}" for name in report["missing"]]
    if report["quarantined"]:
        lines.append(f"malformed lines left out: {report['quarantined']:,}")
    lines.append(
        f"{report['texts']:,} texts, {report['characters']:,} characters in {flags.out}/{texts.FILE}"
    )
    return Result(report, "\n".join(lines))


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


VERBS: dict[str, Verb] = {
    "data check": Verb(
        "list which benchmark sets are there, with how many examples, and where to get the others",
        "pangu data check --data_dir data/",
        _data_dir,
        _check,
    ),
    "data unlabelled": Verb(
        "write texts of the tasks' domains for pretraining, without what is evaluated",
        "pangu data unlabelled --task fewclue/eprstmt --out unlabelled/",
        _unlabelled_flags,
        _unlabelled,
    ),
}
