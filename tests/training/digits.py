"""An unrelated workload, to prove the seam: scikit-learn's digits by a two-layer perceptron, one file."""

import gin
import jax
import jax.numpy as jnp
import numpy as np
import optax

from pangu_jax.workloads import Sums

RECIPE = """
import tests.training.digits

train.workload = @Digits()
train.steps = 20
train.batch_size = 32
train.log_every = 1
train.checkpoint_every = 6
train.backend = "cpu"
"""


class DigitSource:
    """Images [B, 64] and labels [B]; a batch is a pure function of seed and step."""

    def __init__(self, images_NxP: np.ndarray, labels_N: np.ndarray, batch_size: int, seed: int | None):
        self.images_NxP, self.labels_N, self.batch_size, self.seed = images_NxP, labels_N, batch_size, seed

    def __len__(self):
        return len(self.labels_N) // self.batch_size

    def _indices(self, step):
        if self.seed is None:
            return np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        return np.random.default_rng((self.seed, step)).integers(len(self.labels_N), size=self.batch_size)

    def batch(self, step, rows=None):
        chosen = self._indices(step)[rows or slice(None)]
        return {"images": self.images_NxP[chosen], "labels": self.labels_N[chosen]}

    def iterator(self, start_step, rows=None):
        step = start_step
        while True:
            yield self.batch(step, rows)
            step += 1

    def identity(self, step):
        return [f"digit {i}" for i in self._indices(step)]


@gin.configurable
class Digits:
    """Ten-way classification; `poison_step` plants a NaN there, for the test of the trainer's alarm."""

    name = "digits"

    def __init__(self, hidden: int = 64, poison_step: int | None = None):
        self.hidden, self.poison_step = hidden, poison_step
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        images = (images / 16.0).astype(np.float32)
        self.train, self.held_out = (images[:1500], labels[:1500]), (images[1500:], labels[1500:])

    def init(self, key):
        first, second = jax.random.split(key)
        return {
            "first": {
                "kernel": jax.random.normal(first, (64, self.hidden)) / 8,
                "bias": jnp.zeros(self.hidden),
            },
            "second": {"kernel": jax.random.normal(second, (self.hidden, 10)) / 8, "bias": jnp.zeros(10)},
        }

    def logical_axes(self):
        return {
            "first": {"kernel": ("embed", "mlp"), "bias": ("mlp",)},
            "second": {"kernel": ("mlp", None), "bias": (None,)},
        }

    def dimensions(self):
        return {"embed": 64, "mlp": self.hidden}

    def loss(self, params, batch, keys, run):
        hidden = batch["images"].astype(run.dtype) @ params["first"]["kernel"] + params["first"]["bias"]
        hidden = run.placement.inside(jax.nn.relu(hidden), ("batch", "mlp"))
        logits = hidden @ params["second"]["kernel"] + params["second"]["bias"]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"])
        correct = jnp.sum(jnp.argmax(logits, -1) == batch["labels"])
        count = jnp.asarray(losses.shape[0], jnp.float32)
        return Sums(losses.sum(), count, {"loss/digits": (losses.sum(), count), "accuracy": (correct, count)})

    def train_source(self, batch_size, seed):
        source = DigitSource(*self.train, batch_size, seed)
        if self.poison_step is not None:
            clean = source.batch

            def poisoned(step, rows=None):
                batch = clean(step, rows)
                return batch | {"images": batch["images"] * np.nan} if step == self.poison_step else batch

            source.batch = poisoned
        return source

    def validation_sources(self, batch_size):
        return {"digits": DigitSource(*self.held_out, batch_size, None)}

    def fingerprint(self):
        return {"classes": "10"}

    def files(self):
        return {}

    def flops_per_step(self, batch_size):
        return 6.0 * batch_size * self.hidden * 74

    def tokens_per_step(self, batch_size):
        return batch_size * 64
