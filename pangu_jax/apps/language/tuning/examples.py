"""Labelled examples as arrays of one shape, so that every batch of a task meets one compiled program.

A row holds what the encoder reads and one row of the decoder: the start token, the prefix, and the candidates
as a trie (see `pangu_jax.apps.language.decoding.trie`), in which what candidates share is computed once.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pangu_jax.apps.language.decoding import queries, trie
from pangu_jax.apps.language.decoding.queries import Query, round_up
from pangu_jax.errors import UserError
from pangu_jax.workloads.language.model.architecture import Architecture

WIDTHS = 2  # of a batch: each has programs of its own


class Labelled(NamedTuple):
    """A query whose answer is known.

    Attributes:
      query: what is read, and the candidates; for generation one candidate, the text to be written.
      answer: index of the right candidate.
    """

    query: Query
    answer: int


class RowShape(NamedTuple):
    """Sizes that rows are padded to: encoder tokens, decoder columns, logits, tokens of candidates, and how
    many candidates there are."""

    inputs: int
    columns: int
    reads: int
    pairs: int
    candidates: int


class Rows(NamedTuple):
    """Examples as arrays, each with a leading dimension of examples N. Padding is 0, or the number of
    candidates in `candidate_NxP`; `needed_N` counts the decoder's columns that are not padding."""

    inputs_NxS: np.ndarray
    tokens_NxM: np.ndarray
    depth_NxM: np.ndarray
    parent_NxM: np.ndarray
    given_N: np.ndarray
    read_NxR: np.ndarray
    at_NxP: np.ndarray
    token_NxP: np.ndarray
    candidate_NxP: np.ndarray
    choices_NxC: np.ndarray
    answer_N: np.ndarray
    needed_N: np.ndarray

    def digest(self) -> str:
        """sha256 over all arrays."""
        found = hashlib.sha256()
        for array in self:
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def width(self, numbers: np.ndarray | None = None) -> int:
        """Columns of the decoder that hold the rows `numbers`, or all of them: half of what there is, or the
        whole, so that short rows cost less and few programs are compiled."""
        needed_N = self.needed_N if numbers is None else self.needed_N[numbers]
        part = -(-self.tokens_NxM.shape[1] // WIDTHS)
        return min(self.tokens_NxM.shape[1], part * -(-int(needed_N.max()) // part))

    def batch(self, numbers: np.ndarray, width: int | None = None) -> dict[str, np.ndarray]:
        """The rows `numbers`, and which columns each column of the decoder sees: itself and its ancestors.

        Args:
          numbers: int [B].
          width: columns of the decoder, at least what the rows need; all when None.
        """
        taken = {name.rpartition("_")[0]: array[numbers] for name, array in self._asdict().items()}
        del taken["needed"]
        for name in ("tokens", "depth", "parent"):
            taken[name] = taken[name][:, :width]
        return taken | {"sees": trie.ancestors(taken.pop("parent"))}


@dataclass(frozen=True)
class TaskRows:
    """A task's examples as arrays of one shape.

    Attributes:
      train: what is learnt.
      dev: by which the step is chosen; None where it is the last.
      classes: how many candidates an example has.
      names: of the two splits, for messages.
    """

    train: Rows
    dev: Rows | None
    classes: int
    names: tuple[str, str] = ("train", "dev")

    @classmethod
    def of(
        cls,
        train: Sequence[Labelled],
        dev: Sequence[Labelled] | None = None,
        shape: RowShape | None = None,
        names: tuple[str, str] = ("train", "dev"),
    ) -> "TaskRows":
        """The rows of examples that are as the method wants them (see `asked_by`).

        Args:
          train: what is learnt.
          dev: by which the step is chosen.
          shape: rows are padded to; that of the examples when None. Give one shape to runs that are to share
            their compiled step.
          names: of the two splits.

        Raises:
          UserError: as `shape_of`, or an example is larger than the shape.
        """
        _check(train)
        shape = shape or shape_of([*train, *(dev or ())])
        return cls(rows(train, shape), rows(dev, shape) if dev else None, shape.candidates, names)


def numbered(examples: Sequence[Labelled]) -> list[Labelled]:
    """For a classifier: candidates by their numbers. Their words are not read, so they need no columns."""
    tokens: dict[int, tuple[np.ndarray, ...]] = {}
    for query, _ in examples:
        count = len(query.candidates)
        tokens.setdefault(count, tuple(np.array([number], np.int32) for number in range(count)))
    return [
        one._replace(query=one.query._replace(candidates=tokens[len(one.query.candidates)]))
        for one in examples
    ]


def prompt_ids(config: Architecture, length: int) -> np.ndarray:
    """Ids of a soft prompt's vectors: those after the vocabulary's. int32 [length]."""
    return np.arange(config.vocab_size, config.vocab_size + length, dtype=np.int32)


def with_prompt(config: Architecture, asked: Sequence[Labelled], length: int) -> list[Labelled]:
    """Examples with a soft prompt before the encoder's tokens, or the prefix where there is no encoder; not
    those that hold one already."""
    prompt, alone = prompt_ids(config, length), "encoder" not in config.towers

    def prompted(query: Query) -> Query:
        read = query.prefix if alone else query.inputs
        if not length or np.any(np.asarray(read) >= config.vocab_size):
            return query
        read = np.concatenate([prompt, read]).astype(np.int32)
        return query._replace(prefix=read) if alone else query._replace(inputs=read)

    return [example._replace(query=prompted(example.query)) for example in asked]


def shape_of(examples: Sequence[Labelled]) -> RowShape:
    """The shape that holds the examples, rounded up.

    A sweep takes the shape of all its splits together, and compiles once for all of them.

    Raises:
      UserError: there are no examples, or one is empty, over-long, without candidates or with an answer that
        is none of them.
    """
    _check(examples)
    plans = [trie.plan(example.query) for example in examples]
    return RowShape(
        round_up(max(len(example.query.inputs) for example in examples), queries.SHORTEST),
        round_up(max(len(plan.tokens_M) for plan in plans), 4),
        round_up(max(len(plan.read_N) for plan in plans)),
        round_up(max(len(plan.at_P) for plan in plans), 4),
        max(len(example.query.candidates) for example in examples),
    )


def rows(examples: Sequence[Labelled], shape: RowShape) -> Rows:
    """The examples as arrays.

    Raises:
      UserError: as `shape_of`, or an example is larger than the shape.
    """
    needed = shape_of(examples)
    for name, size, most in zip(RowShape._fields, needed, shape, strict=True):
        if size > most:
            raise UserError(f"the examples need {size} {name}, the shape given has {most}: give a larger one")
    return Rows(*map(np.stack, zip(*(_row(example, shape) for example in examples), strict=True)))


def _row(example: Labelled, shape: RowShape) -> tuple[Any, ...]:
    query, plan = example.query, trie.plan(example.query)

    def pad(values: np.ndarray, size: int, value: int = 0) -> np.ndarray:
        return np.pad(np.asarray(values, np.int32), (0, size - len(values)), constant_values=value)

    return (
        pad(query.inputs, shape.inputs),
        pad(plan.tokens_M, shape.columns),
        pad(plan.depth_M, shape.columns),
        pad(plan.parent_M, shape.columns, -1),
        np.int32(len(query.decoder_row)),
        pad(plan.read_N, shape.reads),
        pad(plan.at_P, shape.pairs),
        pad(plan.token_P, shape.pairs),
        pad(plan.candidate_P, shape.pairs, shape.candidates),
        np.arange(shape.candidates) < len(query.candidates),
        np.int32(example.answer),
        np.int32(len(plan.tokens_M)),
    )


def _check(examples: Sequence[Labelled]) -> None:
    if not examples:
        raise UserError("there are no examples to learn from or to measure: give at least one")
    queries.check([example.query for example in examples])
    for number, (query, answer) in enumerate(examples, start=1):
        if not query.candidates or any(len(candidate) == 0 for candidate in query.candidates):
            raise UserError(f"example {number} needs candidates of at least one token each")
        if not 0 <= answer < len(query.candidates):
            raise UserError(
                f"the answer of example {number} is candidate {answer}, and it has "
                f"{len(query.candidates)}: is its label missing in the verbaliser?"
            )
