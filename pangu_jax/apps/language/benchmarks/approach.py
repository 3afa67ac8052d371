"""How a task is gone about: with which pattern, and what is tuned for it, if anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import gin

from data_pipelines.text.benchmarks import BenchmarkTask
from pangu_jax.apps.language.tuning.freezing import Freezing
from pangu_jax.apps.language.tuning.methods import Method
from pangu_jax.apps.language.tuning.settings import Fit, Objective, OptimizerSpec, Regularisation, Tuning
from pangu_jax.errors import UserError
from pangu_jax.training.optimizers import Optimizer

Calibration = Literal["none", "prior", "content_free"]


@gin.configurable
@dataclass(frozen=True)
class Approach:
    """A way to do a task; `method=None` tunes nothing (zero-shot).

    Args:
      pattern: a name of the task's patterns, or task to name, with "*" for all others.
      method: what learns, such as @FineTuning(), @Head(), @PromptTuning(), @LoRA(); None for nothing.
      freezing: a mode of dynamic freezing.
      regularisation: dropout and the like.
      objective: the loss, and by which score candidates are chosen.
      optimizer: of the tuning.
      steps: updates.
      batch_size: examples an update.
      evaluate_every: steps between looks at the dev split.
      patience: looks without a better one after which it stops; 0 never.
      calibration: what is taken off a candidate's score: nothing; its mean over the few-shot train texts,
        whose labels are not looked at ("prior", batch calibration, Zhou et al., arXiv 2309.17249); or its
        score with all fields empty ("content_free", Zhao et al., arXiv 2102.09690).
      length: characters of a window of an over-long text.
      stride: characters from one window to the next.
      tasks: names of those it is for; all when empty.
      limit: most test examples, the same for all its cells, or task to number, with "*" for all others; 0
        takes the sweep's.
      dev_limit: most examples of a dev split that a look goes over; 0 takes all.
    """

    pattern: str | Mapping[str, str] = "ask"
    method: Method | None = None
    freezing: Freezing | None = None
    regularisation: Regularisation | None = None
    objective: Objective | None = None
    optimizer: Optimizer | OptimizerSpec | None = None
    steps: int = 200
    batch_size: int = 16
    evaluate_every: int = 20
    patience: int = 0
    calibration: Calibration = "none"
    length: int = 400
    stride: int = 300
    tasks: Sequence[str] = ()
    limit: int | Mapping[str, int] = 0
    dev_limit: int = 0

    @property
    def tuning(self) -> Tuning:
        """What learns, and by which loss; without a method, how candidates are chosen."""
        return Tuning.of(self.method, self.freezing, self.regularisation, self.objective)

    @property
    def fit(self) -> Fit:
        """For how long."""
        return Fit(self.optimizer, self.steps, self.batch_size, self.evaluate_every, self.patience)

    def __post_init__(self):
        if self.calibration not in ("none", "prior", "content_free"):
            raise UserError(f"Approach.calibration = {self.calibration!r}: it is none, prior or content_free")


def limit_of(limit: int | Mapping[str, int], task: str) -> int:
    """Most test examples of a task (see `Approach`)."""
    return limit if isinstance(limit, int) else limit.get(task, limit.get("*", 0))


def pattern_name(wanted: str | Mapping[str, str], task: BenchmarkTask) -> str:
    """Which of a task's patterns is wanted (see `Approach`). UserError where it has none of that name."""
    name = wanted if isinstance(wanted, str) else wanted.get(task.name, wanted.get("*"))
    if name not in task.patterns:
        raise UserError(f"{task.name} has no pattern {name!r}: it has {', '.join(task.patterns)}")
    return name
