"""Random tokens in full windows, for benchmarks and for tests of the trainer: no text, no files."""

from collections.abc import Iterator
from dataclasses import dataclass

import gin
import numpy as np


@gin.configurable("synthetic_tokens")
@dataclass(frozen=True)
class SyntheticTokens:
    """Windows of uniformly random token ids, one example per window, one task.

    Args:
      vocabulary_size: token ids are below it.
      encoder_length: encoder window, tokens; 0 for a decoder alone.
      decoder_length: decoder window, tokens.
      validation_batches: batches of the held-out source.
    """

    vocabulary_size: int = 8192
    encoder_length: int = 256
    decoder_length: int = 128
    validation_batches: int = 1

    @property
    def task_names(self) -> tuple[str, ...]:
        """One task: copy nothing, learn nothing."""
        return ("random",)

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> "RandomSource":
        """Endless random batches."""
        return RandomSource(self, batch_size, seed, None, shift)

    def validation_sources(self, batch_size: int) -> dict[str, "RandomSource"]:
        """A finite source of other random batches."""
        return {"random": RandomSource(self, batch_size, 2**31, self.validation_batches)}

    def order(self) -> dict[str, str]:
        """The seed alone decides it."""
        return {}

    def fingerprint(self) -> dict[str, str]:
        """Stands in for the hash of a vocabulary."""
        return {"vocabulary": f"synthetic-{self.vocabulary_size}"}


class RandomSource:
    """Random tokens, drawn in blocks of a batch each: a function of batch size, seed and examples read.

    There is no epoch, and another batch size draws other tokens. `shift`: batch(step) begins at example
    step * batch_size + shift.
    """

    def __init__(
        self, data: SyntheticTokens, batch_size: int, seed: int, batches: int | None, shift: int = 0
    ):
        self.data, self.batch_size, self.seed, self.batches = data, batch_size, seed, batches
        self._shift = shift

    def __len__(self) -> int:
        if self.batches is None:
            raise TypeError("this source has no end")
        return self.batches

    def batch(self, step: int, rows: slice | None = None) -> dict[str, np.ndarray]:
        """int32 features with seqio's packed names, see `data_pipelines.batches`."""
        block, skipped = self._place(step)
        batch = self._block(block)
        if skipped:
            after = self._block(block + 1)
            batch = {name: np.concatenate([x[skipped:], after[name][:skipped]]) for name, x in batch.items()}
        return {name: feature[rows or slice(None)] for name, feature in batch.items()}

    def _place(self, step: int) -> tuple[int, int]:
        """The block where a step begins, and how many of its rows come before."""
        return divmod(step * self.batch_size + self._shift, self.batch_size)

    def _block(self, number: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((self.seed, number))
        sizes = {"encoder": self.data.encoder_length, "decoder": self.data.decoder_length}
        sizes = {tower: length for tower, length in sizes.items() if length}
        tokens = {
            tower: rng.integers(self.data.vocabulary_size, size=(self.batch_size, length), dtype=np.int32)
            for tower, length in sizes.items()
        }
        batch: dict[str, np.ndarray] = {"decoder_target_tokens": tokens["decoder"]}
        if "encoder" in tokens:
            batch["encoder_input_tokens"] = tokens["encoder"]
        batch["decoder_input_tokens"] = np.pad(tokens["decoder"][:, :-1], ((0, 0), (1, 0)))
        batch["decoder_loss_weights"] = np.ones((self.batch_size, self.data.decoder_length), np.float32)
        for tower, length in sizes.items():
            batch[f"{tower}_segment_ids"] = np.ones((self.batch_size, length), np.int32)
            positions = np.arange(length, dtype=np.int32)
            batch[f"{tower}_positions"] = np.tile(positions, (self.batch_size, 1))
        batch["task_id"] = np.zeros(self.batch_size, np.int32)
        return batch

    def iterator(self, start_step: int, rows: slice | None = None) -> Iterator[dict[str, np.ndarray]]:
        """Batches from `start_step` on."""
        step = start_step
        while self.batches is None or step < self.batches:
            yield self.batch(step, rows)
            step += 1

    def identity(self, step: int) -> list[str]:
        """Names of the rows, by block: there is no text to name."""
        block, skipped = self._place(step)
        numbers = (divmod(row, self.batch_size) for row in range(skipped, skipped + self.batch_size))
        return [f"random {self.seed}/{block + more}/{row}" for more, row in numbers]

    def epochs(self, step: int) -> dict[str, int]:
        """None: no example comes twice."""
        del step
        return {}
