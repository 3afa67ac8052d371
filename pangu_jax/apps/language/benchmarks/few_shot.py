"""One approach on one task, over few-shot splits: tune on train_K, choose the step on dev_K, measure."""

import functools
import time
from collections.abc import Iterator, Sequence

import numpy as np

from data_pipelines.text.benchmarks import BenchmarkTask, Example
from pangu_jax.apps.language.benchmarks import choice_accuracy
from pangu_jax.apps.language.benchmarks.approach import Approach, pattern_name
from pangu_jax.apps.language.benchmarks.candidates import CandidateQueries, ask
from pangu_jax.apps.language.benchmarks.subsets import limited
from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.apps.language.tuning import examples as rows
from pangu_jax.apps.language.tuning.measuring import measure
from pangu_jax.apps.language.tuning.methods import asked_by
from pangu_jax.apps.language.tuning.trials import Trials
from pangu_jax.evaluation.journal import Cell, Row
from pangu_jax.models.parameters import Tree


def run(
    loaded: LoadedModel,
    task: BenchmarkTask,
    approach: Approach,
    cells: Sequence[Cell],
    test: Sequence[Example],
    data_dir: str | None = None,
) -> Iterator[Row]:
    """A row for each cell, as soon as it is known; the cells share one shape, and so one compilation.

    Args:
      loaded: the model to start from, every time.
      task: of all cells.
      approach: likewise.
      cells: splits are "0", "1", ...: those of train_0 and dev_0, ...
      test: the examples measured on.
      data_dir: the data folder; None is $PANGU_DATA_DIR.

    Raises:
      DataError, UserError: a split is missing, or the pattern does not fit the task.
    """
    name = pattern_name(approach.pattern, task)
    pattern = task.patterns[name]
    splits = sorted({cell.split for cell in cells})

    @functools.cache
    def asked(kind: str, split: str) -> CandidateQueries:
        """A split's queries; the test's depend on the split where that gives the demonstrations."""
        shown = pattern
        if pattern.shots:
            shown = pattern.with_demonstrations(task.examples(f"train_{split}", data_dir))
        elif kind == "test" and split != splits[0]:
            return asked("test", splits[0])
        found = list(test) if kind == "test" else task.examples(f"{kind}_{split}", data_dir)
        if kind == "dev":
            found = limited(found, approach.dev_limit)
        return ask(loaded, shown, found, approach.length, approach.stride)

    every = [asked(kind, split) for kind in ("train", "dev", "test") for split in splits]
    shape = _shape(loaded, approach, [one for some in every for one in some.labelled])

    def asks(params: Tree, one: CandidateQueries) -> dict[str, np.ndarray]:
        """Scores by their kind, the headline's first."""
        found = measure(loaded.config, params, one.labelled, approach.tuning, shape, loaded.run)
        return choice_accuracy.scores(found, approach.tuning)

    trials = Trials(loaded.config, loaded.params, approach.tuning, approach.fit, shape, loaded.run)
    untouched: dict[int, dict[str, np.ndarray]] = {}
    for cell in cells:
        began = time.perf_counter()
        train, dev, tested = (asked(kind, cell.split) for kind in ("train", "dev", "test"))
        row: Row = {**cell._asdict(), "pattern": name}
        params = loaded.params
        if approach.method is None:
            if id(tested) not in untouched:
                untouched[id(tested)] = asks(params, tested)
            scored = untouched[id(tested)]
        else:
            tuned = trials(train.labelled, dev.labelled, cell.seed)
            params = tuned.params
            best = next(seen for seen in tuned.history if seen["step"] == tuned.step)
            row |= {"step": tuned.step, "dev_accuracy": round(best["dev_accuracy"], 2)}
            scored = asks(params, tested)
        priors = None
        if approach.calibration == "prior":
            priors = _mean_scores(train, asks(params, train))
        elif approach.calibration == "content_free":
            blank = Example("blank", dict.fromkeys(test[0].fields, ""), None, test[0].options)
            empty = ask(loaded, pattern, [blank], approach.length, approach.stride)
            priors = _mean_scores(empty, asks(params, empty))
        yield row | {
            **choice_accuracy.columns(tested, scored, priors),
            "examples": len(test),
            "windowed": tested.cut,
            "seconds": round(time.perf_counter() - began, 1),
        }


def _mean_scores(asked: CandidateQueries, scored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Over examples and their questions, fp32 [C] by kind."""
    return {
        kind: np.mean([one for found in asked.scores(score_NxC) for one in found], axis=0)
        for kind, score_NxC in scored.items()
    }


def _shape(loaded: LoadedModel, approach: Approach, labelled: Sequence[rows.Labelled]) -> rows.RowShape:
    return rows.shape_of(asked_by(approach.tuning.method, loaded.config, labelled))
