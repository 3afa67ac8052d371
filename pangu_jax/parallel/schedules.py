"""Pipeline schedules: which stage does what at which tick, in integers alone.

A microbatch passes `rounds` times around the `stages`; one pass through a stage is a chunk of layers. A
schedule answers, for every (tick, stage), the microbatch and the round, and whether there is work at all: the
rest are bubbles. Its functions take Python integers, NumPy arrays or traced JAX integers alike.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

Integer = Any  # int, or an array of them


class Slot(NamedTuple):
    """Work of a stage in a tick; microbatch and round are in range, and without meaning, if not `valid`."""

    microbatch: Integer
    round: Integer
    valid: Integer


@dataclass(frozen=True)
class RingSchedule:
    """Forward passes around a ring (circular; Narayanan et al., arXiv 2104.04473, interleaved).

    Microbatches go in groups as large as the ring has stages: a group makes all its rounds, each starting
    where the last one arrives, and the next group follows without a gap. With one round this is GPipe
    (arXiv 1811.06965). Microbatches must divide into groups.
    """

    stages: int
    microbatches: int
    rounds: int = 1

    def __post_init__(self):
        if self.microbatches % self.stages:
            raise ValueError(f"{self.microbatches} microbatches do not divide into groups of {self.stages}")

    @property
    def ticks(self) -> int:
        """Ticks of all forward passes."""
        return self.microbatches * self.rounds + self.stages - 1

    @property
    def bubble(self) -> float:
        """The part of all (tick, stage) slots without work."""
        return (self.stages - 1) / self.ticks

    def forward(self, tick: Integer, stage: Integer) -> Slot:
        """What a stage does in a tick."""
        return self._slot(tick - stage, reverse=False)

    def forward_tick(self, microbatch: Integer, round_: Integer, stage: Integer) -> Integer:
        """The inverse of `forward`."""
        group, place = microbatch // self.stages, microbatch % self.stages
        return (group * self.rounds + round_) * self.stages + place + stage

    def _slot(self, position: Integer, reverse: bool) -> Slot:
        """The slot of a position in the sequence of chunks that each stage works through."""
        end = self.microbatches * self.rounds
        valid = (position >= 0) & (position < end)
        position = position % end
        group, rest = position // (self.stages * self.rounds), position % (self.stages * self.rounds)
        round_ = rest // self.stages
        round_ = self.rounds - 1 - round_ if reverse else round_
        return Slot(group * self.stages + rest % self.stages, round_, valid)


@dataclass(frozen=True)
class OneForwardOneBackward(RingSchedule):
    """A forward and a backward slot in every tick (1F1B, Narayanan et al., arXiv 1806.03377).

    The backward pass of a microbatch starts in the tick in which it leaves the last chunk, and goes the way
    back. A stage holds inputs of chunks under way: at most `stash`, for any number of microbatches.
    """

    @property
    def ticks(self) -> int:
        """Ticks of all passes, forward and backward."""
        return super().ticks + self.stages * self.rounds - 1

    @property
    def bubble(self) -> float:
        """The part of all slots without work."""
        return 1 - self.microbatches * self.rounds / self.ticks

    @property
    def stash(self) -> int:
        """Inputs of chunks that a stage keeps: the longest way from a forward to its backward slot."""
        return 2 * self.stages * self.rounds - 1

    def backward(self, tick: Integer, stage: Integer) -> Slot:
        """The chunk whose backward pass a stage does in a tick."""
        start = self.stages * self.rounds - 1
        return self._slot(tick - start - (self.stages - 1 - stage), reverse=True)
