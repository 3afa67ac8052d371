"""Generation: texts for queries, in batches of a few compiled shapes, whole or token by token.

The decoder's cache is static, the loop over tokens runs on the device, and what is compiled depends on
rounded lengths only (`queries.round_up`). How tokens are chosen is in `settings`, what may be chosen in
`restrictions`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from collections.abc import Generator as Writing
from functools import partial

import jax
import numpy as np

from data_pipelines.text.vocabulary import Vocabulary
from pangu_jax.apps.language.decoding import beam, draw_keys, guessing, queries, stepping
from pangu_jax.apps.language.decoding.open_batch import OpenBatch
from pangu_jax.apps.language.decoding.prefill import read
from pangu_jax.apps.language.decoding.queries import EMPTY, END, Generated, Query, round_up
from pangu_jax.apps.language.decoding.restrictions import Choices
from pangu_jax.apps.language.decoding.settings import (
    Beam,
    Greedy,
    Sampling,
    Settings,
    check_beams,
    check_count,
)
from pangu_jax.apps.language.decoding.text_stream import TextStream
from pangu_jax.errors import UserError
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model import decoder_weights
from pangu_jax.workloads.language.model.forward import Forward

_Texts = stepping.Texts | guessing.Guessed
prepare = jax.jit(decoder_weights.prepare, static_argnames=("forward",))


class Generator:
    """A model that writes: its parameters, and the decoder's weights in the form that steps are fastest in.

    Args:
      forward: the model's shape; the dtype of weights, cache and activations; where they are.
      params: its parameters, also those of a tuned model. Kept of them is what reads a query: an encoder;
        who keeps no more either has the decoder's weights in memory once.
      batch_size: most queries answered at once; on a mesh at least one for each part of a batch.
      end: the token that finishes a text.
      ids: tokens that are written are below it: a model may have more rows than its vocabulary ids.
    """

    def __init__(
        self, forward: Forward, params: Tree, batch_size: int = 16, end: int = END, ids: int | None = None
    ):
        self.forward = forward
        self.params = _read_with(forward, params)
        self.weights = prepare(forward, params)
        self.batch_size = queries.whole_shards(batch_size, forward.placement.batch_shards)
        self.end = end
        self.ids = forward.config.vocab_size if ids is None else min(ids, forward.config.vocab_size)

    @classmethod
    def of(cls, forward: Forward, params: Tree, vocabulary: Vocabulary) -> "Generator":
        """One that writes a vocabulary's tokens, up to its end."""
        return cls(forward, params, end=vocabulary.special.eos, ids=vocabulary.size)

    def generate(
        self,
        asked: Sequence[Query],
        settings: Settings,
        max_tokens: int,
        choices: Choices | None = None,
    ) -> list[Generated]:
        """The continuation of each query, in their order: the first of `several`.

        Args:
          asked: the queries.
          settings: how a token is chosen.
          max_tokens: of a text, the end among them.
          choices: what may be written (`restrictions.one_of`, `only`); anything when None.

        Raises:
          UserError: an empty or over-long query, no tokens to write, more beams than the vocabulary can fill,
            logits that are not numbers.
        """
        return [texts[0] for texts in self.several(asked, settings, max_tokens, 1, choices)]

    def several(
        self,
        asked: Sequence[Query],
        settings: Settings,
        max_tokens: int,
        count: int,
        choices: Choices | None = None,
    ) -> list[list[Generated]]:
        """Continuations of each query, in their order.

        Args:
          asked: the queries.
          settings: how a token is chosen; with `Sampling` a draw depends on seed, query and its number alone.
          max_tokens: of a text, the end among them.
          count: texts per query: so many draws, or the best of the beams, best first. Fewer where `choices`
            leave fewer to beam search.
          choices: as for `generate`.

        Raises:
          UserError: as `generate`; a count that the settings cannot give.
        """
        self._check(asked, settings, max_tokens)
        check_count(settings, count)
        if isinstance(settings, Sampling):
            draws = self._batches(draw_keys.drawn(asked, count), settings, max_tokens, choices)
            texts = [text for (text,) in draws]
            return [texts[first : first + count] for first in range(0, len(texts), count)]
        return [texts[:count] for texts in self._batches(asked, settings, max_tokens, choices)]

    def _batches(
        self,
        asked: Sequence[Query],
        settings: Settings,
        max_tokens: int,
        choices: Choices | None = None,
    ) -> list[list[Generated]]:
        """All texts of each query, in their order."""
        order = sorted(range(len(asked)), key=lambda i: (len(asked[i].prefix), len(asked[i].inputs)))
        answers: dict[int, list[Generated]] = {}
        for first in range(0, len(order), self.batch_size):
            numbers = order[first : first + self.batch_size]
            batch = self._open([asked[i] for i in numbers], settings, max_tokens, choices)
            if isinstance(settings, Beam):
                texts = self._search(batch, settings, max_tokens, choices)
            else:
                texts = self._write(batch, settings, max_tokens, choices)
            answers.update(zip(numbers, texts[: len(numbers)], strict=True))
        return [answers[i] for i in range(len(asked))]

    def stream(
        self,
        query: Query,
        settings: Greedy | Sampling | Beam,
        max_tokens: int,
        choices: Choices | None = None,
        chunk: int = 4,
    ) -> TextStream:
        """The tokens of one text as they come: those of `generate`, a chunk of the device's steps at a time.

        What there is to say of the whole text (`Generated`) is in the stream's `generated` after its last.

        Raises:
          UserError: as `generate`; at the first token for logits that are not numbers.
        """
        if isinstance(settings, Beam):
            raise UserError("beam search has no text before its end: stream with Greedy or Sampling")
        if chunk < 1:
            raise UserError(f"chunk must be at least 1 token, got {chunk}")
        self._check([query], settings, max_tokens)
        batch = self._open([query], settings, max_tokens, choices)
        return TextStream(self._deliver(batch, settings, max_tokens, choices, chunk))

    def _deliver(
        self,
        batch: OpenBatch,
        settings: Greedy | Sampling,
        max_tokens: int,
        choices: Choices | None,
        chunk: int,
    ) -> Writing[int, None, Generated]:
        texts, advance = self._begin(batch, settings, choices)
        for written in range(0, max_tokens, chunk):
            texts = advance(texts, until=min(written + chunk, max_tokens))
            _refuse_non_finite(texts.non_finite_B)
            for token in np.asarray(texts.history_BxW)[0, batch.prefix_len + 1 + written :][:chunk].tolist():
                if token in (self.end, EMPTY):
                    break
                yield token
            if np.asarray(texts.finished_B)[0]:
                break
        return self._written(batch, texts)[0]

    def _write(
        self,
        batch: OpenBatch,
        settings: Greedy | Sampling,
        max_tokens: int,
        choices: Choices | None,
    ) -> list[list[Generated]]:
        texts, advance = self._begin(batch, settings, choices)
        texts = advance(texts, until=max_tokens)
        _refuse_non_finite(texts.non_finite_B)
        return [[text] for text in self._written(batch, texts)]

    def _written(self, batch: OpenBatch, texts: _Texts) -> list[Generated]:
        """What is written on each row."""
        tokens_BxT = np.asarray(texts.history_BxW)[:, batch.prefix_len + 1 :][:, : int(texts.step)]
        scores = np.asarray(texts.score_B).tolist()
        return [self._generated(tokens_T, score) for tokens_T, score in zip(tokens_BxT, scores, strict=True)]

    def _search(
        self,
        batch: OpenBatch,
        settings: Beam,
        max_tokens: int,
        choices: Choices | None,
    ) -> list[list[Generated]]:
        found = beam.search(
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
            ids=self.ids,
        )
        _refuse_non_finite(found.non_finite_B)
        if not np.all(np.any(found.is_text_BxM, axis=1) | batch.is_padding_B):
            raise UserError("beam search found no text: allow more tokens, other choices, or repetition")
        tokens_BxMxT = np.asarray(found.text_BxMxT)[:, :, :max_tokens]
        log_p_BxM, rank_BxM = np.asarray(found.log_p_BxM), np.asarray(found.rank_score_BxM)
        return [
            [
                self._generated(tokens_BxMxT[row, m], float(log_p_BxM[row, m]), float(rank_BxM[row, m]))
                for m in np.flatnonzero(is_text_M)
            ]
            for row, is_text_M in enumerate(np.asarray(found.is_text_BxM))
        ]

    def _open(
        self,
        asked: Sequence[Query],
        settings: Settings,
        max_tokens: int,
        choices: Choices | None = None,
    ) -> OpenBatch:
        size = min(round_up(len(asked)), max(self.batch_size, len(asked)))
        size = queries.whole_shards(size, self.forward.placement.batch_shards)
        prefix = max(len(query.prefix) for query in asked)
        length = round_up(max(len(query.inputs) for query in asked), queries.SHORTEST)
        history_BxG = queries.histories(asked, 1 + (round_up(prefix) if prefix else 0), size)
        max_new = round_up(max_tokens, queries.SHORTEST)
        guesses = choices is None and guessing.serves(self.weights, settings)
        columns = max_new * (settings.beams if isinstance(settings, Beam) else 1 + guesses)
        inputs_BxS = queries.padded([query.inputs for query in asked], length, size)
        reads = guessing.read if guesses else read
        prefilled, cache = reads(self.forward, self.params, self.weights, inputs_BxS, history_BxG, columns)
        words_Bx2 = draw_keys.words(asked, settings.seed if isinstance(settings, Sampling) else 0, size)
        is_padding_B = np.arange(size) >= len(asked)
        return OpenBatch(prefilled, cache, history_BxG, is_padding_B, max_new, words_Bx2)

    def _begin(
        self, batch: OpenBatch, settings: Greedy | Sampling, choices: Choices | None
    ) -> tuple[_Texts, Callable[..., _Texts]]:
        """Texts before their first token, and what writes on them."""
        if isinstance(settings, Sampling):  # the keys hold the seed: a program serves them all
            settings = dataclasses.replace(settings, seed=0)
        begin = guessing.begin if batch.guesses else stepping.begin
        texts = begin(
            self.forward, batch.prefilled, batch.cache, batch.history_BxG, batch.max_new, batch.is_padding_B
        )
        advance = partial(guessing.advance, self.forward, batch.prefilled)
        if not batch.guesses:
            chosen = {"keys_B": draw_keys.keys(batch.words_Bx2), "choices": choices, "settings": settings}
            advance = partial(stepping.advance, self.forward, batch.prefilled, **chosen)
        return texts, partial(advance, prefix_len=batch.prefix_len, end=self.end, ids=self.ids)

    def _generated(self, tokens_T: np.ndarray, score: float, rank_score: float | None = None) -> Generated:
        """A text from what is on its row, whatever comes after its end."""
        ends = np.flatnonzero(tokens_T == self.end)
        if len(ends):
            return Generated(tokens_T[: ends[0]], score, "end", rank_score)
        return Generated(tokens_T, score, "cut", rank_score)

    def _check(self, asked: Sequence[Query], settings: Settings, max_tokens: int) -> None:
        if not 1 <= max_tokens <= queries.LONGEST_TEXT:
            raise UserError(f"max_tokens must be between 1 and {queries.LONGEST_TEXT}, got {max_tokens}")
        check_beams(settings, self.ids)
        queries.check(asked)
        queries.require_positions(
            asked, max_tokens - 1, self.forward.config.positions
        )  # the last is not read


def _read_with(forward: Forward, params: Tree) -> Tree:
    """Of a model's parameters, those that are used beside the decoder's weights in their form of steps."""
    if "encoder" not in forward.config.towers:
        return {}
    return {name: own for name, own in params.items() if not name.startswith("decoder")}


def _refuse_non_finite(non_finite_B: jax.Array) -> None:
    if np.any(non_finite_B):
        raise UserError(
            "the model's logits are not finite numbers: its checkpoint is damaged, or dtype float32 is needed"
        )
