"""Generation: texts for queries, in batches of a few compiled shapes, whole or token by token.

The decoder's cache is static, the loop over tokens runs on the device, and what is compiled depends on
rounded lengths only (`queries.round_up`). How tokens are chosen is in `settings`, what may be chosen in
`restrictions`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from pangu_jax.apps.language.decoding import beam, queries, stepping
from pangu_jax.apps.language.decoding.prefill import Prefill, read
from pangu_jax.apps.language.decoding.queries import EMPTY, END, Generated, Query, round_up
from pangu_jax.apps.language.decoding.restrictions import Choices
from pangu_jax.apps.language.decoding.settings import Beam, Greedy, Sampling, Settings
from pangu_jax.errors import UserError
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model import incremental
from pangu_jax.workloads.language.model.forward import Forward

prepare = jax.jit(incremental.prepare, static_argnames=("forward",))


class Generator:
    """A model that writes: its parameters, and the decoder's weights in the form that steps are fastest in.

    Args:
      forward: the model's shape; the dtype of weights, cache and activations; where they are.
      params: its parameters, also those of a tuned model.
      batch_size: most queries answered at once; on a mesh at least one for each part of a batch.
      end: the token that finishes a text.
    """

    def __init__(self, forward: Forward, params: Tree, batch_size: int = 16, end: int = END):
        self.forward = forward
        self.params = params
        self.weights = prepare(forward, params)
        self.batch_size = queries.whole_shards(batch_size, forward.placement.batch_shards)
        self.end = end

    def generate(
        self,
        asked: Sequence[Query],
        settings: Settings,
        max_tokens: int,
        choices: Choices | None = None,
    ) -> list[Generated]:
        """The continuation of each query, in their order.

        Args:
          asked: the queries.
          settings: how a token is chosen.
          max_tokens: of a text, the end among them.
          choices: what may be written (`restrictions.one_of`, `only`); anything when None.

        Raises:
          UserError: an empty or over-long query, no tokens to write, more beams than the vocabulary can fill,
            logits that are not numbers.
        """
        self._check(asked, settings, max_tokens)
        order = sorted(range(len(asked)), key=lambda i: (len(asked[i].prefix), len(asked[i].inputs)))
        answers: dict[int, Generated] = {}
        for first in range(0, len(order), self.batch_size):
            numbers = order[first : first + self.batch_size]
            batch = self._open([asked[i] for i in numbers], settings, max_tokens)
            if isinstance(settings, Beam):
                texts = self._search(batch, numbers, settings, max_tokens, choices)
            else:
                texts = self._write(batch, numbers, settings, max_tokens, choices)
            answers.update(zip(numbers, texts, strict=True))
        return [answers[i] for i in range(len(asked))]

    def stream(
        self,
        query: Query,
        settings: Greedy | Sampling | Beam,
        max_tokens: int,
        choices: Choices | None = None,
        chunk: int = 4,
    ) -> Iterator[int]:
        """The tokens of one text as they come: those of `generate`, a chunk of the device's steps at a time.

        Raises:
          UserError: as `generate`; at the first token for logits that are not numbers.
        """
        if isinstance(settings, Beam):
            raise UserError("beam search has no text before its end: stream with Greedy or Sampling")
        if chunk < 1:
            raise UserError(f"chunk must be at least 1 token, got {chunk}")
        self._check([query], settings, max_tokens)
        return self._deliver(self._open([query], settings, max_tokens), settings, max_tokens, choices, chunk)

    def _deliver(
        self,
        batch: "_Batch",
        settings: Greedy | Sampling,
        max_tokens: int,
        choices: Choices | None,
        chunk: int,
    ) -> Iterator[int]:
        texts, advance = self._begin(batch, [0], settings, choices)
        for written in range(0, max_tokens, chunk):
            texts = advance(texts, until=min(written + chunk, max_tokens))
            _refuse_non_finite(texts.non_finite_B)
            for token in np.asarray(texts.history_BxW)[0, batch.prefix_len + 1 + written :][:chunk].tolist():
                if token in (self.end, EMPTY):
                    return
                yield token

    def _write(
        self,
        batch: "_Batch",
        numbers: Sequence[int],
        settings: Greedy | Sampling,
        max_tokens: int,
        choices: Choices | None,
    ) -> list[Generated]:
        texts, advance = self._begin(batch, numbers, settings, choices)
        texts = advance(texts, until=max_tokens)
        tokens_BxT = np.asarray(texts.history_BxW)[:, batch.prefix_len + 1 :][:, : int(texts.step)]
        return self._generated(tokens_BxT, texts.score_B, texts.non_finite_B, len(numbers))

    def _search(
        self,
        batch: "_Batch",
        numbers: Sequence[int],
        settings: Beam,
        max_tokens: int,
        choices: Choices | None,
    ) -> list[Generated]:
        tokens_BxT, score_B, non_finite_B = beam.search(
            self.forward,
            batch.prefilled,
            batch.cache,
            batch.history_BxG,
            batch.is_padding_B,
            choices,
            max_tokens,
            max_new=batch.max_new,
            settings=settings,
            end=self.end,
        )
        return self._generated(np.asarray(tokens_BxT)[:, :max_tokens], score_B, non_finite_B, len(numbers))

    def _open(self, asked: Sequence[Query], settings: Settings, max_tokens: int) -> "_Batch":
        size = min(round_up(len(asked)), max(self.batch_size, len(asked)))
        size = queries.whole_shards(size, self.forward.placement.batch_shards)
        prefix = max(len(query.prefix) for query in asked)
        length = round_up(max(len(query.inputs) for query in asked), queries.SHORTEST)
        history_BxG = queries.histories(
            [query.prefix for query in asked], 1 + (round_up(prefix) if prefix else 0), size
        )
        max_new = round_up(max_tokens, queries.SHORTEST)
        columns = max_new * (settings.beams if isinstance(settings, Beam) else 1)
        inputs_BxS = queries.padded([query.inputs for query in asked], length, size)
        prefilled, cache = read(self.forward, self.params, self.weights, inputs_BxS, history_BxG, columns)
        return _Batch(prefilled, cache, history_BxG, np.arange(size) >= len(asked), max_new)

    def _begin(
        self, batch: "_Batch", numbers: Sequence[int], settings: Greedy | Sampling, choices: Choices | None
    ) -> tuple[stepping.Texts, Callable[..., stepping.Texts]]:
        """Texts before their first token, and what writes on them."""
        seed = 0
        if isinstance(settings, Sampling):  # the keys hold the seed: a program serves them all
            seed, settings = settings.seed, dataclasses.replace(settings, seed=0)
        rows = np.pad(np.asarray(numbers, np.int32), (0, len(batch.is_padding_B) - len(numbers)))
        texts = stepping.begin(
            self.forward, batch.prefilled, batch.cache, batch.history_BxG, batch.max_new, batch.is_padding_B
        )
        advance = partial(
            stepping.advance,
            self.forward,
            batch.prefilled,
            keys_B=_keys(seed, rows),
            choices=choices,
            prefix_len=batch.prefix_len,
            settings=settings,
            end=self.end,
        )
        return texts, advance

    def _generated(
        self, tokens_BxT: np.ndarray, score_B: jax.Array, non_finite_B: jax.Array, count: int
    ) -> list[Generated]:
        _refuse_non_finite(non_finite_B)

        def text(tokens_T: np.ndarray) -> np.ndarray:
            ends = np.flatnonzero(tokens_T == self.end)
            return tokens_T[: ends[0]] if len(ends) else tokens_T

        scores = np.asarray(score_B).tolist()
        return [
            Generated(text(tokens), score)
            for tokens, score in zip(tokens_BxT[:count], scores[:count], strict=True)
        ]

    def _check(self, asked: Sequence[Query], settings: Settings, max_tokens: int) -> None:
        if not 1 <= max_tokens <= queries.LONGEST:
            raise UserError(f"max_tokens must be between 1 and {queries.LONGEST}, got {max_tokens}")
        vocabulary = self.forward.config.vocab_size
        if isinstance(settings, Beam) and 2 * settings.beams > vocabulary:
            raise UserError(
                f"{settings.beams} beams choose from {2 * settings.beams} tokens, and the vocabulary has "
                f"{vocabulary}: ask for fewer beams"
            )
        queries.check(asked)


class _Batch(NamedTuple):
    """Queries on the device, padded to a shape that programs exist for; all their tokens read but one."""

    prefilled: Prefill
    cache: incremental.Cache
    history_BxG: np.ndarray
    is_padding_B: np.ndarray
    max_new: int

    @property
    def prefix_len(self) -> int:
        """Columns of the cache that hold prefixes."""
        return self.history_BxG.shape[1] - 1


@jax.jit
def _keys(seed: int, rows_B: jax.Array) -> jax.Array:
    """A PRNG key per row, by the query's number."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), rows_B)


def _refuse_non_finite(non_finite_B: jax.Array) -> None:
    if np.any(non_finite_B):
        raise UserError(
            "the model's logits are not finite numbers: its checkpoint is damaged, or dtype float32 is needed"
        )
