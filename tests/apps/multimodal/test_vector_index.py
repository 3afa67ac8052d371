"""The nearest vectors are those of brute force, copies and all, and come back from the disk."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pangu_jax.apps.multimodal import vector_index
from pangu_jax.apps.multimodal.vector_index import VectorIndex, unit
from pangu_jax.errors import UserError

pytest.importorskip("faiss")


def _by_definition(vectors, queries, count):
    cosine = unit(queries).astype(np.float64) @ unit(vectors).astype(np.float64).T
    return np.stack([np.lexsort((np.arange(len(row)), -row.round(12)))[:count] for row in cosine])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 700), st.integers(1, 300), st.sampled_from([1, 17]), st.integers(0, 2**32 - 1))
def test_the_exact_kind_is_brute_force(count, wanted, queries, seed):
    """Vectors of few values: many are copies of each other, or nearly equal by their codes."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-1, 2, (count, 5)).astype(np.float32)
    vectors[:, -1] = 1
    asked = rng.integers(-1, 2, (queries, 5)).astype(np.float32) + 0.5
    found = VectorIndex.build(vectors).search(asked, wanted)
    expected = _by_definition(vectors, asked, wanted)
    assert found.number_QxK.shape == (queries, min(count, wanted))
    cosine = (unit(asked).astype(np.float64) @ unit(vectors).T.astype(np.float64)).round(6)
    for row in range(queries):  # equal cosines of unlike vectors differ in the last place
        assert cosine[row, found.number_QxK[row]].tolist() == cosine[row, expected[row]].tolist()
        assert len(set(found.number_QxK[row].tolist())) == min(count, wanted)
    assert np.abs(found.cosine_QxK - np.take_along_axis(cosine, found.number_QxK, 1)).max() < 2e-6


def test_codes_settle_it_and_where_they_cannot_all_are_compared(monkeypatch):
    compared = []
    compare = vector_index.compare_all
    monkeypatch.setattr(vector_index, "compare_all", lambda *a: compared.append(1) or compare(*a))
    rng = np.random.default_rng(0)
    vectors, asked = unit(rng.standard_normal((3000, 64))), rng.standard_normal((8, 64)).astype(np.float32)
    index = VectorIndex.build(vectors)
    assert (index.search(asked, 5).number_QxK == _by_definition(vectors, asked, 5)).all() and not compared
    near = unit(vectors[:1] + 1e-4 * rng.standard_normal((3000, 64)))
    near = np.concatenate([near, -vectors[:200]])  # which make the codes coarser than near ones are apart
    index = VectorIndex.build(near)
    assert (
        index.search(vectors[:3], 5).number_QxK == _by_definition(near, vectors[:3], 5)
    ).all() and compared
    same = VectorIndex.build(np.repeat(vectors[:1], 3000, 0)).search(asked[:1], 4)
    assert same.number_QxK.tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("kind", vector_index.KINDS)
def test_it_comes_back_from_the_disk(kind, tmp_path):
    rng = np.random.default_rng(1)
    vectors, asked = rng.standard_normal((2000, 16)), rng.standard_normal((3, 16))
    index = VectorIndex.build(vectors, kind)
    index.save(tmp_path)
    again = VectorIndex.load(tmp_path, kind, index.error)
    for one, other in zip(index.search(asked, 4), again.search(asked, 4), strict=True):
        assert (one == other).all()
    found = again.search(vectors[:100], 1).number_QxK[:, 0]
    assert np.mean(found == np.arange(100)) >= 0.99
    np.save(tmp_path / "vectors.npy", np.zeros((4, 16), np.float32))
    with pytest.raises(ValueError, match="2000 x 16"):
        VectorIndex.load(tmp_path, kind, index.error)


def test_what_has_no_direction_and_no_such_kind_are_refused():
    assert VectorIndex.build(np.zeros((0, 4), np.float32)).search(np.ones((2, 4)), 3).number_QxK.shape == (
        2,
        0,
    )
    with pytest.raises(ValueError, match="no direction"):
        VectorIndex.build(np.zeros((2, 4)))
    with pytest.raises(UserError, match="exact or approximate"):
        VectorIndex.build(np.ones((2, 4)), "exakt")
