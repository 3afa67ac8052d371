"""What orders what: the accesses that are kept find every race that all accesses together would."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tpu_npu_backends.ascend.simulator import Fault
from tpu_npu_backends.ascend.simulator.memory import Memory, View
from tpu_npu_backends.ascend.simulator.synchronisation import CrossCoreFlags, Pipes

BYTES, PIPES = 64, (1, 4, 5)  # V, MTE2, MTE3
BYTE = np.dtype(np.uint8)

# Few places, so that accesses meet: whole, halves, every other byte, and any.
spans = st.one_of(
    st.sampled_from(((0, 64, 1), (0, 32, 1), (32, 32, 1), (0, 32, 2), (1, 32, 2))),
    st.tuples(st.integers(0, 60), st.integers(1, 16), st.sampled_from((1, 2, 3))),
)
actions = st.one_of(
    st.tuples(st.just("access"), st.sampled_from(PIPES), st.booleans(), spans),
    st.tuples(st.just("flag"), st.sampled_from(PIPES), st.sampled_from(PIPES)),
    st.tuples(st.just("barrier"), st.sampled_from(PIPES)),
    st.just(("all",)),
)


def view_of(memory: Memory, span: tuple[int, int, int]) -> View | None:
    first, length, stride = span
    length = min(length, (BYTES - 1 - first) // stride + 1)
    return View(memory, first, (length,), (stride,), BYTE, (0, BYTES), 1, False, "test")


@settings(max_examples=200)
@given(st.lists(actions, max_size=30))
def test_no_race_is_lost_by_what_is_forgotten(program):
    memory, pipes, everything = Memory("ub", np.zeros(BYTES, np.uint8)), Pipes(0, 1), []
    for kind, *rest in program:
        if kind == "flag":
            pipes.set_flag((*rest, "EVENT_ID0"), rest[0])
            pipes.wait_flag((*rest, "EVENT_ID0"), rest[1], "test")
        elif kind == "barrier":
            pipes.barrier(rest[0])
        elif kind == "all":
            pipes.barrier_all()
        else:
            pipe, writes, span = rest
            view, number = view_of(memory, span), pipes.issue(pipe)
            race = any(
                (writes or other_writes)
                and pipes.clocks[pipe][other_pipe] < other_number
                and view.overlaps(other)
                for other_pipe, other_number, other_writes, other in everything
            )
            try:
                pipes.check_ordered(pipe, number, view, writes, "test")
                found = False
            except Fault:
                found = True
            assert found == race
            if found:
                return
            everything.append((pipe, number, writes, view))


def test_a_flag_carries_what_its_setter_knew():
    pipes, memory = Pipes(0, 1), Memory("ub", np.zeros(BYTES, np.uint8))
    view = view_of(memory, (0, 16, 1))
    pipes.check_ordered(4, pipes.issue(4), view, True, "load")
    for setter, waiter in ((4, 1), (1, 5)):  # the store learns of the load by way of the vector unit
        pipes.set_flag((setter, waiter, "EVENT_ID0"), setter)
        pipes.wait_flag((setter, waiter, "EVENT_ID0"), waiter, "test")
    pipes.check_ordered(5, pipes.issue(5), view, False, "store")
    assert not pipes.left_set()


def test_flags_between_cores_arrive_when_the_group_has_set_them():
    flags = CrossCoreFlags([("AIC", 0), ("AIV", 0), ("AIV", 0), ("AIC", 1), ("AIV", 1), ("AIV", 1)])
    flags.set(1, 7, "INTRA_BLOCK_SYNCHRONIZATION", [1, 0])
    assert flags.take(0, 7) is None  # the other vector core of the block has not
    flags.set(2, 7, "INTRA_BLOCK_SYNCHRONIZATION", [0, 2])
    assert flags.take(0, 7) == [1, 2] and flags.take(3, 7) is None
    flags.set(0, 3, "INTRA_BLOCK_SYNCHRONIZATION", [5, 5])
    assert flags.take(1, 3) == flags.take(2, 3) == [5, 5]
    for core in (1, 2, 4):
        flags.set(core, 0, "INTER_BLOCK_SYNCHRONIZATION", [core, 0])
    assert flags.take(1, 0) is None and flags.left_set()
    flags.set(5, 0, "INTER_BLOCK_SYNCHRONIZATION", [0, 9])
    assert [flags.take(core, 0) for core in (1, 2, 4, 5)] == [[4, 9]] * 4
    assert not flags.left_set()
