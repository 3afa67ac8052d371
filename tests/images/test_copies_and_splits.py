"""Copies are found whatever was done to them, others are not; a split keeps groups whole and classes even."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.errors import DataError
from data_pipelines.images import copies, splitting
from data_pipelines.images.augment import resized
from data_pipelines.images.decoding import decode
from tests.images.test_decoding import saved


def photo(seed: int) -> np.ndarray:
    """Smooth and detailed, as photos are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return resized(coarse, 120, 160)


def test_a_copy_is_near_whatever_its_size_and_compression():
    for seed in range(8):
        pixels = photo(seed)
        own = np.array([copies.difference_hash(pixels)], np.uint64)
        changed = [
            resized(pixels, 60, 80),
            decode(saved(pixels, "JPEG", quality=30)),
            np.clip(pixels.astype(int) + 12, 0, 255).astype(np.uint8),
            decode(saved(pixels), "L"),
        ]
        hashes = np.array([copies.difference_hash(other) for other in changed], np.uint64)
        assert len(copies.near_copies(own, hashes)) >= 3, np.bitwise_count(own ^ hashes)


def test_other_pictures_are_not():
    hashes = np.array([copies.difference_hash(photo(seed)) for seed in range(150)], np.uint64)
    assert {(a, b) for a, b in copies.near_copies(hashes, hashes).tolist()} == {(i, i) for i in range(150)}


def test_a_picture_of_one_colour_is_a_copy_of_none():
    flat = [copies.difference_hash(np.full((20, 20, 3), value, np.uint8)) for value in (0, 255)]
    assert not len(copies.near_copies(np.array(flat, np.uint64), np.array(flat, np.uint64)))


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.integers(1, 40), st.integers(1, 40))
def test_the_pairs_are_all_that_differ_in_so_few_bits(seed, bits, n, m):
    random = np.random.default_rng(seed)
    one, other = (random.integers(0, 2**64, size, np.uint64) for size in (n, m))
    for place in range(min(n, m)):  # some that are near, and some just not
        flips = random.choice(64, bits + place % 2, replace=False)
        other[place] = one[place] ^ np.uint64(sum(1 << int(bit) for bit in flips))
    found = {tuple(pair) for pair in copies.near_copies(one, other, bits).tolist()}
    plain = np.argwhere(np.bitwise_count(one[:, None] ^ other[None]) <= bits)
    detailed = lambda x: 8 <= int(x).bit_count() <= 56  # noqa: E731
    assert found == {(a, b) for a, b in plain.tolist() if detailed(one[a]) and detailed(other[b])}


GROUPS = st.lists(st.tuples(st.integers(1, 6), st.sampled_from("abc")), min_size=1, max_size=60)


@settings(max_examples=60)
@given(GROUPS, st.floats(0.02, 0.4))
def test_groups_stay_whole_and_every_class_is_on_both_sides(groups, fraction):
    keys = [f"group {number}" for number, (size, _) in enumerate(groups) for _ in range(size)]
    labels = [label for size, label in groups for _ in range(size)]
    found = splitting.held_out(keys, labels, fraction)
    sides = {key: set() for key in keys}
    for key, out in zip(keys, found, strict=True):
        sides[key].add(bool(out))
    assert all(len(side) == 1 for side in sides.values())
    for label in set(labels):
        of_class = [key for key, own in zip(keys, labels, strict=True) if own == label]
        count = sum(found[i] for i, own in enumerate(labels) if own == label)
        if len(set(of_class)) > 1:
            assert 0 < count < len(of_class)
            assert count <= max(1, round(fraction * len(of_class))) + max(Counter(of_class).values())
        else:
            assert not count


def test_the_order_changes_nothing_and_more_pictures_change_little():
    keys = [f"picture {number}" for number in range(400)]
    labels = ["cat", "dog"] * 200
    before = {k for k, out in zip(keys, splitting.held_out(keys, labels, 0.1), strict=True) if out}
    again = {
        k for k, out in zip(keys[::-1], splitting.held_out(keys[::-1], labels[::-1], 0.1), strict=True) if out
    }
    assert before == again and len(before) == 40
    more = keys + [f"new {number}" for number in range(40)]
    found = splitting.held_out(more, [*labels, *labels[:40]], 0.1)
    after = {key for key, out in zip(more, found, strict=True) if out}
    assert len(before & after) >= 35


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("val", "validation"),
        ("test-00000-of-00002.parquet", "validation"),
        ("trains", None),
        ("cat", None),
        ("train.tar", "train"),
    ],
)
def test_a_name_tells_a_side(name, side):
    assert splitting.told(name) == side


def test_a_fraction_is_one():
    with pytest.raises(DataError, match="validation_fraction 1 must be between"):
        splitting.held_out(["a"], [None], 1)
