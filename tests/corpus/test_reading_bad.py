"""What can be wrong with input: counted, quarantined with its reason, never fatal, never too much."""

import errno
import gzip
import io
import random
import re
import tarfile
import tracemalloc
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from data_pipelines.corpus.reading import compression, inputs, reader, units
from data_pipelines.corpus.reading.quarantine import Quarantine
from data_pipelines.corpus.reading.settings import Reading
from tests.corpus.reading_files import COMPRESS, json_lines, read, response, warc

NAMES = ["a.jsonl", "a.csv", "a.txt", "a.md", "a.html", "a.parquet", "a.warc", "a.tar"]
RANDOM = random.Random(0).randbytes(300_000)


@pytest.mark.parametrize("unit", ["file", "paragraph", "line"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_random_bytes(tmp_path, suffix, unit):
    for name in NAMES:
        (tmp_path / f"packed.{name}.gz").write_bytes(gzip.compress(RANDOM))
        (tmp_path / f"{name}{suffix}").write_bytes(RANDOM)
    (tmp_path / "z.txt").write_text("好")
    documents, _, quarantine = read(tmp_path, unit=unit)
    assert list(documents.values()) == ["好"]
    assert {entry["file"] for entry in quarantine.entries} == {
        name for kind in NAMES for name in (f"packed.{kind}.gz", f"{kind}{suffix}")
    }
    assert quarantine.counts.total() == 2 * len(NAMES)  # once each


def test_empty_files(tmp_path):
    for name in NAMES:
        (tmp_path / name).touch()
        (tmp_path / f"{name}.gz").touch()
        (tmp_path / f"b{name}.gz").write_bytes(gzip.compress(b""))
    documents, _, quarantine = read(tmp_path)
    assert not documents
    assert set(quarantine.counts) == {"broken Parquet file", "broken archive"}


def test_a_line_of_200_mb(tmp_path):
    with (tmp_path / "a.jsonl").open("wb") as out:
        out.write(json_lines({"text": "前"}) + b'{"text": "')
        for _ in range(200):
            out.write(b"x" * 2**20)
        out.write(b'"}\n' + json_lines({"text": "后"}))
    tracemalloc.start()
    documents, _, quarantine = read(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert list(documents.values()) == ["前", "后"]
    assert quarantine.counts == {"longer than Reading.max_document_bytes": 1}
    assert (quarantine.entries[0]["where"], len(quarantine.entries[0]["text"])) == (2, 2000)
    assert peak < 64 * 2**20
    # The same in one piece, which is how a compressed file is read.
    assert list(read(tmp_path, unit_bytes=2**40)[0]) == ["a.jsonl:1", "a.jsonl:3"]


def test_documents_that_are_too_long(tmp_path):
    long = "长" * 500
    (tmp_path / "a.jsonl").write_bytes(json_lines({"text": long}, {"text": "a"}))
    (tmp_path / "b.csv").write_text(f"text\n{long}\nb\n", "utf-8")
    (tmp_path / "c.txt").write_text(f"{long}\n\nc\n\n{'c' * 400}\n{'c' * 400}\n{'c' * 400}\n\nd", "utf-8")
    (tmp_path / "e.md").write_text(long, "utf-8")
    (tmp_path / "f.html").write_text(long, "utf-8")
    pl.DataFrame({"text": [long, "g"]}).write_parquet(tmp_path / "g.parquet")
    page = response(long.encode())
    packed = response(gzip.compress(long.encode() * 9), "Content-Type: text/html\r\nContent-Encoding: gzip")
    records = [("response", "", page), ("response", "", packed), ("conversion", "", long.encode())]
    (tmp_path / "h.warc").write_bytes(warc(*records, ("conversion", "", b"h")))
    documents, _, quarantine = read(tmp_path, max_document_bytes=1000, unit="paragraph")
    assert list(documents.values()) == ["a", "b", "c", "d", "g", "h"]
    assert quarantine.counts == {"longer than Reading.max_document_bytes": 10}


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("kind", ["jsonl", "csv", "txt", "warc", "tar"])
def test_a_compressed_file_that_breaks_off(tmp_path, suffix, kind):
    """What came before the break is read, at least but for the last block of the packing."""
    texts = [f"{i} {random.Random(i).randbytes(200).hex()}" for i in range(2000)]
    if kind == "tar":
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            for i, text in enumerate(texts):
                member = tarfile.TarInfo(f"{i}.txt")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
        whole = out.getvalue()
    elif kind == "warc":
        whole = warc(*(("conversion", "", text.encode()) for text in texts))
    elif kind == "jsonl":
        whole = json_lines(*({"text": text} for text in texts))
    else:
        whole = "\n".join(["text", *texts]).encode()
    data = COMPRESS[suffix](whole)
    (tmp_path / f"a.{kind}{suffix}").write_bytes(data[: len(data) * 2 // 3])
    documents, _, quarantine = read(tmp_path, unit="line")
    got = [text for text in documents.values() if text != "text"]
    assert got[:-1] == texts[: max(0, len(got) - 1)] and (kind == "tar" or got == texts[: len(got)])
    blocks = 900_000 if suffix == ".bz2" else 140_000
    assert len(got) >= len(texts) * 2 // 3 - blocks // 400 - 30
    reasons = set(quarantine.counts)
    assert "broken compressed file" in reasons
    assert reasons <= {"broken compressed file", "broken off", "broken WARC file", "broken archive"}


def test_archives_that_break_off(tmp_path):
    whole = warc(*(("response", f"http://s/{i}", response(b"<p>%04d" % i * 200)) for i in range(50)))
    for name, data in (
        ("a", whole[: len(whole) // 2 - 200]),
        ("b", whole[:-700]),
        ("c", whole[:10]),
        ("d", whole),
    ):
        (tmp_path / f"{name}.warc").write_bytes(data)
    (tmp_path / "e.warc").write_bytes(b"no WARC " + whole)
    lies = re.sub(rb"Content-Length: \d+", b"Content-Length: 99999999999999", whole, count=1)
    (tmp_path / "f.warc").write_bytes(lies)
    documents, _, quarantine = read(tmp_path)
    assert Counter(name[0] for name in documents) == {"a": 24, "b": 49, "d": 50}
    assert {entry["file"][0] for entry in quarantine.entries} == set("abcef")


def test_responses_of_all_kinds(tmp_path):
    chunked = b"5\r\n<p>\xe4\xbd\r\n4\r\n\xa0\xe5\xa5\xbd\r\n0\r\n\r\n"
    html = "Content-Type: text/html"
    records = [
        response(gzip.compress("<p>压缩".encode()), f"{html}\r\nContent-Encoding: gzip"),
        response(chunked, f"{html}\r\nTransfer-Encoding: chunked"),
        response("<p>国标编码的网页".encode("gb18030"), f"{html}; charset=gb2312"),
        response("<meta charset=big5><p>繁體中文網頁".encode("big5"), html),
        response(b"<p>", html),
        response(b"x", "Content-Type: image/png"),
        response(b"<p>x", html, "404 Not Found"),
        response(b"no gzip", f"{html}\r\nContent-Encoding: gzip"),
        response(b"\x1f\x8bno gzip", f"{html}\r\nContent-Encoding: gzip"),
        b"no HTTP",
        b"",
        response(RANDOM, html),
        response("<p>尾".encode(), html),
    ]
    (tmp_path / "a.warc").write_bytes(
        warc(*(("response", f"<http://s/{i}>", r) for i, r in enumerate(records)))
    )
    documents, (chunk,), quarantine = read(tmp_path)
    assert list(documents.values()) == ["压缩", "你好", "国标编码的网页", "繁體中文網頁", "no gzip", "尾"]
    assert chunk["url"].to_list() == [f"http://s/{i}" for i in (0, 1, 2, 3, 7, 12)]
    assert quarantine.counts == {"broken HTTP response": 1, "not text": 1}
    assert quarantine.noted["responses that are no pages"] == 4


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_zip_bomb(tmp_path, suffix):
    member = COMPRESS[suffix](b"x" * 2**23)
    (tmp_path / f"a.jsonl{suffix}").write_bytes(member * 10)  # 80 MiB
    (tmp_path / "b.jsonl").write_bytes(json_lines({"text": "好"}))
    tracemalloc.start()
    documents, _, quarantine = read(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert documents == {"b.jsonl:1": "好"}
    assert quarantine.counts.pop("zip bomb") == 1
    assert peak < 80 * 2**20
    (tmp_path / f"a.jsonl{suffix}").write_bytes(member * 7)  # too small to do harm
    assert "zip bomb" not in read(tmp_path)[2].counts
    (tmp_path / f"a.jsonl{suffix}").write_bytes(member * 10)
    assert "zip bomb" not in read(tmp_path, max_ratio=1e9)[2].counts


def test_a_compressed_member_that_ends_rightly(tmp_path):
    """Members one after the other, padded with zeros, are one file; what is no member is a break."""
    for suffix, pack in COMPRESS.items():
        data = pack(b"one") + b"\0" * 512 + pack(b" two")
        (tmp_path / f"a{suffix}").write_bytes(data)
        with compression.open_file(tmp_path / f"a{suffix}") as stream:
            assert stream.read() == b"one two"
        (tmp_path / f"a{suffix}").write_bytes(data + b"rubbish")
        with (
            compression.open_file(tmp_path / f"a{suffix}") as stream,
            pytest.raises(compression.BrokenFileError, match="broken compressed file"),
        ):
            stream.read()


def unreadable(tmp_path, error, monkeypatch):
    (tmp_path / "a.txt").write_text("甲")
    (tmp_path / "b.txt").write_text("乙")
    (unit,) = units.divide(inputs.find([str(tmp_path)]), Reading())
    real = Path.open

    def fails(path, *arguments, **options):
        if path.name == "a.txt":
            raise OSError(error, "not today")
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", fails)
    quarantine = Quarantine()
    return pl.concat(reader.read(unit, Reading(), quarantine)), quarantine


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.ENOENT])
def test_an_unreadable_file(tmp_path, monkeypatch, error):
    chunk, quarantine = unreadable(tmp_path, error, monkeypatch)
    assert chunk["text"].to_list() == ["乙"]
    assert quarantine.entries[0] == {
        "file": "a.txt",
        "where": "end",
        "reason": "unreadable file: not today",
        "text": "",
    }


def test_a_full_disk_is_not_the_file_s_fault(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="not today"):
        unreadable(tmp_path, errno.ENOSPC, monkeypatch)


def test_records_that_are_no_documents(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(
        b'{"text": 3}\n[1]\n{"text": null}\n{"text": "\\ud800"}\n'
        + b"[" * 100_000
        + b'\n{"text": "\\u0000\\u0001\\u0002"}\n{"text": " "}\n{"text": "a", "n": '
        + b"1" * 5000
        + b"}\n"
        + '{"text": "\u0085\u0086"}\n{"text": "好"}\n'.encode()
    )
    (tmp_path / "b.csv").write_text('text,x\nb,1\n"never ends\n' + "y\n" * 1000, "utf-8")
    (tmp_path / "c.csv").write_text("x,y\n1,2\n", "utf-8")
    pl.DataFrame({"text": [1, 2]}).write_parquet(tmp_path / "d.parquet")
    (tmp_path / "e.html").write_text("<nav>x</nav>" + "<b>" * 60_000)
    documents, _, quarantine = read(tmp_path, max_document_bytes=200_000)
    assert [documents.pop(f"b.csv:{line}") for line in range(4, 1004)] == ["y"] * 1000
    assert documents == {"a.jsonl:10": "好", "b.csv:2": "b"}
    assert quarantine.counts == {
        "a quote that is not closed": 1,
        "no text in field 'text'": 3,
        "lone surrogate": 1,
        "malformed JSON": 2,
        "not text": 2,
        "no column 'text'": 1,
        "no column 'text' of strings": 1,
        "more tags than Reading.max_page_tags": 1,
    }
    assert quarantine.noted["blank documents"] == 1
    assert [e["where"] for e in quarantine.entries if e["file"] == "a.jsonl"][:4] == [1, 2, 3, 4]


def test_the_quarantine_is_bounded(tmp_path):
    quarantine = Quarantine(kept=3)
    for i in range(10):
        quarantine.add("a", i, f"bad: {i}", b"\xff" * 10_000)
    assert quarantine.counts == {"bad": 10} and len(quarantine.entries) == 3
    quarantine.write(tmp_path / "quarantine.jsonl")
    assert len((tmp_path / "quarantine.jsonl").read_bytes()) < 3 * 20_000
