"""A user's own text, and all that can be wrong with it: counted, quarantined, never fatal."""

import bz2
import gzip
import json
import lzma

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.errors import DataError
from data_pipelines.text import folder
from data_pipelines.text.tasks.mixture import corpus


def read(path, **options):
    quarantine = folder.Quarantine()
    return [d.text for d in folder.documents(path, quarantine=quarantine, **options)], quarantine


COMPRESS = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
}


@pytest.mark.parametrize(("suffix", "compress"), COMPRESS.items())
def test_every_compression(tmp_path, suffix, compress):
    lines = "\n".join(json.dumps({"body": text}, ensure_ascii=False) for text in ["第一篇", "第二篇"])
    (tmp_path / f"a.jsonl{suffix}").write_bytes(compress(lines.encode()))
    (tmp_path / f"b.txt{suffix}").write_bytes(compress("\ufeff一行\n\n另一行\n".encode()))
    assert read(tmp_path, text_field="body")[0] == ["第一篇", "第二篇", "一行\n\n另一行"]


@pytest.mark.parametrize(
    ("unit", "texts"),
    [("file", ["一\n二\n\n三"]), ("paragraph", ["一\n二", "三"]), ("line", ["一", "二", "三"])],
)
def test_what_a_document_is(tmp_path, unit, texts):
    (tmp_path / "a.txt").write_text("一\n二\n\n三\n", "utf-8")
    assert read(tmp_path, unit=unit)[0] == texts
    assert read(tmp_path / "a.txt", unit=unit)[0] == texts
    assert read(str(tmp_path / "*.txt"), unit=unit)[0] == texts


def test_undecodable_bytes(tmp_path):
    """A line that is in no encoding costs that line."""
    (tmp_path / "a.txt").write_bytes("好的\n".encode() + b"\xff\xfe bad\n" + "也好".encode())
    texts, quarantine = read(tmp_path)
    assert texts == ["好的\n也好"]
    assert quarantine.counts == {"not text": 1}
    quarantine.write(tmp_path / "quarantine.jsonl")
    (entry,) = map(json.loads, (tmp_path / "quarantine.jsonl").read_text("utf-8").splitlines())
    assert (entry["file"], entry["where"], entry["text"]) == ("a.txt", 2, "\\xff\\xfe bad")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "x"', "malformed JSON"),
        ("[" * 100_000, "malformed JSON"),
        ('{"other": "x"}', "no text in field 'text'"),
        ('["text"]', "no text in field 'text'"),
        ('{"text": 3}', "no text in field 'text'"),
        ('{"text": "x", "number": ' + "1" * 5000 + "}", "malformed JSON"),
        ('{"text": "\\ud800"}', "lone surrogate"),
    ],
)
def test_bad_lines(tmp_path, line, reason):
    (tmp_path / "a.jsonl").write_text(f'{{"text": "前"}}\n{line}\n{{"text": "后"}}\n', "utf-8")
    texts, quarantine = read(tmp_path)
    assert texts == ["前", "后"]
    assert dict(quarantine.counts) == {reason: 1}
    assert quarantine.entries[0]["where"] == 2


@pytest.mark.parametrize("suffix", [suffix for suffix in COMPRESS if suffix])
def test_a_compressed_file_that_breaks_off(tmp_path, suffix):
    whole = "\n".join(json.dumps({"text": f"{i} {i * 7919**3 % 10**9}"}) for i in range(50_000))
    data = COMPRESS[suffix](whole.encode())
    (tmp_path / f"a.jsonl{suffix}").write_bytes(data[: len(data) // 2])
    (tmp_path / f"b.jsonl{suffix}").write_bytes(b"not compressed at all")
    (tmp_path / "c.jsonl").write_text('{"text": "还在"}', "utf-8")
    texts, quarantine = read(tmp_path)
    assert texts[-1] == "还在"
    assert quarantine.counts["broken compressed file"] == 2
    assert suffix == ".bz2" or len(texts) > 1  # what came before the break; bzip2's blocks are larger


CHAPTERS = "\n".join(f"第{k}章 春江潮水连海平，海上明月共潮生。\nhttp://a.test/{k}.html" for k in range(9))


def test_the_factory_s_reader_reads_for_training_too(tmp_path):
    """What train reads is what `pangu corpus build` reads, and the rest is named."""
    traditional = "本市為了規範管理工作，根據法律制定本條例。" * 3
    files = {
        "GBK.TXT": CHAPTERS.encode("gbk"),
        "big5.md": traditional.encode("big5") + b"\xa3\xe1",
        "array.json": json.dumps([{"text": "甲"}, {"text": "乙"}]).encode(),
        "lines.json.gz": gzip.compress('{"text": "丙"}\n{"text": "丁"}\n'.encode()),
        "wiki_00": "戊\r\n己  \r\n".encode(),
        "page.HTM": "<html><body><p>庚</p></body></html>".encode(),
        "table.csv": "text,n\n辛,1\n".encode(),
        "picture.jpg": b"\xff\xd8",
        "notes.doc.gz": b"",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    texts, quarantine = read(tmp_path)
    assert texts == [CHAPTERS, "甲", "乙", traditional + "€", "丙", "丁", "庚", "辛", "戊\n己"]
    assert quarantine.skipped == {".jpg": 1, ".doc.gz": 1} and not quarantine.counts
    assert {path.name for path in folder.files(tmp_path)} == files.keys() - {"picture.jpg", "notes.doc.gz"}


def test_a_run_says_what_was_left_out(tmp_path):
    (tmp_path / "text").mkdir()
    lines = [json.dumps({"text": f"{i}号 今天天气很好，我们一起去公园散步。"}) for i in range(300)]
    (tmp_path / "text/a.jsonl").write_text("\n".join([*lines, '{"body": "x"}']), "utf-8")
    (tmp_path / "text/b.pdf").write_bytes(b"%PDF")
    made = corpus(path=str(tmp_path / "text"), vocabulary_size=400, cache_dir=str(tmp_path / "cache"),
                  encoder_length=32, decoder_length=32)  # fmt: skip
    (line,) = made.notices()
    assert "passed over: 1 file of kinds not known (.pdf 1)" in line
    assert "put aside: 1 of 301 documents and lines (0.3%): no text in field 'text' 1" in line
    assert line.endswith("quarantine.jsonl lists each") and "\n" not in line


@given(st.binary(max_size=400))
def test_any_bytes(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any")
    (path / "a.txt").write_bytes(content)
    (path / "b.jsonl").write_bytes(content)
    (path / "c.txt.gz").write_bytes(content)
    for name in ("d.json", "e", "f.zip", "g.csv"):
        (path / name).write_bytes(content)
    texts, _ = read(path)
    assert all(text.encode() for text in texts)


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match=r"corpus\.path: there is no folder or file .*missing"):
        read(tmp_path / "missing")
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(DataError, match=r"corpus\.path: .*no file of a known kind .* \(\.pdf 1\)"):
        read(tmp_path)
    with pytest.raises(DataError, match="not one of file, paragraph, line"):
        read(tmp_path, unit="word")


@pytest.mark.parametrize("content", ["", "  \n\n ", "。。。\n——", "一篇而已"])
def test_too_little_text(tmp_path, content):
    (tmp_path / "a.txt").write_text(content, "utf-8")
    with pytest.raises(DataError, match=r"distinct document\(s\).*corpus\.documents") as error:
        corpus(path=str(tmp_path), cache_dir=str(tmp_path / "cache")).prepare()
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "cache").glob(".building*"))
