"""Settings of tuning besides its method: loss, regularisation, optimizer, and for how long."""

from dataclasses import dataclass, field
from typing import Literal

import gin

from pangu_jax.apps.language.tuning.freezing import Freezing
from pangu_jax.apps.language.tuning.methods import FineTuning, Method
from pangu_jax.errors import UserError
from pangu_jax.training.optimizers import Optimizer, adafactor, adamw
from pangu_jax.training.schedules import constant_schedule, linear_schedule


@gin.configurable
@dataclass(frozen=True)
class Objective:
    """What is minimised, and by which score candidates are chosen.

    Args:
      kind: "choice": cross-entropy of the right candidate among all, by the softmax of their scores (PET);
        "answer": -log p of the right candidate's tokens, a mean over tokens, as in pretraining.
      normalised: a candidate's score is its log p divided by its number of tokens, not the sum.
    """

    kind: Literal["choice", "answer"] = "choice"
    normalised: bool = False

    def __post_init__(self):
        if self.kind not in ("choice", "answer"):
            raise UserError(f"Objective.kind = {self.kind!r}: it is 'choice' or 'answer'")


@gin.configurable
@dataclass(frozen=True)
class Regularisation:
    """What keeps a model from learning a few examples by heart. Weight decay is the optimizer's.

    Args:
      dropout: rate on each block's output.
      label_smoothing: share of the target that goes to all candidates, or all words of the vocabulary, alike.
      r_drop: weight of the divergence between two passes that drop differently (R-Drop; Liang et al., arXiv
        2106.14448): loss = mean of both + r_drop * (KL(p|q) + KL(q|p)) / 4, half of the paper's sum. It needs
        dropout, and takes twice the time.
    """

    dropout: float = 0.0
    label_smoothing: float = 0.0
    r_drop: float = 0.0

    def __post_init__(self):
        for name in ("dropout", "label_smoothing"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise UserError(
                    f"Regularisation.{name} = {getattr(self, name)}: give a share from 0 to below 1"
                )
        if self.r_drop < 0:
            raise UserError(f"Regularisation.r_drop = {self.r_drop}: give 0 or more")
        if self.r_drop and not self.dropout:
            raise UserError("Regularisation.r_drop compares two dropouts: give Regularisation.dropout too")


@gin.configurable("Descent")  # the name that recipes hold
@dataclass(frozen=True)
class OptimizerSpec:
    """An optimizer for a run whose length is not known yet; `pangu_jax.training.optimizers` has them all.

    Args:
      name: "adamw", or "adafactor", which Lester et al. tune prompts with (learning rate .3).
      learning_rate: the peak.
      warmup: share of the steps over which it rises.
      decays: whether it falls to zero afterwards, linearly, or stays.
      weight_decay: decoupled.
      beta2: decay of AdamW's second moment.
      clip: largest global norm of the gradient; 0 does not clip.
    """

    name: Literal["adamw", "adafactor"] = "adamw"
    learning_rate: float = 1e-3
    warmup: float = 0.1
    decays: bool = True
    weight_decay: float = 0.01
    beta2: float = 0.98
    clip: float = 1.0

    def __post_init__(self):
        if self.name not in ("adamw", "adafactor"):
            raise UserError(f"Descent.name = {self.name!r}: it is 'adamw' or 'adafactor'")
        if not self.learning_rate > 0:
            raise UserError(f"Descent.learning_rate = {self.learning_rate}: give a number above 0")
        if not 0.0 <= self.warmup < 1.0:
            raise UserError(f"Descent.warmup = {self.warmup}: give a share of the steps, from 0 to below 1")

    def optimizer(self, steps: int) -> Optimizer:
        """The optimizer for a run of so many steps."""
        warmup = round(self.warmup * steps)
        if self.decays:
            schedule = linear_schedule(steps=steps, learning_rate=self.learning_rate, warmup=warmup)
        else:
            schedule = constant_schedule(learning_rate=self.learning_rate, warmup=warmup)
        rest = {"schedule": schedule, "weight_decay": self.weight_decay, "clip": self.clip}
        return adafactor(**rest) if self.name == "adafactor" else adamw(beta2=self.beta2, **rest)


@dataclass(frozen=True)
class Fit:
    """How long a model is tuned, and by which optimizer.

    Args:
      optimizer: one of `pangu_jax.training.optimizers`, or `OptimizerSpec`; OptimizerSpec() when None.
      steps: updates.
      batch_size: examples per step.
      evaluate_every: steps between looks at the dev split; the last step is always looked at.
      patience: looks without a better one after which it stops; 0 never stops.
    """

    optimizer: Optimizer | OptimizerSpec | None = None
    steps: int = 200
    batch_size: int = 16
    evaluate_every: int = 20
    patience: int = 0

    def __post_init__(self):
        for name in ("steps", "batch_size", "evaluate_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} = {getattr(self, name)}: it must be at least 1")

    def made(self) -> Optimizer:
        """The optimizer for these steps."""
        optimizer = OptimizerSpec() if self.optimizer is None else self.optimizer
        return optimizer.optimizer(self.steps) if isinstance(optimizer, OptimizerSpec) else optimizer


@dataclass(frozen=True)
class Tuning:
    """What learns, and by which loss.

    Args:
      method: what learns; all weights when it is left out.
      freezing: a mode of dynamic freezing.
      regularisation: dropout and the like.
      objective: the loss.
    """

    method: Method = field(default_factory=FineTuning)
    freezing: Freezing = field(default_factory=Freezing)
    regularisation: Regularisation = field(default_factory=Regularisation)
    objective: Objective = field(default_factory=Objective)

    @classmethod
    def of(
        cls,
        method: Method | None,
        freezing: Freezing | None,
        regularisation: Regularisation | None,
        objective: Objective | None,
    ) -> "Tuning":
        """With the defaults in place of None."""
        return cls(
            method or FineTuning(),
            freezing or Freezing(),
            regularisation or Regularisation(),
            objective or Objective(),
        )
