"""Text in the encodings that Chinese text comes in."""

import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.corpus.reading import encodings
from tests.corpus.reading_files import json_lines, read

SIMPLE = "今天天气很好，我们一起去公园散步，看见许多盛开的花朵。"
TRADITIONAL = "今天天氣很好，我們一起去公園散步，看見許多盛開的花朵。"
RARE = "镕㛃𠮷€"  # not in GB2312
ENCODED = {
    "utf-8": SIMPLE,
    "utf-8-sig": SIMPLE,
    "gb18030": SIMPLE + RARE,
    "gbk": TRADITIONAL,
    "big5": TRADITIONAL,
    "utf-16": SIMPLE,
}


@pytest.mark.parametrize("encoding", ENCODED)
@pytest.mark.parametrize("unit", ["file", "paragraph", "line"])
def test_every_encoding_in_every_kind(tmp_path, encoding, unit):
    text = ENCODED[encoding]
    contents = {
        "a.txt": f"{text}\n",
        "b.csv": f"text\n{text}\n",
        "c.html": f"<nav>x</nav><p>{text}",
        "d.jsonl": json_lines({"text": text}, {"text": "ASCII"}, {"text": text + "|}{\\"}).decode(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content.encode(encoding))
    documents, _, quarantine = read(tmp_path, unit=unit, unit_bytes=100)
    assert list(documents.values()) == [text, text, text, text, "ASCII", text + "|}{\\"]
    assert not quarantine.counts and not quarantine.noted.total()


def test_bad_bytes_are_counted(tmp_path):
    good = SIMPLE * 10
    (tmp_path / "a.txt").write_bytes(good.encode() + b"\xff\xfe" + good.encode())
    (tmp_path / "b.txt").write_bytes(good.encode("gb18030") + b"\xff" + good.encode("gb18030"))
    (tmp_path / "c.jsonl").write_bytes(b'{"text": "' + good.encode() + b"\xff" + b'"}\n')
    (tmp_path / "d.txt").write_bytes((SIMPLE.encode()[:5] + b"\xff") * 20)  # beyond repair
    documents, _, quarantine = read(tmp_path)
    assert [text.replace("�", "") for text in documents.values()] == [good * 2, good * 2, good]
    assert quarantine.noted["bad bytes"] == 2 + 1 + 1
    assert quarantine.counts == {"not text": 1}


def test_lines_of_different_encodings(tmp_path):
    lines = [SIMPLE.encode(), SIMPLE.encode("gb18030"), TRADITIONAL.encode("big5"), b"ASCII"]
    (tmp_path / "a.txt").write_bytes(b"\n".join(lines))
    (tmp_path / "b.jsonl").write_bytes(b"\n".join(b'{"text": "' + line + b'"}' for line in lines))
    assert list(read(tmp_path, unit="line")[0].values()) == [SIMPLE, SIMPLE, TRADITIONAL, "ASCII"] * 2


def test_what_the_page_says(tmp_path):
    short = "汉字"
    pages = {
        "a.html": f'<html><head><META CHARSET="GB2312"></head><nav>x</nav>{short}'.encode("gbk"),
        "b.html": b'<meta http-equiv=Content-Type content="text/html; charset=big5"><nav>x</nav>'
        + "漢字".encode("big5"),
        "c.html": b"<meta charset=gbk><nav>x</nav>" + short.encode(),  # it is UTF-8 all the same
        "d.html": b"<meta charset=base64><nav>x</nav>" + SIMPLE.encode("gbk"),
        "e.html": b"<nav>x</nav>" + short.encode("gbk"),
    }
    for name, page in pages.items():
        (tmp_path / name).write_bytes(page)
    assert list(read(tmp_path)[0].values()) == [short, "漢字", short, SIMPLE, short]


def test_a_mark_of_utf_16_is_not_enough():
    assert encodings.decode(codecs.BOM_UTF16_LE + b"\x00\xd8" * 100, 0.02) is None


@given(st.binary(max_size=300))
def test_any_bytes(data):
    found = encodings.decode(data, 0.02)
    assert found is None or (found[0].encode() is not None and found[0].count("�") >= found[1])
    block, _ = encodings.to_utf8(data, 0.02)
    assert block.decode().count("\n") == data.count(b"\n")


EURO = "價格以歐元計算，共計€一百。為了保護環境，改善生態，制定本辦法。"


@pytest.mark.parametrize("declared", [None, "big5", "iso-8859-1", "utf-8"])
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (EURO.replace("€", "").encode("big5") + b"\xa3\xe1", EURO.replace("€", "") + "€"),
        (("香港嘅" + TRADITIONAL).encode("big5hkscs") + b"\xa3\xe1", "香港嘅" + TRADITIONAL + "€"),
        ((SIMPLE * 3).encode("gbk") + b"\x80", SIMPLE * 3 + "€"),
        ((TRADITIONAL * 9).encode("big5") + b"\xff", TRADITIONAL * 9 + "�"),
        (b"\xff" + (SIMPLE * 9).encode("gbk"), "�" + SIMPLE * 9),
        (("\ue000" + SIMPLE * 9).encode("gb18030"), "\ue000" + SIMPLE * 9),
    ],
)
def test_few_odd_bytes_do_not_change_the_encoding(data, text, declared):
    assert encodings.decode(data, 0.02, declared) == (text, text.count("�"))


def test_an_encoding_that_takes_any_bytes_comes_last():
    french = "Où est-il né, l’été dernier ? À côté de la forêt, près d’ici."
    assert encodings.decode(french.encode("cp1252"), 0.02, "iso-8859-1") == (french, 0)
    page = b"<meta charset=iso-8859-1>" + SIMPLE.encode("gbk")
    assert encodings.decode(page, 0.02, "windows-1252") == ("<meta charset=iso-8859-1>" + SIMPLE, 0)
    korean = "한국어로 쓰여진 글은 한국어로 읽어야 한다. 나는 오늘 학교에 갔다."
    assert encodings.decode(korean.encode("euc_kr"), 0.02, "euc-kr") == (korean, 0)
    russian = "Все счастливые семьи похожи друг на друга, каждая несчастлива по-своему."
    assert encodings.decode(russian.encode("cp1251"), 0.02, "windows-1251") == (russian, 0)
    # A wrong declaration, of an encoding that takes these bytes too.
    assert encodings.decode((SIMPLE * 2).encode("gbk"), 0.02, "big5") == (SIMPLE * 2, 0)
    # UTF-8 beyond repair is nothing else.
    assert encodings.decode((SIMPLE.encode()[:-2] + b"\xff" * 14) * 9, 0.02) is None


FREQUENT = "的是不了在人有我他中上大和地到要就出也生能而子得自之年作用道行所然事成方多去法如都同本市天好"


@given(st.permutations(FREQUENT), st.integers(12, 40), st.sampled_from(["gbk", "big5"]))
@settings(max_examples=60, deadline=None)
def test_chinese_in_either_encoding(characters, length, name):
    text = "".join(characters[:length])
    data = text.encode(name, "ignore")
    assert encodings.decode(data, 0.02) == (data.decode(name), 0)
    assert encodings.to_utf8(data, 0.02) == (data.decode(name).encode(), 0)
