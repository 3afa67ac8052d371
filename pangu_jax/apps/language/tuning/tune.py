"""`tune`: a checkpoint, a benchmark task and a method make a run directory with the tuned model."""

import dataclasses
import logging
from typing import Any

import gin

from data_pipelines.errors import DataError
from data_pipelines.text import benchmarks
from data_pipelines.text.benchmarks import Pattern, Rendered
from pangu_jax.apps.language import loading
from pangu_jax.apps.language.decoding import encoding
from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.apps.language.tuning import modes, stored  # noqa: F401 - modes are for recipes to name
from pangu_jax.apps.language.tuning.examples import Labelled
from pangu_jax.apps.language.tuning.fitting import fit, prompt_ids
from pangu_jax.apps.language.tuning.freezing import Freezing
from pangu_jax.apps.language.tuning.methods import FineTuning, Method, size
from pangu_jax.apps.language.tuning.settings import Descent, Objective, Regularisation
from pangu_jax.errors import UserError
from pangu_jax.recipes import plain_errors
from pangu_jax.runs.metrics import Metrics
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.training.progress import Progress

log = logging.getLogger(__name__)


@plain_errors()
@gin.configurable(denylist=["out", "recipe"])
def tune(
    out: str,
    run_dir: str = gin.REQUIRED,
    task: str = gin.REQUIRED,
    pattern: str = gin.REQUIRED,
    split: str = "train_0",
    dev_split: str | None = "dev_0",
    step: int | None = None,
    data_dir: str | None = None,
    method: Method | None = None,
    freezing: Freezing | None = None,
    regularisation: Regularisation | None = None,
    objective: Objective | None = None,
    optimizer: Descent | None = None,
    steps: int = 200,
    batch_size: int = 16,
    evaluate_every: int = 20,
    patience: int = 0,
    seed: int = 0,
    recipe: str = "",
) -> dict[str, Any]:
    """Tune the model of a run on a split of a task, into another run directory.

    Args:
      out: the new run directory; one that holds a checkpoint is refused.
      run_dir: the base model's.
      task: such as "fewclue/eprstmt".
      pattern: name of one of the task's patterns.
      split: what is learnt.
      dev_split: by which the step is chosen; None takes the last one.
      step: the base's checkpoint; the newest when None.
      data_dir: where the data lie; $PANGU_DATA_DIR when None.
      method: what learns; @FineTuning() when None.
      freezing: a mode of dynamic freezing, or none.
      regularisation: dropout and the like, or none.
      objective: the loss; @Objective() when None.
      optimizer: @Descent() when None.
      steps: updates.
      batch_size: examples a step.
      evaluate_every: steps between measurements.
      patience: stop after so many measurements without a better one; 0 never stops.
      seed: of everything random.
      recipe: text of the resolved recipe, kept in the run directory.

    Returns:
      task, split, seed, method, step, trainable (numbers), dev_accuracy and the like, for people and JSON.

    Raises:
      UserError, DataError: what the caller can mend, in one line.
    """
    method = method or FineTuning()
    directory = RunDirectory(out)
    if directory.checkpoints.is_dir() and any(directory.checkpoints.iterdir()):
        raise UserError(f"{directory.path} holds a model already; choose another directory with --run_dir")
    base = loading.load(run_dir, step, float32=True)
    chosen_task = benchmarks.get(task)
    if pattern not in chosen_task.patterns:
        there = ", ".join(chosen_task.patterns)
        raise DataError(f"{task}: no pattern {pattern!r}; there are {there}")
    reader = dataclasses.replace(base, prompt=prompt_ids(base.config, method.prompt))
    wanted = chosen_task.patterns[pattern]
    train, dev = (
        labelled(reader, wanted, chosen_task.examples(name, data_dir)) if name else None
        for name in (split, dev_split)
    )
    with directory, Metrics(directory) as metrics, Progress(steps) as progress:
        directory.write_recipe(recipe)

        def tell(row: dict[str, float]) -> None:
            metrics.write(row["step"], {name: value for name, value in row.items() if name != "step"})
            log.info("%s", ", ".join(f"{name} {value:.4g}" for name, value in row.items()))
            progress.update(int(row["step"]), row)

        tuned = fit(
            base.config,
            base.params,
            train,
            dev,
            method=method,
            freezing=freezing,
            regularisation=regularisation,
            objective=objective,
            optimizer=optimizer,
            steps=steps,
            batch_size=batch_size,
            evaluate_every=evaluate_every,
            patience=patience,
            seed=seed,
            run=base.run,
            tell=tell,
        )
        told = {"task": task, "split": split, "pattern": pattern, "seed": seed}
        stored.save(directory, tuned, method, base, run_dir, recipe=recipe, told=told)
    row = next(row for row in tuned.history if row["step"] == tuned.step)
    return {**told, "method": type(method).__name__, "trainable": size(tuned.trainable), **row}


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
