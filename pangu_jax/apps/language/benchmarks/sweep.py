"""Sweeps: tasks x approaches x splits x seeds, on this machine or a Ray cluster, ending in tables.

A row is on disk as soon as it is known, and what has its row is not done again. Cells of one task and
approach go together: they share their compiled programs.
"""

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import gin

from data_pipelines.text import benchmarks
from data_pipelines.text.benchmarks.task import chance, majority
from pangu_jax.apps.language import loading
from pangu_jax.apps.language.benchmarks import few_shot
from pangu_jax.apps.language.benchmarks.approach import Approach, limit_of, pattern_name
from pangu_jax.apps.language.benchmarks.metrics import clue
from pangu_jax.apps.language.benchmarks.subsets import test_examples
from pangu_jax.apps.language.tuning import stored
from pangu_jax.errors import UserError
from pangu_jax.evaluation import tables
from pangu_jax.evaluation.journal import Cell, Journal, Row
from pangu_jax.evaluation.source_code import commit
from pangu_jax.evaluation.statistics import BASELINES
from pangu_jax.parallel.constraints import ConstraintPlacement
from pangu_jax.parallel.layout import Layout
from pangu_jax.recipes import plain_errors
from pangu_jax.runs.inference_layout import ANY, Devices, of_mesh

log = logging.getLogger(__name__)

FEWCLUE = ("eprstmt", "csldcp", "tnews", "iflytek", "ocnli", "bustm", "chid", "csl", "cluewsc")


# Of the boards that publish one.
TOTALS = (
    tables.BoardTotal("fewclue/", "FewCLUE score", clue.fewclue),
    tables.BoardTotal("clue/", "CLUE classification", clue.classification),
    tables.BoardTotal("clue/", "CLUE reading", clue.reading),
    tables.BoardTotal("clue/", "CLUE total", clue.total),
)


class Group(NamedTuple):
    """Cells that are done together, by one process.

    Attributes:
      run_dir: the model they start from.
      approach: theirs.
      cells: of one task.
      test_split: measured on; None as in `subsets.test_examples`.
      limit: most examples of it, drawn once for all; 0 for all.
      data_dir: the data folder.
      devices: where the model is opened.
    """

    run_dir: str
    approach: Approach
    cells: tuple[Cell, ...]
    test_split: str | None
    limit: int
    data_dir: str | None
    devices: Devices


@plain_errors()
@gin.configurable
def sweep(
    run_dir: str = gin.REQUIRED,
    out: str = gin.REQUIRED,
    approaches: Mapping[str, Approach] = gin.REQUIRED,
    tasks: Sequence[str] = tuple(f"fewclue/{name}" for name in FEWCLUE),
    splits: Sequence[str] = ("0", "1", "2", "3", "4"),
    seeds: Sequence[int] = (0,),
    test_split: str | None = None,
    limit: int = 0,
    compare: Sequence[tuple[str, str]] = (),
    title: str = "FewCLUE",
    data_dir: str | None = None,
    workers: int = 1,
    ray_address: str | None = None,
    on_row: Callable[[Row], None] | None = None,
    recipe: str = "",
    devices: Devices = ANY,
) -> tables.Written:
    """Every approach on every split of every task, and the tables of it in `out`.

    Args:
      run_dir: the model that every cell starts from.
      out: rows.jsonl, results.json, results.md and results.html go there.
      approaches: by the name they have in the tables.
      tasks: names of benchmark tasks.
      splits: few-shot splits; K is train_K and dev_K.
      seeds: of tuning; what tunes nothing has the first only.
      test_split: measured on; None takes the labelled one, as in `subsets.test_examples`.
      limit: most examples of it, the same for all; 0 takes all.
      compare: pairs of approaches whose paired difference is shown; all pairs when empty.
      title: of the tables.
      data_dir: the data folder; None is $PANGU_DATA_DIR.
      workers: processes; 1 works in this one, more start Ray here.
      ray_address: a Ray cluster to use; it needs `run_dir` and the data at the same paths.
      on_row: called with every row.
      recipe: text of the resolved recipe.
      devices: where the run is opened, by each process.

    Raises:
      UserError, DataError: settings that make no sense, a task or split that is missing, or an `out` that
        belongs to another sweep.
    """
    if not approaches or not tasks or not splits or not seeds:
        raise UserError("a sweep needs at least one of each: sweep.approaches, tasks, splits, seeds")
    if taken := set(approaches) & set(BASELINES):
        raise UserError(f"sweep.approaches: {taken.pop()!r} is the name of a baseline; take another")
    chosen = {name: benchmarks.get(name) for name in tasks}
    pairs = [
        (task, name)
        for task in chosen
        for name, approach in approaches.items()
        if not approach.tasks or task in approach.tasks
    ]
    for task, name in pairs:
        pattern_name(approaches[name].pattern, chosen[task])
    identity = {
        "model": stored.fingerprint(loading.load(run_dir, devices=devices, float32=True).params),
        "recipe": recipe,
    }
    with Journal(Path(out) / "rows.jsonl", identity) as journal:
        done = journal.done()

        def add(row: Row) -> None:
            journal.add(row)
            if on_row:
                on_row(row)

        for name, task in chosen.items():
            for row in _guessing(task, splits, test_split, limit, data_dir, seeds[0]):
                if Cell(name, row["method"], row["split"], row["seed"]) not in done:
                    add(row)
        groups = []
        for task, name in pairs:
            approach = approaches[name]
            over = seeds if approach.method else seeds[:1]
            cells = [Cell(task, name, split, seed) for split in splits for seed in over]
            if left := tuple(cell for cell in cells if cell not in done):
                most = limit_of(approach.limit, task) or limit
                groups.append(Group(run_dir, approach, left, test_split, most, data_dir, devices))
        for row in _carried_out(groups, workers, ray_address):
            add(row)
        order = {name: number for number, name in enumerate((*BASELINES, *approaches))}
        rows = sorted(
            journal.rows,
            key=lambda row: (tasks.index(row["task"]), order[row["method"]], row["split"], row["seed"]),
        )
    compared = list(compare) or None
    return tables.write(rows, out, title, recipe, commit(), compare=compared, totals=TOTALS)


def run_group(group: Group) -> Iterator[Row]:
    """The rows of a group, one by one."""
    task = benchmarks.get(group.cells[0].task)
    test = test_examples(task, group.test_split, group.limit, group.data_dir).examples
    loaded = loading.load(group.run_dir, devices=group.devices, float32=True)
    placement, batch_size = loaded.run.placement, group.approach.batch_size
    parts = of_mesh(placement.mesh.shape).batch_shards if isinstance(placement, ConstraintPlacement) else 1
    if batch_size % parts and not group.devices.layout:  # nobody asked for so many
        log.warning("batch_size %d is not divisible by %d devices: one is used", batch_size, parts)
        one = dataclasses.replace(group.devices, layout=Layout(data=1))
        loaded = loading.load(group.run_dir, devices=one, float32=True)
    yield from few_shot.run(loaded, task, group.approach, group.cells, test, group.data_dir)


def _guessing(
    task: benchmarks.BenchmarkTask,
    splits: Sequence[str],
    test_split: str | None,
    limit: int,
    data_dir: str | None,
    seed: int,
) -> Iterator[Row]:
    """What guessing gives: the most frequent answer of a train split, and an even draw."""
    test = test_examples(task, test_split, limit, data_dir).examples
    by_chance = chance(task, test)
    for split in splits:
        by_majority = majority(task, task.examples(f"train_{split}", data_dir), test)
        for method, accuracy in (("majority", by_majority), ("random", by_chance)):
            yield {
                **Cell(task.name, method, split, seed)._asdict(),
                "accuracy": round(accuracy, 2),
                "examples": len(test),
            }


def _carried_out(groups: Sequence[Group], workers: int, ray_address: str | None) -> Iterator[Row]:
    if workers <= 1 and not ray_address:
        for group in groups:
            yield from run_group(group)
        return
    from pangu_jax.evaluation import on_ray

    yield from on_ray.rows(run_group, groups, workers, ray_address)
