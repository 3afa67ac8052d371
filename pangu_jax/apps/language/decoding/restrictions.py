"""What may come next: repetition kept in check, and texts held to a set of choices."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.apps.language.decoding.queries import EMPTY, END, round_up
from pangu_jax.apps.language.decoding.settings import Repetition
from pangu_jax.errors import UserError

NOWHERE = -2  # parent of the edges that pad a table


class Choices(NamedTuple):
    """What may be written, as an automaton: in a state, only the tokens of its edges, each into a next state.

    Attributes:
      parent_E: int32, the state that an edge leaves; the first state is 0.
      token_E: int32.
      child_E: int32.
    """

    parent_E: np.ndarray
    token_E: np.ndarray
    child_E: np.ndarray

    def allow(self, logits_VxR: jax.Array, state_R: jax.Array) -> jax.Array:
        """Logits, -inf for what a row's state does not allow."""
        leaves_ExR = self.parent_E[:, None] == state_R
        allowed_VxR = jnp.zeros(logits_VxR.shape, bool).at[self.token_E].max(leaves_ExR)
        return jnp.where(allowed_VxR, logits_VxR, -jnp.inf)

    def after(self, state_R: jax.Array, token_R: jax.Array) -> jax.Array:
        """The states after a token each, int32 [R]."""
        taken_ExR = (self.parent_E[:, None] == state_R) & (self.token_E[:, None] == token_R)
        return jnp.sum(jnp.where(taken_ExR, self.child_E[:, None], 0), axis=0)


def one_of(continuations: Sequence[np.ndarray], end: int = END) -> Choices:
    """Exactly one of the continuations [c], and then the end: their trie."""
    if not len(continuations) or any(len(tokens) == 0 for tokens in continuations):
        raise UserError("a constrained choice needs continuations of at least one token each")
    states: dict[tuple[int, ...], int] = {(): 0}
    edges: dict[tuple[int, int], int] = {}
    for tokens in continuations:
        path = (*map(int, tokens), end)
        for length in range(1, len(path) + 1):
            child = states.setdefault(path[:length], len(states))
            edges[states[path[: length - 1]], path[length - 1]] = child
    return _choices((parent, token, child) for (parent, token), child in edges.items())


def only(tokens: Iterable[int], end: int = END) -> Choices:
    """Any text of the given tokens."""
    return _choices((0, token, 0) for token in sorted({*map(int, tokens), end}))


def _choices(edges: Iterable[tuple[int, int, int]]) -> Choices:
    table = np.array(list(edges), np.int32)
    padding = round_up(len(table), 8) - len(table)
    return Choices(*np.pad(table, ((0, padding), (0, 0)), constant_values=NOWHERE).clip((NOWHERE, 0, 0)).T)


def known(logits_VxR: jax.Array, ids: int | None) -> jax.Array:
    """Logits, -inf for the rows of a model from `ids` on, which are no tokens of its vocabulary."""
    if ids is None or ids >= logits_VxR.shape[0]:
        return logits_VxR
    return jnp.where(jnp.arange(logits_VxR.shape[0])[:, None] < ids, logits_VxR, -jnp.inf)


def restrict(logits_VxR: jax.Array, history_RxW: jax.Array, repetition: Repetition) -> jax.Array:
    """Logits as repetition settings leave them for rows that wrote `history` (EMPTY where there is nothing).

    The last token of a row is that of the last column that is not EMPTY in any row.
    """
    if repetition.repetition_penalty != 1.0:
        seen_VxR = _mark(history_RxW, logits_VxR.shape[0])
        factor = jnp.where(logits_VxR > 0, 1 / repetition.repetition_penalty, repetition.repetition_penalty)
        logits_VxR = jnp.where(seen_VxR, logits_VxR * factor, logits_VxR)
    if repetition.no_repeat_ngram:
        banned_RxW = _ends_of_repeats(history_RxW, repetition.no_repeat_ngram)
        logits_VxR = jnp.where(_mark(banned_RxW, logits_VxR.shape[0]), -jnp.inf, logits_VxR)
    return logits_VxR


def _mark(tokens_RxW: jax.Array, vocabulary: int) -> jax.Array:
    """bool [V, R], True for each token of a row."""
    rows, width = tokens_RxW.shape
    tokens = jnp.where(tokens_RxW == EMPTY, vocabulary, tokens_RxW)
    row_RxW = jnp.broadcast_to(jnp.arange(rows)[:, None], (rows, width))
    return jnp.zeros((vocabulary, rows), bool).at[tokens, row_RxW].set(True, mode="drop")


def _ends_of_repeats(history_RxW: jax.Array, size: int) -> jax.Array:
    """The tokens that would complete a `size`-gram of the history once more; EMPTY elsewhere."""
    rows, width = history_RxW.shape
    column_W = jnp.arange(width)
    written = jnp.max(jnp.where(history_RxW != EMPTY, column_W, -1)) + 1
    repeats_RxW = jnp.broadcast_to(column_W < written, (rows, width))
    for back in range(1, size):
        tail_R = jax.lax.dynamic_index_in_dim(history_RxW, jnp.maximum(written - back, 0), 1, keepdims=False)
        earlier_RxW = jnp.roll(history_RxW, back, axis=1)
        inside_W = column_W >= back
        repeats_RxW &= (earlier_RxW == tail_R[:, None]) & (tail_R[:, None] != EMPTY) & inside_W
    return jnp.where(repeats_RxW, history_RxW, EMPTY)
