"""The hashes against plain Python; the files of numbers; settings."""

import dataclasses
import hashlib

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.corpus import letters
from data_pipelines.corpus.dedup import Dedup, repeat_weight, tables
from data_pipelines.corpus.dedup.hashes import TextBlock
from data_pipelines.corpus.dedup.signatures import band_hashes, minhash
from data_pipelines.corpus.dedup.similarity import jaccard, shingle_sets
from data_pipelines.corpus.spans import mixed
from data_pipelines.errors import DataError

BASE = 0x9E3779B97F4A7C15
TEXTS = st.lists(st.text(st.sampled_from("天地玄黄aA1，。 \n\n𠮷é"), max_size=40), min_size=1, max_size=6)


def split_mix(value, seed):
    value = (value + (seed + 1) * BASE) % 2**64
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


def polynomial(own, seed):
    return sum(split_mix(ord(c), seed) * pow(BASE, i, 2**64) for i, c in enumerate(own)) % 2**64


@given(TEXTS, st.integers(0, 3), st.integers(1, 6))
def test_hashes_are_those_of_plain_python(texts, seed, length):
    block = TextBlock(pl.Series(texts), seed)
    shingles = block.shingles(length)
    lines = [[letters.of(line) for line in text.split("\n")] for text in texts]
    assert block.paragraphs.tolist() == [len(own) for own in lines]
    flat = [line for own in lines for line in own]
    assert block.paragraph_lengths.tolist() == [len(line) for line in flat]
    assert block.paragraph_hashes().tolist() == [polynomial(line, seed) for line in flat]
    for i, own in enumerate(map("".join, lines)):
        begin, end = block.bounds[i : i + 2].tolist()
        assert end - begin == block.lengths[i] == len(own)
        grams = {polynomial(own[j : j + length], seed) for j in range(len(own) - length + 1)}
        if grams:
            assert set(shingles[begin:end].tolist()) == grams
        raw = own.encode("utf-32-le")
        digest = hashlib.blake2b(raw, digest_size=16) if own else None
        digest = digest or hashlib.blake2b(texts[i].encode(), digest_size=16, person=b"text")
        assert block.digests()[i].tobytes() == digest.digest()


def test_hashes_never_change():
    """What is on disk must mean the same to another machine: these values are on file."""
    block = TextBlock(pl.Series(["天地玄黄，宇宙洪荒。\nNumber 42", "日月盈昃"]), 7)
    assert block.paragraph_hashes().tolist() == [
        0x154E99C13FCC92A6,
        0x50E49F16076AAFF1,
        0x955EE0B02AF925A4,
    ]
    assert block.shingles(5)[:2].tolist() == [0xDB92B98DFCBE9A05, 0xDA95A763ECEFF136]
    assert [digest.tobytes().hex() for digest in block.digests()] == [
        "10e505fdd5dc089c33bb986e023c7163",
        "7780af8a0d49d917bbaa428444f689b4",
    ]


def test_hashes_do_not_depend_on_what_stands_before():
    """Neither on the place nor on the size of the tables of powers, which grow at 2^16 letters."""
    text = "天地玄黄宇宙洪荒" * 20 + "\n日月盈昃"
    alone, behind = TextBlock(pl.Series([text]), 0), TextBlock(pl.Series(["寒来暑往" * 20_000, text]), 0)
    np.testing.assert_array_equal(behind.paragraph_hashes()[-2:], alone.paragraph_hashes())
    np.testing.assert_array_equal(behind.shingles(5)[-164:], alone.shingles(5))


def test_jaccard_is_that_of_sets():
    random = np.random.default_rng(0)
    texts = ["".join(random.choice(list("天地玄黄"), 300)) for _ in range(20)]
    settings = Dedup(shingle=4)
    a, b = np.triu_indices(20, 1)
    sets = [{text[i : i + 4] for i in range(297)} for text in texts]
    expected = [len(sets[i] & sets[j]) / len(sets[i] | sets[j]) for i, j in zip(a, b, strict=True)]
    np.testing.assert_array_equal(jaccard(shingle_sets(pl.Series(texts), settings), a, b), expected)


@pytest.mark.parametrize("size", [20, 300, 5000])
def test_candidates_follow_the_curve(size):
    """Random sets of a known similarity: the chance to share a band is 1 - (1 - s^rows)^bands."""
    settings, pairs = Dedup(), 600 if size > 1000 else 3000
    random = np.random.default_rng(size)
    for wanted in (0.5, 0.6, 0.7, 0.8, 0.9):
        shared = round(2 * size * wanted / (1 + wanted))
        block = TextBlock(pl.Series(["x"]), 0)
        hashes = random.integers(0, 2**64, (pairs, 2 * size - shared), dtype=np.uint64)
        both = np.stack([hashes[:, :size], hashes[:, size - shared :]], 1)
        block.bounds = np.arange(0, both.size + 1, size)
        block.shingles = lambda _, both=both: both.reshape(-1)
        bands = band_hashes(minhash(block, settings), settings).reshape(pairs, 2, settings.bands)
        found = (bands[:, 0] == bands[:, 1]).any(1).mean()
        assert abs(found - settings.recall(shared / (2 * size - shared))) < 0.03


def test_band_hashes_differ_by_band():
    settings = Dedup()
    hashes = band_hashes(np.ones((1, 120), np.uint32), settings)
    assert len(np.unique(hashes)) == settings.bands


@pytest.mark.parametrize("parts", [1, 7, 70_000])
def test_tables_are_read_by_part(tmp_path, parts):
    keys = mixed(np.arange(5000, dtype=np.uint64))
    part = tables.part_of(keys, parts)
    rows = np.arange(5000, dtype=np.uint32)
    tables.write(tmp_path / "a.arrow", {"key": keys, "row": rows}, part, parts, of=3)
    assert tables.parts(tmp_path / "a.arrow") == parts and tables.chunk(tmp_path / "a.arrow") == 3
    for one in {0, parts // 2, parts - 1}:
        got = tables.read(tmp_path / "a.arrow", one)
        assert got["row"].tolist() == np.flatnonzero(part == one).tolist()
        assert got["key"].tolist() == keys[part == one].tolist()


def test_repeated_keys_are_found(tmp_path):
    random = np.random.default_rng(1)
    paths = [tmp_path / f"{i}.arrow" for i in range(3)]
    files = [random.integers(0, 50, 30).astype(np.uint64) << np.uint64(32) for _ in paths]
    for number, (path, keys) in enumerate(zip(paths, files, strict=True)):
        rows = np.arange(30, dtype=np.uint32)
        tables.write(path, {"key": keys, "row": rows}, tables.part_of(keys, 2), 2, of=number)
    values, counts = np.unique(np.concatenate(files), return_counts=True)
    expected = values[counts > 1]
    expected = expected[tables.part_of(expected, 2) == 0]
    repeated = tables.repeated(paths, 0, "key")
    assert repeated.tolist() == expected.tolist() and len(expected) > 5
    got = tables.select(paths[2], 0, "key", repeated)
    wanted = np.flatnonzero(np.isin(files[2], expected))
    assert got["document"].tolist() == [2 << 32 | int(row) for row in wanted]
    assert repeated[got["group"]].tolist() == files[2][wanted].tolist()
    assert len(tables.select(paths[2], 0, "key", repeated[:0])["document"]) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bands", 0), ("rows", 0), ("shingle", 0), ("threshold", 0.0), ("threshold", 1.1), ("hot_bucket", 1),
        ("min_paragraph_characters", -1), ("seed", -1), ("part_bytes", 0),
    ],
)  # fmt: skip
def test_settings_out_of_range(name, value):
    with pytest.raises(DataError, match=rf"Dedup\.{name} is {value}: it must be") as error:
        dataclasses.replace(Dedup(), **{name: value})
    assert "\n" not in str(error.value)


def test_parts_grow_with_the_corpus():
    settings = Dedup(part_bytes=10**6)
    assert settings.parts(0, 0) == 1
    assert settings.parts(10**5, 10**6) == 32
    assert settings.parts(4 * 10**5, 4 * 10**6) == 128
    assert settings.parts(10, 10**9) == 267


def test_repeat_weight():
    sizes = np.array([1, 2, 3, 4, 5, 99, 100, 999, 1000, 10**6])
    assert repeat_weight(sizes).tolist() == [1, 2, 3, 3, 5, 5, 8, 8, 1, 1]
    assert repeat_weight(np.array([1, 9]), sizes=(1, 9), weights=(0.5, 2)).tolist() == [0.5, 2]
    for wrong in (
        {"sizes": (2, 3), "weights": (1, 1)},
        {"sizes": (1, 1), "weights": (1, 1)},
        {"sizes": (1,)},
    ):
        with pytest.raises(DataError, match=r"repeat_weight: sizes .* must ascend from 1"):
            repeat_weight(sizes, **wrong)
