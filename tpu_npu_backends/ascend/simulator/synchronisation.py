"""What is ordered before what: pipes, flags, barriers, and flags between cores.

A core issues its instructions in order to pipes, each of which works through its own queue beside the others.
Nothing orders two pipes but a flag that one sets and the other waits for, or a barrier. Even one pipe begins
an instruction before the one before has ended, unless a barrier is between: that is how the compiler
emits code, and what is checked here. Execution itself is sequential; what is checked is whether the order
that was taken is one that the kernel enforces.

Each pipe has a vector clock (Fidge 1988, Mattern 1989): `clock[p]` is the number of instructions of pipe p
that are known to have ended before whatever this pipe begins next. Instruction n of pipe p is ordered before
the next one of pipe q exactly when q's clock[p] >= n.
"""

from collections import defaultdict, deque

from tpu_npu_backends.ascend.simulator.faults import Fault
from tpu_npu_backends.ascend.simulator.memory import Access, View

PIPES = ("PIPE_S", "PIPE_V", "PIPE_M", "PIPE_MTE1", "PIPE_MTE2", "PIPE_MTE3", "PIPE_FIX")
NUMBER = {pipe: number for number, pipe in enumerate(PIPES)}


class Pipes:
    """The clocks of one core's pipes.

    Args:
      core: the core's number; pipe p of it has number core * len(PIPES) + p among those of all cores.
      cores: how many cores there are.
    """

    def __init__(self, core: int, cores: int) -> None:
        self.base = core * len(PIPES)
        self.issued = [0] * len(PIPES)
        self.clocks = [[0] * (cores * len(PIPES)) for _ in PIPES]
        self.flags: dict[tuple, deque[list[int]]] = defaultdict(deque)

    def issue(self, pipe: int) -> int:
        """The number of the pipe's next instruction."""
        self.issued[pipe] += 1
        if pipe == 0:  # the scalar unit does one thing after the other
            self.clocks[0][self.base] = self.issued[0]
        return self.issued[pipe]

    def snapshot(self, pipe: int) -> list[int]:
        """What is known to whoever learns that all of this pipe's instructions so far have ended."""
        clock = self.clocks[pipe].copy()
        clock[self.base + pipe] = self.issued[pipe]
        return clock

    def learn(self, pipe: int, clock: list[int]) -> None:
        self.clocks[pipe] = list(map(max, self.clocks[pipe], clock))

    def barrier(self, pipe: int) -> None:
        self.clocks[pipe][self.base + pipe] = self.issued[pipe]

    def barrier_all(self) -> None:
        joined = list(map(max, *self.clocks))
        joined[self.base : self.base + len(PIPES)] = self.issued
        self.clocks = [joined.copy() for _ in PIPES]

    def set_flag(self, key: tuple, pipe: int) -> None:
        self.flags[key].append(self.snapshot(pipe))

    def wait_flag(self, key: tuple, pipe: int, where: str) -> None:
        if not self.flags[key]:
            raise Fault("unbalanced sync", f"waits for {_flag_name(key)}, which nothing has set", where)
        self.learn(pipe, self.flags[key].popleft())

    def left_set(self) -> list[str]:
        return [_flag_name(key) for key, waiting in self.flags.items() if waiting]

    def check_ordered(self, pipe: int, number: int, view: View, writes: bool, where: str) -> None:
        """Fault("missing sync") if an access that conflicts with this one is not ordered before it."""
        memory, first, last = view.memory, view.first, view.last
        if first >= last or not memory.checked:  # nothing writes to an input
            return
        accesses, me, clock = memory.accesses, self.base + pipe, self.clocks[pipe]
        begin, end = accesses.between(first, last)
        stand_for_others = []
        for at in range(begin, end):
            other = accesses.records[at]
            there = other.view
            if there.last <= first:
                continue
            ordered = clock[other.pipe] >= other.number
            if (writes or other.writes) and not ordered:
                same_instruction = other.number == number and other.pipe == me
                if not same_instruction and view.overlaps(there):
                    raise Fault("missing sync", _race(other, me, view, writes), where)
            # Whoever comes to be ordered after this access is then ordered after the other as well.
            elif writes or not (other.writes or other.pipe != me):
                inside = there.first >= first and there.last <= last and view.contiguous
                if inside or there.key == view.key:
                    stand_for_others.append(at)
        for at in reversed(stand_for_others):
            accesses.remove(at)
        accesses.add(Access(me, number, view, writes, where))


def _flag_name(key: tuple) -> str:
    return f"the flag {key[2]} of {PIPES[key[0]]} to {PIPES[key[1]]}"


def _race(other: Access, me: int, view: View, writes: bool) -> str:
    def name(number: int) -> str:
        core, pipe = divmod(number, len(PIPES))
        return f"{PIPES[pipe]} of core {core}"

    did, does = ("wrote" if other.writes else "read"), ("writes" if writes else "reads")
    return (
        f"{name(me)} {does} bytes {view.first} to {view.last} of {view.memory.name}, which "
        f"{name(other.pipe)} {did} at {other.where}; no flag or barrier orders the two"
    )


class CrossCoreFlags:
    """Flags between cores, as the 910B's FFTS unit keeps them.

    A flag arrives when every core of a group has set it: all cores of a kind (INTER_BLOCK), the two vector
    cores of a block (INTER_SUBBLOCK), or, between the cube core of a block and its two vector cores, those of
    the setting side, and then it arrives at the other (INTRA_BLOCK).

    Args:
      cores: (kind, block) of each core, kind "AIC" or "AIV".
    """

    def __init__(self, cores: list[tuple[str, int]]) -> None:
        self._cores = cores
        self.arrivals = 0  # so far, of all flags
        self._set: dict[tuple, dict[int, deque[list[int]]]] = {}
        self._arrived: dict[tuple[int, int], deque[list[int]]] = defaultdict(deque)

    def set(self, core: int, flag: int, mode: str, clock: list[int]) -> None:
        kind, block = self._cores[core]
        everyone = range(len(self._cores))
        if mode.startswith("INTER_BLOCK"):
            members = receivers = [c for c in everyone if self._cores[c][0] == kind]
        elif mode.startswith("INTER_SUBBLOCK"):
            members = receivers = [c for c in everyone if self._cores[c] == (kind, block)]
        else:
            members = [c for c in everyone if self._cores[c] == (kind, block)]
            receivers = [c for c in everyone if self._cores[c][1] == block and self._cores[c][0] != kind]
        key = (mode, kind, None if mode.startswith("INTER_BLOCK") else block, flag)
        waiting = self._set.setdefault(key, {member: deque() for member in members})
        waiting[core].append(clock)
        if all(waiting.values()):
            joined = (
                list(map(max, *clocks))
                if len(clocks := [w.popleft() for w in waiting.values()]) > 1
                else clocks[0]
            )
            self.arrivals += 1
            for receiver in receivers:
                self._arrived[receiver, flag].append(joined)

    def take(self, core: int, flag: int) -> list[int] | None:
        """The clock that came with the flag, or None while it has not arrived."""
        arrived = self._arrived[core, flag]
        return arrived.popleft() if arrived else None

    def left_set(self) -> list[str]:
        left = [f"flag {flag} at core {core}" for (core, flag), arrived in self._arrived.items() if arrived]
        left += [
            f"flag {key[3]} of {key[1]}, by some of its cores"
            for key, w in self._set.items()
            if any(w.values())
        ]
        return left
