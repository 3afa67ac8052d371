"""Who answers: a file of labels, or a person at a page (`oracle_page`)."""

from collections.abc import Sequence
from typing import Protocol

import gin

from pangu_jax.apps.vision.iteration.answers import NO, YES, LabelQuery
from pangu_jax.apps.vision.iteration.pool import Pool, places_by_id, read_labels, require_known_ids
from pangu_jax.errors import UserError


class Transcript(Protocol):
    """Where answers go; each is on disk when these return."""

    def keep(self, query: LabelQuery, answer: str) -> None:
        """An answer: "yes" or "no" to a guess, else a class's name."""
        ...

    def undo(self, query: LabelQuery) -> None:
        """The answer about this picture no longer counts."""
        ...


class Oracle(Protocol):
    """Answers questions."""

    def check(self, pool: Pool) -> None:
        """Before the first question. UserError where it cannot answer about these pictures."""
        ...

    def answer(self, pool: Pool, queries: Sequence[LabelQuery], answered: int, kept: Transcript) -> None:
        """All of these, in their order; or as many as there is an answer to now: the others wait.

        Args:
          pool: the pictures.
          queries: of the round, those with an answer first.
          answered: so many of the first ones have an answer already.
          kept: where answers go.
        """
        ...


@gin.configurable
class OracleFile:
    """Answers by a file of labels.

    Args:
      path: CSV whose first line is "id,label"; ids are the pictures' names as the set has them.
    """

    def __init__(self, path: str = gin.REQUIRED):
        self.path = path
        self._labels: dict[str, str] = {}

    def check(self, pool: Pool) -> None:
        """See `Oracle`: ids that are not in the set are refused, and classes that are not."""
        labels = read_labels(self.path)
        require_known_ids(labels, places_by_id(pool.images), self.path)
        for name in dict.fromkeys(labels.values()):
            pool.class_of(name, self.path)
        self._labels = labels

    def answer(self, pool: Pool, queries: Sequence[LabelQuery], answered: int, kept: Transcript) -> None:
        """See `Oracle`."""
        for query in queries[answered:]:
            name = pool.ids[query.row]
            if (label := self._labels.get(name)) is None:
                raise UserError(
                    f"{self.path} has no label of {name!r}, which is asked about: add it and run the same "
                    "command again; answers so far are kept"
                )
            kept.keep(query, reply(pool, query, label))


def reply(pool: Pool, query: LabelQuery, label: str) -> str:
    """What one who knows the label says."""
    if query.guess is None:
        return label
    return YES if pool.classes[query.guess] == label else NO
