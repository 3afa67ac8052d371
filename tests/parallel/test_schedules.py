"""Schedules as integers: every chunk once, after what it needs, and no more inputs under way than stashed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pangu_jax.parallel.schedules import OneForwardOneBackward, RingSchedule

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))


def chunks(schedule, slot_of):
    """(microbatch, round, stage) -> tick, over all valid slots."""
    found = {}
    for tick in range(schedule.ticks):
        for stage in range(schedule.stages):
            slot = slot_of(tick, stage)
            assert 0 <= slot.microbatch < schedule.microbatches
            assert 0 <= slot.round < schedule.rounds
            if slot.valid:
                key = slot.microbatch, slot.round, stage
                assert key not in found
                found[key] = tick
    assert len(found) == schedule.microbatches * schedule.rounds * schedule.stages
    return found


def order(schedule, microbatch):
    """A microbatch's chunks from first to last."""
    return [(microbatch, r, s) for r in range(schedule.rounds) for s in range(schedule.stages)]


@given(SHAPES)
def test_forward_passes_arrive_when_they_are_needed(shape):
    stages, groups, rounds = shape
    ring = RingSchedule(stages, groups * stages, rounds)
    ticks = chunks(ring, ring.forward)
    for microbatch in range(ring.microbatches):
        path = [ticks[chunk] for chunk in order(ring, microbatch)]
        assert path == list(range(path[0], path[0] + len(path)))  # one tick per hop, without waiting
    assert all(tick == ring.forward_tick(*chunk) for chunk, tick in ticks.items())
    assert ring.ticks == ring.microbatches * rounds + stages - 1
    work = len(ticks) / (ring.ticks * stages)
    assert ring.bubble == pytest.approx(1 - work)


@given(SHAPES)
def test_backward_passes_follow_the_same_way_back(shape):
    stages, groups, rounds = shape
    plan = OneForwardOneBackward(stages, groups * stages, rounds)
    forward, backward = chunks(plan, plan.forward), chunks(plan, plan.backward)
    for microbatch in range(plan.microbatches):
        path = order(plan, microbatch)
        back = [backward[chunk] for chunk in reversed(path)]
        assert back[0] == forward[path[-1]]  # in the tick that finishes it
        assert back == list(range(back[0], back[0] + len(back)))
    assert max(backward.values()) == plan.ticks - 1


@given(SHAPES)
def test_the_stash_is_as_large_as_it_must_be(shape):
    stages, groups, rounds = shape
    plan = OneForwardOneBackward(stages, groups * stages, rounds)
    forward, backward = chunks(plan, plan.forward), chunks(plan, plan.backward)
    longest = max(backward[chunk] - forward[chunk] for chunk in forward)
    assert longest == plan.stash - 1


def test_groups_must_be_full():
    with pytest.raises(ValueError, match="6 microbatches do not divide into groups of 4"):
        RingSchedule(4, 6)
