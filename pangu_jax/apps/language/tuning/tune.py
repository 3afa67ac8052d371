"""`tune`: a base, a benchmark task and a method become a workload, and the trainer trains it."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gin

from data_pipelines.errors import DataError
from data_pipelines.text import benchmarks
from data_pipelines.text.benchmarks import BenchmarkTask, Pattern, Rendered
from pangu_jax.apps.language.decoding import encoding
from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.apps.language.tuning import conversations, modes, stored  # noqa: F401 - modes are for recipes
from pangu_jax.apps.language.tuning.examples import Labelled, TaskRows, prompt_ids
from pangu_jax.apps.language.tuning.freezing import Freezing
from pangu_jax.apps.language.tuning.methods import Method, asked_by, size
from pangu_jax.apps.language.tuning.settings import Fit, Objective, OptimizerSpec, Regularisation, Tuning
from pangu_jax.apps.language.tuning.stored_base import StoredBase
from pangu_jax.apps.language.tuning.workload import TunedLanguageModel
from pangu_jax.errors import UserError
from pangu_jax.parallel.layout import Layout
from pangu_jax.recipes import constraint, plain_errors
from pangu_jax.recipes.functions import TUNE
from pangu_jax.runs.inference_layout import Devices
from pangu_jax.training.consistency import schedules_fit_the_run
from pangu_jax.training.optimizers import Optimizer
from pangu_jax.training.selection import Selection
from pangu_jax.training.train import Trained, train


@dataclass(frozen=True)
class TaskData:
    """A task, asked by one of its patterns.

    Args:
      task: such as "fewclue/eprstmt"; "conversations" for files of them, whose names are the splits.
      pattern: name of one of the task's patterns; of conversations none.
      split: what is learnt.
      dev_split: by which the step is chosen; None takes the last one.
      data_dir: where the data lie; $PANGU_DATA_DIR when None.
    """

    task: str
    pattern: str
    split: str
    dev_split: str | None
    data_dir: str | None

    def rows(self, reader: LoadedModel, method: Method) -> TaskRows:
        """The examples as arrays, as a model reads them and a method wants them.

        Raises:
          DataError: there is no such task, pattern or split, or its labels are not public.
          UserError: an example is over-long, or has no candidates.
        """
        if method.prompt:
            reader = dataclasses.replace(reader, prompt=prompt_ids(reader.config, method.prompt))

        def examples(split: str) -> list[Labelled]:
            return asked_by(method, reader.config, self._labelled(reader, split))

        dev = examples(self.dev_split) if self.dev_split else None
        return TaskRows.of(examples(self.split), dev, names=(self.split, self.dev_split or ""))

    def _labelled(self, reader: LoadedModel, split: str) -> list[Labelled]:
        if self.task == conversations.TASK:
            folder = self.data_dir or os.environ.get("PANGU_DATA_DIR", "")
            return conversations.labelled(reader, Path(folder, split).expanduser())
        task = benchmarks.get(self.task)
        return labelled(reader, self._pattern(task), task.examples(split, self.data_dir))

    def _pattern(self, task: BenchmarkTask) -> Pattern:
        if self.pattern not in task.patterns:
            there = ", ".join(task.patterns)
            raise DataError(f"{self.task}: no pattern {self.pattern!r}; there are {there}")
        return task.patterns[self.pattern]


constraint(schedules_fit_the_run, of=TUNE, stops=False)


@plain_errors()
@gin.configurable(denylist=["out", "recipe"])
def tune(
    out: str,
    run_dir: str = gin.REQUIRED,
    task: str = gin.REQUIRED,
    pattern: str = "",
    split: str = "train_0",
    dev_split: str | None = "dev_0",
    step: int | None = None,
    data_dir: str | None = None,
    method: Method | None = None,
    freezing: Freezing | None = None,
    regularisation: Regularisation | None = None,
    objective: Objective | None = None,
    optimizer: Optimizer | OptimizerSpec | None = None,
    steps: int = 200,
    batch_size: int = 16,
    evaluate_every: int = 20,
    patience: int = 0,
    seed: int = 0,
    backend: str = "auto",
    recipe: str = "",
) -> Trained:
    """Tune the model of a run on a split of a task, in another run directory; the same call again resumes.

    It is a run of `train`, whose other settings (`train.log_every`, `train.checkpoint_every`, `Layout`, ...)
    count for it as well.

    Args:
      out: the run directory of what is tuned.
      run_dir: the base model's.
      task: such as "fewclue/eprstmt"; "conversations" for .jsonl files of them, whose names are the splits.
      pattern: name of one of the task's patterns; of conversations none.
      split: what is learnt.
      dev_split: by which the step is chosen; None takes the last one.
      step: the base's checkpoint; the best or the newest when None.
      data_dir: where the data lie; $PANGU_DATA_DIR when None.
      method: what learns; @FineTuning() when None.
      freezing: a mode of dynamic freezing, or none.
      regularisation: dropout and the like, or none.
      objective: the loss; @Objective() when None.
      optimizer: @Descent(), or one of training's such as @adamw(); OptimizerSpec() when None.
      steps: updates.
      batch_size: examples per step.
      evaluate_every: steps between measurements of dev.
      patience: stop after so many measurements without a better one; 0 never stops.
      seed: of everything random.
      backend: where, as in `train`.
      recipe: text of the resolved recipe, kept in the run directory.

    Returns:
      What `train` returns; its summary also has task, pattern, split, seed, method, trainable (numbers) and,
      of the step that counts, dev_accuracy (percent) and dev_loss.

    Raises:
      UserError, DataError, BackendError: what the caller can fix, in one line.
    """
    layout = Layout()
    _require_partitioned_by_the_compiler(layout)
    tuning = Tuning.of(method, freezing, regularisation, objective)
    data = TaskData(task, pattern, split, dev_split, data_dir)
    fit = Fit(optimizer, steps, batch_size, evaluate_every, patience)
    base = _base(out, run_dir, step, Devices(backend, layout))
    rows = data.rows(base.reader, tuning.method)
    about = {"task": task, "split": split, "pattern": pattern, "seed": seed}
    workload = TunedLanguageModel(
        base, tuning, rows, fit.steps, fit.batch_size, about | stored.about(Path(out), base, tuning.method)
    )
    trained = train(
        run_dir=out,
        workload=workload,
        optimizer=workload.optimizer(fit.made()),
        layout=layout,
        steps=fit.steps,
        batch_size=fit.batch_size,
        seed=seed,
        backend=backend,
        validate_every=fit.evaluate_every,
        selection=_selection(rows, fit) if rows.dev else None,
        recipe=recipe,
    )
    return trained._replace(summary=_summary(trained, about, tuning.method))


def labelled(loaded: LoadedModel, pattern: Pattern, examples: list[benchmarks.Example]) -> list[Labelled]:
    """Examples of a task as tokens; of an entailment pattern, each of its questions is one.

    Raises:
      DataError: an answer is not public, or neither a candidate nor a reference is there.
    """
    return [_labelled(loaded, asked) for example in examples for asked in pattern.queries(example)]


def _labelled(loaded: LoadedModel, asked: Rendered) -> Labelled:
    if asked.candidates and asked.answer is None:
        raise DataError(f"{asked.id}: its label is not public; tune on another split")
    if not asked.candidates and not asked.reference:
        raise DataError(f"{asked.id}: there is no reference to learn; tune on another split")
    return Labelled(encoding.query(loaded, asked, ends=not asked.candidates), asked.answer or 0)


def _base(out: str, run_dir: str, step: int | None, devices: Devices) -> StoredBase:
    """The base; of a run that is resumed the checkpoint that it began with, however far it was trained since.

    Raises:
      UserError: that is no longer there.
    """
    if (began := stored.base_of(out)) is not None:
        directory, at = began
        if os.path.realpath(directory) == os.path.realpath(run_dir) and step in (None, at):
            step = at
    return StoredBase(run_dir, step, devices)


def _selection(rows: TaskRows, fit: Fit) -> Selection:
    """By accuracy, and the loss among equals; by the loss where there is nothing to choose."""
    if rows.classes == 1:
        return Selection("validation_loss", "min", fit.patience)
    return Selection("validation_accuracy", "max", fit.patience, "validation_loss")


def _summary(trained: Trained, about: dict[str, Any], method: Method) -> dict[str, Any]:
    found = about | {"method": type(method).__name__, "trainable": size(trained.variables.params)}
    if (accuracy := trained.summary.get("best_values", {}).get("validation_accuracy")) is not None:
        found["dev_accuracy"] = 100 * accuracy
    if (loss := trained.summary.get("best_values", {}).get("validation_loss")) is not None:
        found["dev_loss"] = loss
    return trained.summary | found


def _require_partitioned_by_the_compiler(layout: Layout) -> None:
    for name, value in (("partitioning", "auto"), ("schedule", "none"), ("sequence", 1)):
        if getattr(layout, name) != value:
            raise UserError(
                f"Layout.{name} = {getattr(layout, name)!r}: tuning is for layouts with {name} {value!r}; "
                "use data, fsdp, model and microbatches"
            )
