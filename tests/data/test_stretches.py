"""Samples and held-out stretches: of every document, at sentence ends, nothing twice and nothing lost."""

import itertools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data_pipelines.errors import DataError
from data_pipelines.text import documents, lines, stretches
from data_pipelines.text.documents import Document

ANY = st.text(st.characters(codec="utf-8"), max_size=60)
TEXTS = st.lists(st.text("一二三ab。！”\n .", min_size=1, max_size=90), min_size=1, max_size=12)


def book(name: str, first: int, characters: int) -> Document:
    """Made of 50 characters of its own, drawn, in sentences of 20."""
    codes = np.random.default_rng(first).integers(first, first + 50, characters)
    codes[20::21] = ord("。")
    return Document(name, codes.astype("<u4").tobytes().decode("utf-32-le"))


SHAPES = {
    "a book": [book("a", 0x4E00, 120_000)],
    "three books": [book(name, 0x4E00 + 99 * i, 150_000) for i, name in enumerate("abc")],
    "ten novels": [book(str(i), 0x4E00 + 99 * i, 40_000) for i in range(10)],
    "a long one among forty": [book(str(i), 0x4E00 + 99 * i, 3_000 if i else 400_000) for i in range(41)],
    "without ends of sentences": [
        Document(str(i), book("", 0x4E00 + 99 * i, 60_000).text.replace("。", "")) for i in range(6)
    ],
    "very many": [book(str(i), 0x4E00 + i, 60 + i % 90) for i in range(5_000)],
}


@given(ANY, st.integers(4, 40))
@example("𠀀𠀀𠀀", 5)
@example("abc. def, ghi jkl", 9)
def test_a_long_line_is_cut_between_characters(text, longest):
    parts = [*lines.within(text, longest)]
    assert "".join(parts) == text
    assert all(0 < len(part.encode()) <= longest for part in parts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aa. bb. cc", ["aa. bb. ", "cc"]),
        ("一二，三", ["一二，", "三"]),
        ("aaaa bbbbb", ["aaaa ", "bbbbb"]),
        ("aaaaaaaaaa", ["aaaaaaaaa", "a"]),
        ("a b ccccccccc", ["a b ccccc", "cccc"]),  # a pause in its first half does not shorten a part
    ],
)
def test_a_long_line_is_cut_where_it_pauses(text, expected):
    assert [*lines.within(text, 9)] == expected


@given(ANY)
@example("！！！他说：“好。”（完）\n\n。")
def test_sentences_leave_out_newlines_alone(text):
    assert "".join(lines.sentences(text)) == text.replace("\n", "")


@given(TEXTS, st.integers(1, 300), st.integers(2, 20))
def test_stretches_lie_in_order_and_within_their_documents(texts, characters, length):
    quotas = stretches.quotas([len(text) for text in texts], characters)
    assert quotas.sum() == pytest.approx(min(characters, sum(map(len, texts))))
    found = [*stretches.spread(texts, quotas, length)]
    assert found == sorted(found)
    for one in found:
        assert 0 <= one.begin < one.end <= len(texts[one.document])
    for one, other in itertools.pairwise(found):
        assert one.document < other.document or one.end <= other.begin


@pytest.mark.parametrize("shape", SHAPES)
def test_a_sample_is_of_all_documents_and_as_large_as_asked(shape):
    docs, asked = SHAPES[shape], 50_000
    sample = documents.sample(docs, asked)
    seen = defaultdict(int)
    for document, begin, end in sample:
        seen[document] += end - begin
    assert sum(seen.values()) == pytest.approx(asked, rel=0.12)
    if shape == "very many":  # each in its turn, whole
        turns = np.diff(sorted(seen))
        assert turns.max() <= 2 * np.ceil(sum(len(d.text) for d in docs) / asked)
        return
    assert len(seen) == len(docs)
    of_each = [seen[i] / min(len(d.text), asked / 2 / len(docs)) for i, d in enumerate(docs)]
    assert min(of_each) > 0.7
    assert len([s for s in sample if len(docs[s.document].text) > 10_000]) > 20  # not in one place


def test_a_text_shorter_than_the_sample_is_seen_whole():
    docs = SHAPES["ten novels"]
    assert "".join(documents.lines_of(docs, documents.sample(docs, 10**9))) == "".join(d.text for d in docs)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fraction", [0.02, 0.2])
def test_a_fraction_of_the_text_is_held_out_of_whatever_documents(shape, fraction):
    docs = SHAPES[shape]
    parts = documents.split(docs, fraction)
    counts = parts.counts()
    held_out, total = counts["characters"]["validation"], sum(len(d.text) for d in docs)
    assert counts["characters"]["train"] + held_out == total
    assert fraction / 2 < held_out / total < 2 * fraction
    assert counts["different"] == len(docs)
    if counts["stretches"]:  # long documents give of what they have, and are trained on
        assert {d.part_of for d in parts.train} >= {d.id for d in docs if len(d.text) > 8_000}
        assert len(parts.validation) >= 8
        assert {d.part_of for d in parts.validation} >= {d.id for d in docs if len(d.text) > total / 8}
    assert bool(counts["stretches"]) == (shape != "very many")
    whole = "\n".join(d.text for d in parts.train)
    assert not [d.id for d in parts.validation if d.text in whole]


@given(TEXTS, st.sampled_from([0.02, 0.1, 0.5]))
def test_every_character_is_on_one_side(texts, fraction):
    docs = [Document(f"{i}@", f"{i}{text}{i}" * 9) for i, text in enumerate(texts)]
    try:
        parts = documents.split(docs, fraction)
    except DataError:
        assert len({d.digest() for d in docs}) == 1
        return
    of = defaultdict(list)
    for part in (*parts.train, *parts.validation):
        begin = int(part.id.rpartition("@")[2].split("-")[0]) if part.id != part.part_of else 0
        of[part.part_of].append((begin, part.text))
    by_id = {d.id: d.text for d in docs}
    for name, own in of.items():
        assert "".join("".join(text for _, text in sorted(own)).split()) == "".join(by_id[name].split())
    assert len(of) + parts.duplicates == len(docs) and parts.train and parts.validation


@pytest.mark.parametrize(("count", "most"), [(2, 1), (3, 1), (10, 1), (16, 2), (40, 4)])
def test_of_a_few_tiny_documents_a_tenth_is_held_out(count, most):
    parts = documents.split([Document(str(i), f"第{i}本") for i in range(count)], 0.02)
    assert 1 <= len(parts.validation) <= most


def test_what_a_built_corpus_held_out_is_held_out_in_whole():
    docs = SHAPES["ten novels"]
    places = {d.id: int(d.digest(), 16) / 16**32 for d in docs}
    lowest = sorted(places.values())[1]
    parts = documents.split(docs, 0.3, held_out_below=lowest + 1e-9)
    out = {name for name, place in places.items() if place <= lowest}
    assert out <= {d.id for d in parts.validation} and not out & {d.part_of for d in parts.train}
    assert len(parts.counts()["documents"]) == 2 and parts.counts()["characters"]["validation"] < 200_000


@pytest.mark.parametrize("texts", [[], ["。"], ["太短了。"], ["一样", "一样！"]])
def test_nothing_to_hold_out_is_one_line(texts):
    with pytest.raises(DataError, match=r"distinct document\(s\).*corpus\.documents") as error:
        documents.split([Document(str(i), text) for i, text in enumerate(texts)], 0.02)
    assert "\n" not in str(error.value)
