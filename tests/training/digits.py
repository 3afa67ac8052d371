"""The family of examples/digits.py, with a NaN to plant: for the test of the trainer's alarm."""

import gin
import numpy as np

from examples.digits import Digits

RECIPE = """
import tests.training.digits

train.workload = @PoisonedDigits()
train.steps = 20
train.batch_size = 32
train.log_every = 1
train.checkpoint_every = 6
train.backend = "cpu"
"""


@gin.configurable
class PoisonedDigits(Digits):
    """The images of step `poison_step` are NaN."""

    def __init__(self, hidden: int = 64, poison_step: int | None = None):
        super().__init__(hidden)
        self.poison_step = poison_step

    def fingerprint(self):
        return {"classes": "10"}

    def train_source(self, batch_size, seed):
        source = super().train_source(batch_size, seed)
        if self.poison_step is not None:
            clean = source.batch

            def poisoned(step, rows=None):
                batch = clean(step, rows)
                return batch | {"images": batch["images"] * np.nan} if step == self.poison_step else batch

            source.batch = poisoned
        return source
