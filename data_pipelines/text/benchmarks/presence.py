"""Which of the published sets are there, with how many examples, and where to get the others."""

from pathlib import Path
from typing import Any

from data_pipelines.corpus import evaluation_sets
from data_pipelines.errors import DataError
from data_pipelines.text.benchmarks import published
from data_pipelines.text.benchmarks.definition import get, names
from data_pipelines.text.benchmarks.task import data_folder
from data_pipelines.text.folder import Quarantine

PRESENT, PARTIAL, MISSING, BROKEN = "present", "partial", "missing", "broken"


def presence(data_dir: str | Path | None = None) -> list[dict[str, Any]]:
    """A row for every set of `published.SETS`, in its order.

    Returns:
      {"set", "state", "files": {split: names}, "splits": {split: examples}, "derived": {split: examples},
      "absent": splits that are published and not there, "quarantined": malformed examples by reason,
      "passed_over": examples without a label by reason, "owners": their page, "leaks", "problem"}.
      `state` is "present" with all its splits, "partial" with some, "missing", or "broken" where a file
      cannot be read: `problem` says which and why.

    Raises:
      DataError: there is no data folder.
    """
    data = data_folder(data_dir)
    return [_row(name, data) for name in published.SETS]


def _row(name: str, data: Path) -> dict[str, Any]:
    here = published.SETS[name]
    there = [split for split in here.splits if here.files(split, data)]
    absent = [split for split in here.splits if split not in there]
    quarantine, splits, derived, problem = Quarantine(), {}, {}, ""
    try:
        if name in names():
            task = get(name)
            found = {split: task.examples(split, data, quarantine) for split in there}
            splits = {split: len(examples) for split, examples in found.items()}
            derived = {
                split: len(rule(found))
                for split, rule in task.derived.items()
                if set(rule.needs) <= set(found)
            }
        else:
            one = next(one for one in evaluation_sets.KNOWN if one.name == name)
            splits = {
                split: sum(1 for path in here.files(split, data) for _ in one.examples(path))
                for split in there
            }
    except DataError as error:
        problem = str(error)
    state = BROKEN if problem else PRESENT if not absent else PARTIAL if there else MISSING
    return {
        "set": name,
        "state": state,
        "files": {split: [path.name for path in here.files(split, data)] for split in there},
        "splits": splits,
        "derived": derived,
        "absent": absent,
        "quarantined": dict(quarantine.counts),
        "passed_over": dict(quarantine.noted),
        "owners": here.owners,
        "leaks": get(name).leaks if name in names() else "",
        "problem": problem,
    }
