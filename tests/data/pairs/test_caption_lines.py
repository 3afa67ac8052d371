"""Lines of captions come back whatever is in them; a name finds its picture and never another."""

import csv
import io
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_pipelines.errors import DataError
from data_pipelines.pairs.caption_lines import parsed, text_of
from data_pipelines.pairs.names import PictureNames

STEMS = st.text("abc猫_-. 1", min_size=1, max_size=8).map(str.strip).filter(lambda one: one.strip("."))
TEXTS = st.text("一只狗 ，。,.#\"'|1a", max_size=12).map(str.strip)


def of(content):
    return [None if line is None else tuple(line) for line in parsed(content)]


@settings(max_examples=60)
@given(st.lists(st.tuples(STEMS, TEXTS), min_size=1, max_size=4), st.sampled_from(["#0", "#zhc#3", ""]))
def test_lines_come_back(pairs, mark):
    for between in ("\t", " "):
        lines = "\n".join(f"{stem}.jpg{mark}{between}{text}" for stem, text in pairs)
        # What a line begins with, and no other separator, is taken off the text.
        assert of(lines) == [(f"{stem}.jpg", text.lstrip(" ,\t")) for stem, text in pairs]


@settings(max_examples=60)
@given(st.lists(st.tuples(STEMS, TEXTS), min_size=1, max_size=4), st.sampled_from(",\t|"))
def test_rows_of_a_table_come_back(pairs, delimiter):
    to = io.StringIO()
    rows = csv.writer(to, delimiter=delimiter)
    rows.writerow(["comment_number", "caption", "image"])
    rows.writerows([[0, text, f"{stem}.jpg"] for stem, text in pairs])
    assert of(to.getvalue()) == [(f"{stem}.jpg", text) for stem, text in pairs]


@settings(max_examples=60)
@given(st.text(max_size=60))
@example('image,caption\n"a')
@example("\t\n#\t#\n.jpg")
def test_no_text_breaks_it(content):
    try:
        lines = of(content)
    except DataError:
        return
    assert all(line is None or line[0] for line in lines)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1.jpg#zhc#0 穿着连衣裙的小女孩。", ("1.jpg", "穿着连衣裙的小女孩。")),
        ("my photo.JPG 一只狗", ("my photo.JPG", "一只狗")),
        ("a.jpg.png\t狗", ("a.jpg.png", "狗")),
        ("1000_a#2\t狗 .", ("1000_a", "狗 .")),
        ("cats/1.jpg,一只,猫", ("cats/1.jpg", "一只,猫")),
        ("1.jpg", ("1.jpg", "")),
        ("没有图片", None),
    ],
)
def test_forms_of_a_line(line, expected):
    assert of(line) == [expected]


def test_bytes_in_other_encodings():
    skipped = Counter()
    for encoding in ("utf-8-sig", "utf-16", "gb18030"):
        assert text_of(("一只狗在草地上跑，" * 3).encode(encoding), skipped) == "一只狗在草地上跑，" * 3
    assert text_of(bytes(range(256)), skipped) is None and not skipped
    assert "�" in text_of("狗在草地上跑".encode() * 40 + b"\xff", skipped) and sum(skipped.values()) == 1


NAMES = st.lists(st.text("ab", min_size=1, max_size=2), min_size=1, max_size=3).map("/".join)


@settings(max_examples=60)
@given(st.sets(NAMES.map(lambda name: f"{name}.jpg"), min_size=1, max_size=6), NAMES)
def test_a_name_finds_those_it_ends_or_that_end_it_alone(names, called):
    found = PictureNames(names)
    for name in names:
        assert found.of(name) == [name] == found.of(f"images/{name}")[:1]
        assert name in found.of(name.removesuffix(".jpg"))
        assert found.of(name.replace(".jpg", ".png")) == []
    for name in found.of(called):
        end = f"/{name.removesuffix('.jpg')}"
        assert end.endswith(f"/{called}") or f"/{called}".endswith(end)
