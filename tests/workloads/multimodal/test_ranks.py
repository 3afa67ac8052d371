"""Ranks, recall and median rank: by their definition, whatever the order, and never kind to a constant."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pangu_jax.workloads.multimodal import ranks


@st.composite
def _asked(draw):
    """Vectors of few values, so that ties are common and sums exact; several right candidates a query."""
    queries, candidates = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    query, candidate = (rng.integers(-1, 2, (n, 3)).astype(np.float32) for n in (queries, candidates))
    pairs = st.tuples(st.integers(0, queries - 1), st.integers(0, candidates - 1))
    return query, candidate, np.array(draw(st.lists(pairs, max_size=20)), np.int32).reshape(-1, 2)


@settings(max_examples=60, deadline=None)
@given(_asked(), st.integers(1, 40))
def test_a_rank_is_one_more_than_the_wrong_ones_that_are_not_worse(asked, block):
    query, candidate, links = asked
    expected = []
    for number, own in enumerate(query):
        right = {int(j) for i, j in links if i == number}
        best = max((own @ candidate[j] for j in right), default=None)
        ahead = [
            j
            for j, other in enumerate(candidate)
            if j not in right and best is not None and own @ other >= best
        ]
        expected.append(1 + len(ahead) if right else 0)
    before, ranks.BLOCK = ranks.BLOCK, block  # a few queries at a time
    try:
        found = ranks.ranks(query, candidate, links)
    finally:
        ranks.BLOCK = before
    assert found.tolist() == expected
    weights = np.arange(len(query)) % 3
    repeated = np.repeat(found, weights)
    repeated = repeated[repeated > 0]
    for k in (1, 3):
        assert ranks.recall(found, k, weights) == pytest.approx(
            100 * np.mean(repeated <= k) if len(repeated) else np.nan, nan_ok=True
        )
    median = np.median(repeated) if len(repeated) else np.nan
    assert ranks.median_rank(found, weights) == pytest.approx(median, nan_ok=True)


@settings(max_examples=30, deadline=None)
@given(_asked(), st.randoms(use_true_random=False))
def test_the_order_of_candidates_and_links_changes_nothing(asked, random):
    query, candidate, links = asked
    order = list(range(len(candidate)))
    random.shuffle(order)
    place = np.argsort(order)
    moved = np.stack([links[:, 0], place[links[:, 1]]], 1)[::-1] if len(links) else links
    assert (ranks.ranks(query, candidate[order], moved) == ranks.ranks(query, candidate, links)).all()


@pytest.mark.parametrize("candidates", [10, 333, 1031])
@pytest.mark.parametrize("value", ["constant", "nan"])
def test_a_constant_model_comes_last_and_a_perfect_one_first(candidates, value):
    """Of real vectors, whose equal products differ by rounding; the right one is in every place."""
    rng = np.random.default_rng(0)
    one = rng.standard_normal((1, 97)).astype(np.float32)
    one /= np.linalg.norm(one)
    same = np.repeat(one if value == "constant" else one * np.nan, candidates, axis=0)
    same = same + rng.uniform(-1e-7, 1e-7, same.shape).astype(np.float32)
    links = np.stack([np.arange(candidates)] * 2, 1)
    links = np.concatenate([links, (links + np.array([0, 1])) % candidates])  # two right ones each
    by_way = ranks.ranks_both_ways(same, same, links)
    assert all((found == candidates - 1).all() for found in by_way.values())
    values = ranks.measured(by_way)
    for k in (1, 5):
        assert set(values[f"recall_at_{k}"].values()) == {0.0}
        assert ranks.chance(links, candidates, k) > 0
    unlike = rng.standard_normal((candidates, 97)).astype(np.float32)
    unlike /= np.linalg.norm(unlike, axis=1, keepdims=True)
    values = ranks.measured(ranks.ranks_both_ways(unlike, unlike, links))
    assert values["recall_at_1"] == dict.fromkeys(ranks.WAYS, 100.0)
    assert values["median_rank"] == dict.fromkeys(ranks.WAYS, 1.0)


def test_chance_is_the_mean_over_random_orders():
    rng, links = np.random.default_rng(0), np.array([[0, 0], [0, 1], [1, 2], [2, 0], [2, 1], [2, 3]])
    found = [
        ranks.recall(ranks.ranks(np.eye(3, dtype=np.float32), rng.random((6, 3), np.float32), links), 2)
        for _ in range(2000)
    ]
    assert ranks.chance(links, 6, 2) == pytest.approx(np.mean(found), abs=2)
    assert ranks.chance(links, 6, 6) == 100


def test_a_link_to_nothing_is_refused():
    vectors = np.eye(3, dtype=np.float32)
    for link in ([0, 3], [3, 0], [-1, 0]):
        with pytest.raises(ValueError, match="3 queries"):
            ranks.ranks(vectors, vectors, np.array([link]))
