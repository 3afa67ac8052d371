"""Which models step to a lead."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pangu_jax.apps.science import stepping
from pangu_jax.errors import UserError

PANGU = (24, 6, 3, 1)


def test_the_paper_s_example():
    assert stepping.composition(56, PANGU) == (24, 24, 6, 1, 1)
    assert [call.lead for call in stepping.calls([56], PANGU)] == [24, 48, 54, 55, 56]


@given(st.integers(1, 60), st.sets(st.integers(1, 12), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_no_other_choice_has_fewer_steps(lead, models):
    fewest = {0: 0}  # breadth first
    for count in itertools.count(1):
        new = {have + one for have in fewest for one in models if have + one <= lead} - set(fewest)
        if not new:
            break
        fewest |= dict.fromkeys(new, count)
    if lead not in fewest:
        with pytest.raises(UserError, match=f"a lead of {lead} h cannot be made"):
            stepping.composition(lead, sorted(models))
        return
    steps = stepping.composition(lead, sorted(models))
    assert sum(steps) == lead and set(steps) <= models and len(steps) == fewest[lead]


def test_states_on_the_way_are_shared():
    leads = stepping.every(6, 48, PANGU)
    calls = stepping.calls(leads, PANGU)
    assert [call.lead for call in calls] == [6, 12, 18, 24, 30, 36, 42, 48]
    assert {call.lead: call.step for call in calls}[48] == 24
    reached = {0}
    for call in calls:
        assert call.start in reached
        reached.add(call.lead)


def test_a_lead_that_cannot_be_made_names_the_nearest():
    with pytest.raises(
        UserError, match=r"25 h .* steps of 24 h and 6 h: the nearest that can is 24 h or 30 h"
    ):
        stepping.composition(25, (6, 24))
    with pytest.raises(UserError, match="a lead of 0 h"):
        stepping.composition(0, PANGU)


def test_many_steps_are_said_shortly():
    assert stepping.said((24, 24, 6)) == "24 + 24 + 6"
    assert stepping.said((24,) * 10 + (6,)) == "10 x 24 + 6"
