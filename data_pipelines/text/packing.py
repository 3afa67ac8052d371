"""Packing: which pieces share a window, decided once, and the arrays of a window.

Planning needs only lengths: an objective's `cost` bounds what it can make of a piece, whatever it draws, so
a plan made when the cache is built holds for every epoch.
"""

import bisect
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines.text.denoising import DenoisingExample, DenoisingObjective
from data_pipelines.text.vocabulary import START


class Cut(NamedTuple):
    """Tokens [begin, end) of a document; `longest_word` in tokens bounds the words inside."""

    document: int
    begin: int
    end: int
    longest_word: int


def cut(
    document: int,
    word_starts: np.ndarray,
    objective: DenoisingObjective,
    encoder_length: int,
    decoder_length: int,
) -> list[Cut]:
    """Cuts a document into pieces that each fit a window, at word boundaries.

    Pieces are `objective.windows` long, in turn, or a little shorter to fit; what remains after the last
    whole one may be shorter, and is dropped if shorter than `objective.shortest`.
    """
    tokens = len(word_starts)
    starts = np.append(np.flatnonzero(word_starts), tokens)
    longest = int(np.diff(starts).max(initial=1))
    capacity = objective.capacity(encoder_length, decoder_length)
    lengths = objective.windows(encoder_length, decoder_length)
    pieces, begin = [], 0
    while tokens - begin >= objective.shortest:
        length = min(lengths[len(pieces) % len(lengths)], tokens - begin)
        while length > 1 and not _within(objective.cost(length, longest), capacity):
            length -= 1
        end = int(starts[np.searchsorted(starts, begin + length, side="right") - 1])
        if end - begin < objective.shortest:  # a word as long as the window
            end = begin + length
        pieces.append(Cut(document, begin, end, longest))
        begin = end
    return pieces


def plan(costs: np.ndarray, capacity: Sequence[int]) -> list[list[int]]:
    """Best-fit decreasing: assigns pieces with `costs` (int [P, dimensions]) to windows of `capacity`.

    The dimension in which all pieces together need most windows decides the fit; the others only forbid.

    Returns:
      for every window the indices of its pieces; every piece is in exactly one window.
    """
    costs = np.asarray(costs, np.int64).reshape(-1, len(capacity))
    if len(costs) == 0:
        return []
    scarce = int(np.argmax(costs.sum(0) / np.array(capacity)))
    windows: list[list[int]] = []
    room: list[tuple[int, ...]] = []
    # Windows by their room in the scarce dimension: sorted (room, -index), the tightest fit first.
    by_room: list[tuple[int, int]] = []
    for piece in np.argsort(-costs[:, scarce], kind="stable").tolist():
        cost = costs[piece].tolist()
        at = bisect.bisect_left(by_room, (cost[scarce], -len(windows)))
        while at < len(by_room) and not _within(cost, room[-by_room[at][1]]):
            at += 1
        if at < len(by_room):
            window = -by_room.pop(at)[1]
        else:
            window = len(windows)
            windows.append([])
            room.append(tuple(capacity))
        windows[window].append(piece)
        room[window] = tuple(have - need for have, need in zip(room[window], cost, strict=True))
        if min(room[window]) > 0:
            bisect.insort(by_room, (room[window][scarce], -window))
    return windows


def _within(cost: Sequence[int], capacity: Sequence[int]) -> bool:
    return all(need <= have for need, have in zip(cost, capacity, strict=True))


def assemble(
    examples: Sequence[DenoisingExample], encoder_length: int, decoder_length: int, start: int = START
) -> dict[str, np.ndarray]:
    """One window as seqio's EncDecFeatureConverter(pack=True) makes it; loss weights are float32.

    Args:
      examples: what shares the window.
      encoder_length: 0 for a decoder alone, for which there are no encoder_* arrays.
      decoder_length: tokens of the decoder.
      start: what the decoder reads first of an example; below 0 it reads the first token of the target, which
        it then need not write (`SpecialTokens.start`).

    Returns:
      encoder_* int32 [encoder_length], decoder_* int32 [decoder_length]; segments count from 1, 0 is padding;
      decoder inputs are the targets moved right by one inside their segment, beginning with `start`.

    Raises:
      ValueError: the examples do not fit.
    """
    targets = [example.targets[start < 0 :] for example in examples]
    first = np.array([start] if start >= 0 else [], np.int32)
    read = [np.concatenate([first, example.targets[:-1]]) for example in examples]
    decoder = _concatenate(targets, decoder_length)
    encoded = {}
    if encoder_length:
        encoder = _concatenate([example.inputs for example in examples], encoder_length)
        encoded = {
            "encoder_input_tokens": encoder["tokens"],
            "encoder_segment_ids": encoder["segment_ids"],
            "encoder_positions": encoder["positions"],
        }
    return encoded | {
        "decoder_input_tokens": _concatenate(read, decoder_length)["tokens"],
        "decoder_target_tokens": decoder["tokens"],
        "decoder_loss_weights": (decoder["segment_ids"] > 0).astype(np.float32),
        "decoder_segment_ids": decoder["segment_ids"],
        "decoder_positions": decoder["positions"],
    }


def _concatenate(sequences: Sequence[np.ndarray], length: int) -> dict[str, np.ndarray]:
    used = sum(map(len, sequences))
    if used > length:
        raise ValueError(f"{used} tokens do not fit a window of {length}")
    row = {name: np.zeros(length, np.int32) for name in ("tokens", "segment_ids", "positions")}
    begin = 0
    for segment, tokens in enumerate(sequences, 1):
        end = begin + len(tokens)
        row["tokens"][begin:end] = tokens
        row["segment_ids"][begin:end] = segment
        row["positions"][begin:end] = np.arange(len(tokens))
        begin = end
    return row


def empty(encoder_length: int, decoder_length: int) -> dict[str, np.ndarray]:
    """A window of padding: all zeros, no loss."""
    return assemble([], encoder_length, decoder_length)
