"""`increment`: classes that arrive in groups, learnt by several methods beside their controls."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gin
import numpy as np

from data_pipelines.images.images import Images
from pangu_jax.apps.vision.iteration import pool_features, report, stored_state
from pangu_jax.apps.vision.iteration.increments import task as tasks
from pangu_jax.apps.vision.iteration.increments.bic import BiC
from pangu_jax.apps.vision.iteration.increments.icarl import ICaRL
from pangu_jax.apps.vision.iteration.increments.method import IncrementMethod, State
from pangu_jax.apps.vision.iteration.increments.nearest_mean import NearestMean
from pangu_jax.apps.vision.iteration.increments.podnet import PooledDistillation
from pangu_jax.apps.vision.iteration.increments.replay import GDumb, Joint, Replay
from pangu_jax.apps.vision.iteration.increments.task import IncrementTask
from pangu_jax.apps.vision.iteration.pool import Pool, of_images
from pangu_jax.errors import UserError
from pangu_jax.evaluation.journal import Journal
from pangu_jax.recipes import plain_errors
from pangu_jax.runs import opening
from pangu_jax.runs.inference_layout import ANY, Devices

JOURNAL = "increments.jsonl"
COLUMNS = ("method", "increment", "accuracy", "average", "new", "old", "forgetting", "memory_bytes")
COLUMNS += ("flops", "percent_of_joint")
Row = dict[str, Any]


class Incremented(NamedTuple):
    """What increments came to.

    Attributes:
      rows: one per method and increment.
      page: the report.
    """

    rows: list[Row]
    page: Path


@plain_errors()
@gin.configurable
def increment(
    run_dir: str = gin.REQUIRED,
    out: str = gin.REQUIRED,
    data: Images = gin.REQUIRED,
    methods: Sequence[IncrementMethod] | None = None,
    groups: int = 5,
    per_class: int = 20,
    pictures: int | None = None,
    seed: int = 0,
    step: int | None = None,
    recipe: str = "",
    on_row: Callable[[Row], None] | None = None,
    say: Callable[[str], None] | None = None,
    devices: Devices = ANY,
) -> Incremented:
    """Learn group after group of classes with a memory of a few pictures of each.

    Args:
      run_dir: the run whose trunk sees the pictures; it stays as it is.
      out: folder of the journal, the features, each method's state and the report; resumes what is there.
      data: labelled pictures.
      methods: [@Replay(), @ICaRL(), ...]; all of them and the controls when None.
      groups: that the classes arrive in, in an order drawn by the seed.
      per_class: pictures that the memory keeps of a class, herded; the same ones for every method.
      pictures: so many of the training side; all when None.
      seed: of the order of classes, of weights and what is drawn.
      step: the run's checkpoint; the best or the newest when None.
      recipe: by which this is done; the report shows it.
      on_row: called with each row.
      say: told what takes long.
      devices: where the run is opened.

    Raises:
      UserError, DataError: the pictures have no labels, or classes that were learnt have other numbers now.
    """
    say, on_row, folder = say or (lambda line: None), on_row or (lambda row: None), Path(out)
    if per_class < 1:
        raise UserError("increment.per_class must be at least 1")
    own = tuple(methods or (Joint(), Replay(), GDumb(), ICaRL(), BiC(), PooledDistillation(), NearestMean()))
    pool = of_images(data, 1.0, 0, pictures)
    run = opening.open_run(run_dir, step, devices, family="vision", float32=True)
    about = {"groups": groups, "per_class": per_class, "seed": seed, "pictures": len(pool)}
    identity = about | {"order": data.order(), "run": str(run.directory.path), "step": run.manifest["step"]}
    with Journal(folder / JOURNAL, identity, "iteration") as journal:
        for method in own:
            _require_same(method, journal)
        for row in journal.rows:
            tasks.require_numbers(row["classes"], row["seen"], pool.classes)
        features = pool_features.of_run(run, pool, folder, say)
        look = features.flops / (len(pool) * features.views_NxVxF.shape[1] + len(pool.held_place_M))
        picture = data.size**2 * data.channels
        seen = features.views_NxVxF, features.held_MxF
        stream = IncrementStream(pool, *seen, groups, per_class, seed, picture)
        for method in own:
            for row in _of_method(method, stream, look, journal, folder):
                on_row(_shown(row))
        names = [method.name for method in own]
        rows = summarised([row for row in journal.rows if row["method"] in names])
    words = (
        f"{data.settings.path}: {len(pool.classes)} classes in {groups} groups, {per_class} pictures per "
        "class kept; after each group all classes so far are told apart. FLOPs are those of products: of the "
        "trunk's look at an increment's pictures and of the head. Joint learns from all pictures, anew."
    )
    lines: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for row in rows:
        lines[row["method"]].append((row["increment"] + 1, row["accuracy"]))
    axes = "groups of classes so far", "percent right of all classes so far"
    page = report.write(folder, "Classes in increments", words, COLUMNS, rows, lines, axes, recipe)
    return Incremented(rows, page)


class IncrementStream:
    """Groups of classes one after the other, the same for every method.

    Args:
      pool: labelled pictures.
      views_NxVxF: their features, plain view first.
      held_MxF: features of what is measured on.
      groups: of classes.
      per_class: pictures kept.
      seed: of the order of classes.
      picture_bytes: of a kept picture; of 32 x 32 in colours unless given.
    """

    def __init__(
        self,
        pool: Pool,
        views_NxVxF: np.ndarray,
        held_MxF: np.ndarray,
        groups: int,
        per_class: int,
        seed: int,
        picture_bytes: int = 32 * 32 * 3,
    ):
        self.pool, self.views_NxVxF, self.held_MxF = pool, views_NxVxF, held_MxF
        self.groups = tasks.groups_of(len(pool.classes), groups, seed)
        self.seed, self.per_class, self.picture_bytes = seed, per_class, picture_bytes
        self._ordered: dict[int, np.ndarray] = {}

    def task(self, number: int) -> IncrementTask:
        """The increment of a group."""
        was_C = np.isin(np.arange(len(self.pool.classes)), np.concatenate([[], *self.groups[:number]]))
        seen_C = was_C | np.isin(np.arange(len(self.pool.classes)), self.groups[number])
        memory = [self._of_class(int(c))[: self.per_class] for c in np.flatnonzero(was_C)]
        return IncrementTask(
            self.views_NxVxF,
            self.pool.start_N,
            np.concatenate([self._of_class(int(c)) for c in self.groups[number]]),
            np.concatenate([np.zeros(0, np.int64), *memory]).astype(np.int64),
            was_C,
            seen_C,
            self.seed * 1000 + number,
            self.per_class,
            self.picture_bytes,
        )

    def right(self, scores_MxC: np.ndarray) -> list[float]:
        """Percent right of each group so far, of whatever was answered."""
        right_M = scores_MxC.argmax(1) == self.pool.held_label_M
        shares = [right_M[np.isin(self.pool.held_label_M, group)] for group in self.groups]
        return [100 * float(share.mean()) if len(share) else 0.0 for share in shares]

    def _of_class(self, c: int) -> np.ndarray:
        """Its pictures, those that a memory keeps first."""
        if c not in self._ordered:
            rows = np.flatnonzero(self.pool.start_N == c)
            first = tasks.herded(self.views_NxVxF[rows, 0], self.per_class)
            rest = np.setdiff1d(np.arange(len(rows)), first)
            self._ordered[c] = rows[np.concatenate([first, rest])]
        return self._ordered[c]


def measured(
    method: IncrementMethod,
    stream: IncrementStream,
    look: float,
    done: int = 0,
    state: State | None = None,
) -> Iterator[tuple[Row, State]]:
    """A row and a state for each increment that is not done.

    Args:
      method: that learns.
      stream: of groups.
      look: FLOPs of the trunk's look at one view of one picture.
      done: increments that are learnt already.
      state: after them.
    """
    views = stream.views_NxVxF.shape[1]
    for number in range(done, len(stream.groups)):
        task = stream.task(number)
        learnt = method.learn(state, task)
        state = learnt.state
        by_group = stream.right(method.scores(state, stream.held_MxF, task.seen_C))[: number + 1]
        sizes = [len(group) for group in stream.groups[: number + 1]]
        row = {
            "method": method.name,
            "increment": number,
            "accuracy": round(float(np.average(by_group, weights=sizes)), 3),
            "by_group": [round(share, 3) for share in by_group],
            "memory_bytes": learnt.bytes,
            "head_flops": learnt.flops,
            "flops": learnt.flops + look * views * learnt.looked,
        }
        yield row, state


def summarised(rows: Sequence[Row]) -> list[Row]:
    """Rows with what needs others: averages so far, forgetting, and FLOPs beside those of joint training."""
    found: list[Row] = []
    joint = {row["increment"]: row["flops"] for row in rows if row["method"] == Joint.name}
    for row in rows:
        before = [r for r in rows if r["method"] == row["method"] and r["increment"] <= row["increment"]]
        last = row["by_group"]
        best = [max(r["by_group"][g] for r in before if len(r["by_group"]) > g) for g in range(len(last) - 1)]
        # What a group lost since it was known best; of the newest group nothing can be forgotten yet.
        forgotten = [b - now for b, now in zip(best, last, strict=False)]
        found.append(
            _shown(row)
            | {
                "average": round(float(np.mean([r["accuracy"] for r in before])), 3),
                "new": last[-1],
                "old": round(float(np.mean(last[:-1])), 3) if best else None,
                "forgetting": round(float(np.mean(forgotten)), 3) if best else None,
                "percent_of_joint": round(100 * row["flops"] / joint[row["increment"]], 2) if joint else None,
            }
        )
    return found


def _require_same(method: IncrementMethod, journal: Journal) -> None:
    """UserError where the journal's rows of this name were learnt by other settings."""
    for row in journal.rows:
        if row["method"] == method.name and row["by"] != repr(method):
            raise UserError(
                f"{journal.path}: {method.name} was learnt by {row['by']}, and now it is {method!r}: name "
                "another folder by --out"
            )


def _of_method(
    method: IncrementMethod, stream: IncrementStream, look: float, journal: Journal, folder: Path
) -> Iterator[Row]:
    """Rows of the increments that the journal lacks."""
    slug = "".join(letter if letter.isalnum() else "-" for letter in method.name)
    rows = [row for row in journal.rows if row["method"] == method.name]
    done = max((row["increment"] + 1 for row in rows), default=0)
    state = stored_state.read(folder / f"{slug}-{done - 1}.npz") if done else None
    if done and done < len(stream.groups) and state is None:  # the file is lost: its increments again
        again = itertools.islice(measured(method, stream, look), done)
        state = list(again)[-1][1]
    for row, now in measured(method, stream, look, done, state):
        stored_state.write(folder / f"{slug}-{row['increment']}.npz", now)
        seen = np.flatnonzero(stream.task(row["increment"]).seen_C).tolist()
        journal.add(row | {"by": repr(method), "seen": seen, "classes": list(stream.pool.classes)})
        yield row


def _shown(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in ("by", "classes", "seen")}
