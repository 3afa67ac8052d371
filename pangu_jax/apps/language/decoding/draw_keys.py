"""What a draw depends on: the seed, the query's own tokens, and which draw of them it is. Nothing else.

Not on the queries beside it, their order, the batch size or the layout: a line that is added to a file
changes no other line's text. The keys are of one kind of generator, whatever JAX is set to use.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.apps.language.decoding.queries import Query


def drawn(asked: Sequence[Query], count: int) -> list[Query]:
    """Each query `count` times, each time with the number of another draw.

    Where a query does not say with which it begins, those alike are counted on, in their order: the first has
    draws 0 to count - 1, the next of the same tokens count to 2 count - 1.
    """
    seen: Counter[tuple[bytes, bytes]] = Counter()
    found = []
    for query in asked:
        first = query.draw
        if first is None:
            content = _content(query)
            first, seen[content] = seen[content], seen[content] + count
        found += [query._replace(draw=first + number) for number in range(count)]
    return found


def words(asked: Sequence[Query], seed: int, rows: int) -> np.ndarray:
    """The keys of draws, uint32 [rows, 2]; 0 for rows beyond the queries, which fill a batch.

    Args:
      asked: tokens and `draw` count, which is 0 where it is not said.
      seed: of all draws.
      rows: at least as many as queries.
    """
    words_Bx2 = np.zeros((rows, 2), np.uint32)
    for row, query in enumerate(asked):
        inputs, prefix = _content(query)
        made = hashlib.blake2b(f"{seed} {query.draw or 0} {len(inputs)} ".encode(), digest_size=8)
        made.update(inputs + prefix)
        words_Bx2[row] = np.frombuffer(made.digest(), "<u4")
    return words_Bx2


def keys(words_Bx2: np.ndarray) -> jax.Array:
    """A PRNG key per row."""
    return jax.random.wrap_key_data(jnp.asarray(words_Bx2), impl="threefry2x32")


def _content(query: Query) -> tuple[bytes, bytes]:
    inputs, prefix = (np.asarray(tokens, "<i4").tobytes() for tokens in (query.inputs, query.prefix))
    return inputs, prefix
