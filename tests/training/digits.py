"""The family of examples/digits.py: with a NaN to plant for the trainer's alarm; with things to show."""

import gin
import numpy as np

from examples.digits import CLASSES, Digits
from pangu_jax.workloads.exhibits import Image, Table, Text

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

    def train_source(self, batch_size, seed, shift=0):
        source = super().train_source(batch_size, seed, shift)
        if self.poison_step is not None:
            clean = source.batch

            def poisoned(step, rows=None):
                batch = clean(step, rows)
                return batch | {"images": batch["images"] * np.nan} if step == self.poison_step else batch

            source.batch = poisoned
        return source


@gin.configurable
class ShownDigits(Digits):
    """Shows what its first units look for, how often each digit is recognised, and a text."""

    def exhibits(self, variables, run):
        params = variables.params
        kernel_PxF = np.asarray(params["first"]["kernel"])[:, :6]
        low, high = kernel_PxF.min(), kernel_PxF.max()
        grey_FxHxWx1 = ((kernel_PxF - low) / (high - low) * 255).astype(np.uint8).T.reshape(-1, 8, 8, 1)
        images_NxP, labels_N = self.held_out
        hidden_NxF = np.maximum(images_NxP @ params["first"]["kernel"] + params["first"]["bias"], 0)
        logits_NxC = hidden_NxF @ params["second"]["kernel"] + params["second"]["bias"]
        right_N = np.argmax(np.asarray(logits_NxC), -1) == labels_N
        rows = [(f"<{digit}>", float(right_N[labels_N == digit].mean())) for digit in range(CLASSES)]
        return [
            *[Image(f"unit {unit} & more", pixels) for unit, pixels in enumerate(grey_FxHxWx1)],
            Table("recognised", ("digit", "share"), rows),
            Text("digits", "a picture", "[bold]seven", "seven"),
        ]

    def baselines(self):
        counts_C = np.bincount(self.train[1], minlength=CLASSES)
        return {
            "digits": {
                "class frequencies": -float(np.mean(np.log(counts_C / counts_C.sum())[self.held_out[1]]))
            }
        }
