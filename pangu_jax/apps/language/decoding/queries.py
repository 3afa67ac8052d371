"""What is asked and what comes back, as tokens; and the few shapes in which a device sees it.

A program is compiled for a shape. Lengths and batches are therefore rounded up to a few sizes, at most half
as large again, so that a new length meets a program that exists.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from pangu_jax.errors import UserError

SIZES = tuple(base << power for power in range(15) for base in (2, 3))  # 2, 3, 4, 6, 8, 12, ...
SHORTEST = 16
LONGEST = 4096  # tokens, of an input and of a prefix: they are read in one pass
LONGEST_TEXT = 32768  # tokens of an output, which is written one by one: models that think fill it
END = 1  # T5's end of sequence, where a vocabulary says no other (`SpecialTokens.eos`)
START = 0  # and what its decoder begins with (`SpecialTokens.start`)
EMPTY = -1  # in a history, a place that holds no token


class Query(NamedTuple):
    """One question, as tokens.

    Attributes:
      inputs: int32 [n], what the encoder reads.
      prefix: int32 [m], what the decoder has written already; often nothing.
      candidates: int32 [c] each, continuations of the prefix to be scored; generation does not look at them.
      draw: which draw of these tokens is wanted, from 0; None: the next that no query before it has.
      start: what the decoder reads before the prefix; nothing where it is below 0.
    """

    inputs: np.ndarray
    prefix: np.ndarray = np.zeros(0, np.int32)
    candidates: tuple[np.ndarray, ...] = ()
    draw: int | None = None
    start: int = START

    @property
    def decoder_row(self) -> np.ndarray:
        """What the decoder reads before it writes: the start and the prefix, int32 [columns]."""
        return np.array([*([self.start] if self.start >= 0 else []), *self.prefix], np.int32)


class Generated(NamedTuple):
    """What was written after a query's prefix.

    Attributes:
      tokens: int32 [n], without the end of sequence.
      score: log p of the text, nats: the sum over its tokens, and the end where it was written, of what the
        model gives them, whatever the settings left of that.
      finish: "end" where the model wrote the end, "cut" where there was no room for more tokens.
      rank_score: by which beam search ranks its texts (`settings.Beam`), of log p under the settings; None
        for other ways.
    """

    tokens: np.ndarray
    score: float
    finish: Literal["end", "cut"] = "end"
    rank_score: float | None = None

    @property
    def length(self) -> int:
        """Tokens of which `score` is the sum."""
        return len(self.tokens) + (self.finish == "end")


def round_up(size: int, shortest: int = 1) -> int:
    """The smallest of the sizes that programs are compiled for, from `shortest` on, that holds `size`."""
    return next(s for s in (1, *SIZES) if s >= max(size, shortest))


def whole_shards(rows: int, shards: int) -> int:
    """The fewest rows, at least `rows`, that a mesh splits evenly into its parts of a batch."""
    return -(-rows // shards) * shards


def check(queries: Sequence[Query], longest: int = LONGEST) -> None:
    """Raises UserError for a query with nothing to read, or more than the largest shape holds."""
    for number, query in enumerate(queries, start=1):
        if len(query.prefix) == 0 and (len(query.inputs) == 0 or query.start < 0):
            raise UserError(f"query {number} is empty: give a prompt of at least one token")
        for name, tokens in (("input", query.inputs), ("decoder prefix", query.prefix)):
            if len(tokens) > longest:
                raise UserError(
                    f"the {name} of query {number} has {len(tokens)} tokens, and {longest} is the most that "
                    "is read at once: shorten it, or split it into windows"
                )


def require_positions(queries: Sequence[Query], new: int, rows: int) -> None:
    """UserError where a query and `new` tokens after it are more than a table of positions has rows.

    A model without one has 0 rows, and positions as many as are wanted.
    """
    for number, query in enumerate(queries, start=1):
        if rows and (tokens := len(query.decoder_row) + new) > rows:
            raise UserError(
                f"query {number} and what is written after it are {tokens} tokens, and the model has {rows} "
                "positions: shorten it, or lower --max_tokens"
            )


def padded(rows: Sequence[np.ndarray], width: int, batch: int) -> np.ndarray:
    """Rows padded with 0 on the right, int32 [batch, width]; rows beyond the given are all 0.

    For encoders (`prefill.encoder_batch`), whose rows do not end in 0. A decoder's are padded with EMPTY.
    """
    out = np.zeros((batch, width), np.int32)
    for number, row in enumerate(rows):
        out[number, : len(row)] = row
    return out


def histories(asked: Sequence[Query], width: int, batch: int) -> np.ndarray:
    """Start token and prefix of each, flush right, EMPTY before them, int32 [batch, width]; one token in rows
    beyond the queries, which nobody looks at."""
    out = np.full((batch, width), EMPTY, np.int32)
    out[:, -1] = START
    for number, query in enumerate(asked):
        row = query.decoder_row
        out[number, width - len(row) :] = row
    return out
