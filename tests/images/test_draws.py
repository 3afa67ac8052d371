"""Few labels: shares per class, nested, the same everywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.errors import DataError
from data_pipelines.images.draws import drawn

LABELS = st.lists(st.integers(-1, 3), min_size=8, max_size=60).map(np.array)


@given(LABELS, st.floats(0.01, 1), st.integers(0, 9))
def test_every_class_gives_its_share_and_a_smaller_share_is_part_of_a_larger(labels, share, draw):
    places = np.arange(1, len(labels))
    known = np.unique(labels[1:][labels[1:] >= 0])
    if len(known) < 2:
        with pytest.raises(DataError, match=r"of one class|no picture has a label"):
            drawn(labels, places, share, draw)
        return
    found = drawn(labels, places, share, draw)
    for label in known:
        own = (labels[1:] == label).sum()
        assert (labels[found] == label).sum() == max(1, round(share * own))
    assert 0 not in found and (np.diff(found) > 0).all() and (labels[found] >= 0).all()
    assert set(found) <= set(drawn(labels, places, 1.0, draw))
    assert set(drawn(labels, places, share / 2, draw)) <= set(found)


def test_a_draw_is_the_same_on_every_machine_and_another_one_is_another():
    labels = np.arange(200) % 2
    assert drawn(labels, np.arange(200), 0.02, 0).tolist() == [14, 15, 100, 111]
    assert drawn(labels, np.arange(200), 0.02, 1).tolist() != [14, 15, 100, 111]


@pytest.mark.parametrize("share", [0, 1.5])
def test_a_share_that_cannot_be(share):
    with pytest.raises(DataError, match="share of labels"):
        drawn(np.arange(9) % 2, np.arange(9), share, 0)
