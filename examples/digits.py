"""A model family in one file: handwritten digits by a two-layer perceptron (docs/adding_a_workload.md).

PYTHONPATH=. pangu train --gin_file examples/digits.gin --run_dir runs/digits
"""

from collections.abc import Iterator

import gin
import jax
import jax.numpy as jnp
import numpy as np
import optax

from pangu_jax.workloads import Sums, Variables, Workload

PIXELS, CLASSES = 64, 10


class DigitSource:
    """Images [B, 64] and labels [B]; a batch is a pure function of seed and count of examples read before."""

    def __init__(
        self,
        images_NxP: np.ndarray,
        labels_N: np.ndarray,
        batch_size: int,
        seed: int | None = None,
        shift: int = 0,
    ):
        self.images_NxP, self.labels_N = images_NxP, labels_N
        self.batch_size, self.seed, self.shift = batch_size, seed, shift

    def __len__(self) -> int:
        return len(self.labels_N) // self.batch_size

    def batch(self, step: int, rows: slice | None = None) -> dict[str, np.ndarray]:
        chosen = self._indices(step)[rows or slice(None)]
        return {"images": self.images_NxP[chosen], "labels": self.labels_N[chosen]}

    def iterator(self, start_step: int, rows: slice | None = None) -> Iterator[dict[str, np.ndarray]]:
        step = start_step
        while True:
            yield self.batch(step, rows)
            step += 1

    def identity(self, step: int) -> list[str]:
        return [f"digit {index}" for index in self._indices(step)]

    def epochs(self, step: int) -> dict[str, int]:
        return {"digits": int(self._examples(step)[-1] + 1) // len(self.labels_N)}

    def _examples(self, step: int) -> np.ndarray:
        return step * self.batch_size + self.shift + np.arange(self.batch_size)

    def _indices(self, step: int) -> np.ndarray:
        if self.seed is None:  # held-out digits, in their order
            return self._examples(step)
        epochs_B, places_B = np.divmod(self._examples(step), len(self.labels_N))
        orders = {  # of each epoch the batch has part in, one of its own
            epoch: np.random.default_rng((self.seed, epoch)).permutation(len(self.labels_N))
            for epoch in set(epochs_B.tolist())
        }
        return np.array([orders[epoch][place] for epoch, place in zip(epochs_B, places_B, strict=True)])


@gin.configurable
class Digits(Workload):
    """Ten-way classification of 8 x 8 pictures.

    Args:
      hidden: width of the hidden layer.
    """

    name = "digits"
    loss_unit = "nats per example"
    throughput_unit = "pixels"

    def __init__(self, hidden: int = 64):
        self.hidden = hidden
        from sklearn.datasets import load_digits  # takes a second: only when digits are wanted

        images, labels = load_digits(return_X_y=True)
        images, labels = (images / 16.0).astype(np.float32), labels.astype(np.int32)
        self.train, self.held_out = (images[:1500], labels[:1500]), (images[1500:], labels[1500:])

    def init(self, key):
        first, second = jax.random.split(key)
        return Variables(
            {
                "first": {
                    "kernel": jax.random.normal(first, (PIXELS, self.hidden)) / 8,
                    "bias": jnp.zeros(self.hidden),
                },
                "second": {
                    "kernel": jax.random.normal(second, (self.hidden, CLASSES)) / 8,
                    "bias": jnp.zeros(CLASSES),
                },
            }
        )

    def logical_axes(self):
        return Variables(
            {
                "first": {"kernel": ("embed", "mlp"), "bias": ("mlp",)},
                "second": {"kernel": ("mlp", None), "bias": (None,)},
            }
        )

    def dimensions(self):
        return {"embed": PIXELS, "mlp": self.hidden}

    def loss(self, variables, batch, keys, run):
        first, second = variables.params["first"], variables.params["second"]
        hidden_BxF = batch["images"].astype(run.dtype) @ first["kernel"] + first["bias"]
        hidden_BxF = run.placement.inside(jax.nn.relu(hidden_BxF), ("batch", "mlp"))
        logits_BxC = hidden_BxF @ second["kernel"] + second["bias"]
        loss_B = optax.softmax_cross_entropy_with_integer_labels(logits_BxC, batch["labels"])
        correct = jnp.sum(jnp.argmax(logits_BxC, -1) == batch["labels"])
        total, count = jnp.sum(loss_B), jnp.asarray(loss_B.shape[0], jnp.float32)
        return Sums(total, count, {"loss/digits": (total, count), "accuracy": (correct, count)})

    def batch_shapes(self, batch_size):
        return {
            "images": jax.ShapeDtypeStruct((batch_size, PIXELS), jnp.float32),
            "labels": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        }

    def train_source(self, batch_size, seed, shift=0):
        return DigitSource(*self.train, batch_size, seed, shift)

    def validation_sources(self, batch_size):
        return {"digits": DigitSource(*self.held_out, batch_size)}

    def flops_per_step(self, batch_size):
        return 6.0 * batch_size * self.hidden * (PIXELS + CLASSES)

    def tokens_per_step(self, batch_size):
        return batch_size * PIXELS
