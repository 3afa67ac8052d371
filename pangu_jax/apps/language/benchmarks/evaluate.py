"""`evaluate`: a model on benchmark tasks, as it is."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import gin

from data_pipelines.text import benchmarks
from data_pipelines.text.benchmarks import BenchmarkTask, Example
from data_pipelines.text.benchmarks.task import chance, majority
from data_pipelines.text.folder import Quarantine
from pangu_jax.apps.language import loading
from pangu_jax.apps.language.benchmarks import choice_accuracy, free_text, in_turns
from pangu_jax.apps.language.benchmarks.approach import pattern_name
from pangu_jax.apps.language.benchmarks.candidates import CandidateQueries, ask
from pangu_jax.apps.language.benchmarks.subsets import test_examples
from pangu_jax.apps.language.chat.turns import Thinking
from pangu_jax.apps.language.decoding.settings import Greedy, Settings
from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.apps.language.tuning import stored
from pangu_jax.apps.language.tuning.measuring import measure
from pangu_jax.apps.language.tuning.settings import Objective, Tuning
from pangu_jax.recipes import plain_errors
from pangu_jax.runs.inference_layout import ANY, Devices

Predictions = list[tuple[str, str | int]]


class Evaluated(NamedTuple):
    """What an evaluation found.

    Attributes:
      rows: one per task: its metrics in percent, and how many examples, over-long ones and malformed lines.
        Where candidates are chosen from, `accuracy_summed` and `accuracy_normalised`, by log p and by log p
        per token, and the one that `headline` names again as `accuracy`.
      predictions: (id, label or text) of each example, by task, in the order of its file.
    """

    rows: list[dict[str, Any]]
    predictions: dict[str, Predictions]


@plain_errors()
@gin.configurable
def evaluate(
    run_dir: str = gin.REQUIRED,
    tasks: Sequence[str] = gin.REQUIRED,
    pattern: str | Mapping[str, str] = "ask",
    split: str | None = None,
    limit: int = 0,
    objective: Objective | None = None,
    settings: Settings | None = None,
    max_tokens: int = 64,
    turns: bool | None = None,
    thinking: Thinking = "off",
    length: int = 400,
    stride: int = 300,
    step: int | None = None,
    data_dir: str | None = None,
    on_row: Callable[[dict[str, Any]], None] | None = None,
    devices: Devices = ANY,
) -> Evaluated:
    """Measure a model on tasks, without tuning it; one that was tuned answers as it was tuned to.

    Args:
      run_dir: the model's run.
      tasks: names of benchmark tasks.
      pattern: the pattern's name, or task to name, with "*" for all others; what a model was tuned with goes
        before.
      split: measured on; None takes the labelled one: test_clean or test_public, else test or dev.
      limit: most examples of a task, always the same ones; 0 takes all.
      objective: by which score candidates are chosen.
      settings: how tokens of a free answer are chosen; @Greedy() when None.
      max_tokens: of a free answer.
      turns: whether a model is asked in the turns of a conversation: candidates are scored where its
        assistant begins. None: where it has learnt them, and was not tuned on a task since.
      thinking: "off", "auto" or "slow", in turns: what a question says of how to answer.
      length: characters of a window of an over-long text; windows are counted, nothing is cut off.
      stride: characters from one window to the next.
      step: the checkpoint; the newest when None.
      data_dir: the data folder; None is $PANGU_DATA_DIR.
      on_row: called with every row.
      devices: where the run is opened.

    Raises:
      UserError, DataError: a run, task, split or pattern is missing.
    """
    chosen = [benchmarks.get(name) for name in tasks]
    loaded = loading.load(run_dir, step, devices)
    in_turn = in_turns.of(loaded, turns, thinking)
    rows, predictions = [], {}
    for task in chosen:
        quarantine = Quarantine()
        found = test_examples(task, split, limit, data_dir, quarantine)
        name = _pattern(loaded, task, pattern)
        row: dict[str, Any] = {"task": task.name, "split": found.split, "examples": len(found.examples)}
        if task.kind in ("classification", "choice"):
            asked = ask(loaded, task.patterns[name], found.examples, length, stride, in_turn)
            measured, predictions[task.name] = _choose(loaded, task, found.examples, asked, objective)
        else:
            texts = free_text.answer(
                loaded,
                task.patterns[name],
                found.examples,
                settings or Greedy(),
                max_tokens,
                length,
                stride,
                in_turn,
            )
            measured, predictions[task.name] = _judge(task, found.examples, texts)
        row |= {
            "pattern": name,
            **({"turns": thinking} if in_turn else {}),
            **measured,
            "malformed": sum(quarantine.counts.values()),
        }
        rows.append(row)
        if on_row:
            on_row(row)
    return Evaluated(rows, predictions)


def _pattern(loaded: LoadedModel, task: BenchmarkTask, wanted: str | Mapping[str, str]) -> str:
    tuning = loaded.manifest.get("tuning", {})
    return tuning["pattern"] if tuning.get("task") == task.name else pattern_name(wanted, task)


def _choose(
    loaded: LoadedModel,
    task: BenchmarkTask,
    examples: list[Example],
    asked: CandidateQueries,
    objective: Objective | None,
) -> tuple[dict[str, Any], Predictions]:
    """By the scores of candidates."""
    tuning = loaded.manifest.get("tuning")
    method = stored.method(tuning) if tuning else None
    how = Tuning.of(method, None, None, objective)
    found = measure(loaded.config, loaded.params, asked.labelled, how, run=loaded.run)
    choices = asked.choices(found.scores)
    labels = [int(choice) if task.kind == "choice" else task.labels[choice] for choice in choices]
    row: dict[str, Any] = {"windowed": asked.cut}
    if all(answer is not None for answer in asked.answers):
        row = {
            **choice_accuracy.columns(asked, choice_accuracy.scores(found, how)),
            "majority": round(majority(task, examples, examples), 2),
            "random": round(chance(task, examples), 2),
            **row,
        }
    return row, list(zip((example.id for example in examples), labels, strict=True))


def _judge(
    task: BenchmarkTask, examples: list[Example], found: free_text.WrittenAnswers
) -> tuple[dict[str, Any], Predictions]:
    """By what the model wrote."""
    row: dict[str, Any] = {"windowed": found.cut}
    if all(example.references for example in examples):
        row = {name: round(v, 2) for name, v in free_text.judge(task, examples, found.texts).items()} | row
    return row, list(found.texts.items())
