"""Which examples a model is measured on."""

import random
from typing import NamedTuple

from data_pipelines.text.benchmarks import BenchmarkTask, Example
from data_pipelines.text.folder import Quarantine
from pangu_jax.errors import UserError

# What is labelled, best first: without what leaked, FewCLUE's, and what others have.
LABELLED = ("test_clean", "test_public", "test", "dev", "val", "valid")


class Subset(NamedTuple):
    """Examples of a split, in its order."""

    split: str
    examples: list[Example]


def test_examples(
    task: BenchmarkTask,
    split: str | None,
    limit: int,
    data_dir: str | None,
    quarantine: Quarantine | None = None,
) -> Subset:
    """The examples to measure on; of more than `limit` (0: all), always the same ones.

    Args:
      task: theirs.
      split: None takes the first of LABELLED that is there and has public labels.
      limit: most examples.
      data_dir: the data folder; None is $PANGU_DATA_DIR.
      quarantine: gets malformed lines.

    Raises:
      UserError, DataError: the split is missing, or none has labels.
    """
    names = [split] if split else [name for name in LABELLED if name in task.splits(data_dir)]
    for name in names:
        found = task.examples(name, data_dir, quarantine)
        if split or (found and (found[0].label is not None or found[0].references)):
            break
    else:
        raise UserError(
            f"{task.name}: no split with public labels is there; `pangu data check` lists what is, and where "
            "to get the others"
        )
    return Subset(name, limited(found, limit))


def limited(examples: list[Example], limit: int) -> list[Example]:
    """At most `limit` of them (0: all), drawn once and for all, in their order."""
    if not limit or len(examples) <= limit:
        return examples
    return [examples[number] for number in sorted(random.Random(0).sample(range(len(examples)), limit))]
