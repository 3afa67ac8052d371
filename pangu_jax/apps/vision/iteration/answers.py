"""Questions, and what is known after their answers: a function of the journal's rows alone."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pangu_jax.apps.vision.iteration.pool import Pool
from pangu_jax.errors import UserError

YES, NO = "yes", "no"
Row = dict[str, Any]


class LabelQuery(NamedTuple):
    """A question about one picture.

    Attributes:
      row: of the picture in the pool.
      guess: "is it this class?", one bit; "which class is it?" when None.
    """

    row: int
    guess: int | None

    def bits(self, pool: Pool) -> float:
        """What an answer costs."""
        return pool.bits if self.guess is None else 1.0


@dataclasses.dataclass
class KnownLabels:
    """What is known of a pool.

    Attributes:
      label_N: int, -1 where it is not known.
      ruled_out_NxC: bool, classes that a picture is not of.
      bits: spent, those of the start set included.
      asked: answers that count.
      yes: those of them that were "yes".
    """

    label_N: np.ndarray
    ruled_out_NxC: np.ndarray
    bits: float
    asked: int = 0
    yes: int = 0

    @classmethod
    def at_start(cls, pool: Pool) -> "KnownLabels":
        """Of the start set."""
        bits = pool.bits * int((pool.start_N >= 0).sum())
        return cls(pool.start_N.copy(), np.zeros((len(pool), len(pool.classes)), bool), bits)

    def take(self, pool: Pool, query: LabelQuery, answer: str) -> None:
        """One answer more: "yes" or "no" to a guess, else the class's name."""
        self.bits += query.bits(pool)
        self.asked += 1
        if query.guess is None:
            self.label_N[query.row] = pool.class_of(answer, "an answer")
        elif answer == YES:
            self.yes += 1
            self.label_N[query.row] = query.guess
        else:
            self.ruled_out_NxC[query.row, query.guess] = True
            (left,) = np.nonzero(~self.ruled_out_NxC[query.row])
            if len(left) == 1:  # of two classes a "no" says the label
                self.label_N[query.row] = left[0]


def row_of(pool: Pool, round_: int, query: LabelQuery, answer: str) -> Row:
    """An answer as the journal holds it: by names, which outlive a change of the pool's order."""
    guess = None if query.guess is None else pool.classes[query.guess]
    return {"round": round_, "id": pool.ids[query.row], "guess": guess, "answer": answer}


def asked_row(pool: Pool, round_: int, queries: Sequence[LabelQuery]) -> Row:
    """The questions of a round as the journal holds them, before the first is asked."""
    guesses = [None if query.guess is None else pool.classes[query.guess] for query in queries]
    return {"round": round_, "asked": [[pool.ids[q.row], of] for q, of in zip(queries, guesses, strict=True)]}


def asked_in(pool: Pool, rows: Iterable[Row], round_: int) -> list[LabelQuery] | None:
    """The questions of a round that has begun; None of one that has not.

    Raises:
      UserError: an answer is there to a question that this round does not ask.
    """
    found: dict[str, str | None] | None = None
    for row in rows:
        if row.get("round") != round_:
            continue
        if "asked" in row:
            found = dict(row["asked"])
        elif "answer" in row and (found is None or found.get(row["id"], ...) != row["guess"]):
            raise UserError(
                f"the journal answers {row['guess']!r} of {row['id']!r} in round {round_}, which does not "
                "ask that: it was changed, or is of an older version; name another --out"
            )
    if found is None:
        return None
    numbers = [None if of is None else pool.class_of(of, "the journal") for of in found.values()]
    return [LabelQuery(pool.row_of[name], of) for name, of in zip(found, numbers, strict=True)]


def undone(round_: int, id_: str) -> Row:
    """The line that takes an answer back."""
    return {"round": round_, "id": id_, "undone": True}


def of_round(rows: Iterable[Row], round_: int) -> dict[str, Row]:
    """Answers of one round that stand, by id: a later line counts, and "undone" takes one back."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.get("round") != round_ or "id" not in row:
            continue
        found.pop(row["id"], None)
        if "answer" in row:
            found[row["id"]] = row
    return found


def known_before(pool: Pool, rows: Sequence[Row], round_: int) -> KnownLabels:
    """What is known when a round begins, by the answers of all rounds before it."""
    known = KnownLabels.at_start(pool)
    for before in range(round_):
        for row in of_round(rows, before).values():
            guess = row["guess"]
            number = None if guess is None else pool.class_of(guess, "the journal")
            known.take(pool, LabelQuery(pool.row_of[row["id"]], number), row["answer"])
    return known
