"""Kinds of files under which Chinese corpora come beside .jsonl, .txt and WARC responses."""

import functools
import gzip
import io
import json
import random
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.reading_files import COMPRESS, json_lines, read, response, warc

TWO = [{"text": "甲\n甲", "url": "u"}, {"text": "乙", "n": [1, {"text": "x"}]}]
dump = functools.partial(json.dumps, ensure_ascii=False)


@pytest.mark.parametrize(
    "content",
    [
        json_lines(*TWO),
        dump(TWO).encode(),
        dump(TWO, indent=2).encode("utf-8-sig"),
        "\n".join(dump(one, indent=1) for one in TWO).encode(),
        ("[\n" + ",\n".join(map(dump, TWO)) + "\n]\n").encode("utf-16"),
        dump(TWO).encode("gb18030"),
        json.dumps(TWO).encode(),
    ],
    ids=["lines", "array", "indented", "objects", "utf-16", "gb18030", "escaped"],
)
@pytest.mark.parametrize("name", ["a.json", "b.JSON.gz", "c_00"])
def test_json_in_every_form(tmp_path, name, content):
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    documents, _, quarantine = read(tmp_path, unit_bytes=30)
    assert list(documents.values()) == ["甲\n甲", "乙"] and not quarantine.counts
    assert all(document.startswith(f"{name}:") for document in documents)


def test_json_that_is_broken_costs_the_broken_value(tmp_path):
    rows = [dump({"text": f"第{i}篇"}) for i in range(5)]
    rows[2] = '{"text": "引"号"}'
    (tmp_path / "a.json").write_text("[\n" + ",\n".join(rows) + "\n]", "utf-8")
    (tmp_path / "b.json").write_text(dump([{"text": "头"}, {"text": "尾"}])[:-8], "utf-8")
    (tmp_path / "c.json").write_text("[" * 100_000 + "]", "utf-8")
    (tmp_path / "d.json").write_text(dump({"title": "题", "data": [{"text": "里"}]}), "utf-8")
    (tmp_path / "e.json").write_text('[{"text": "' + "长" * 3000 + '"},\n{"text": "短"}]', "utf-8")
    documents, _, quarantine = read(tmp_path, max_document_bytes=5000)
    assert list(documents.values()) == ["第0篇", "第1篇", "第3篇", "第4篇", "头", "短"]
    assert quarantine.counts == {
        "malformed JSON": 2,
        "no text in field 'text'": 1,
        "longer than Reading.max_document_bytes": 1,
    }
    assert {e["reason"] for e in quarantine.entries if e["file"] == "d.json"} == {
        "no text in field 'text': it has title, data"
    }


# JSON does not escape DEL and its kin, and a file with too many of them is no text as a whole.
written = st.text(st.characters(exclude_characters=[chr(code) for code in range(0x7F, 0xA0)]), max_size=30)


@given(
    st.lists(st.dictionaries(st.sampled_from(["text", "a"]), written), max_size=6),
    st.sampled_from([None, 1]),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_any_array_gives_its_texts(tmp_path_factory, values, indent, ascii_only):
    folder = tmp_path_factory.mktemp("json")
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only)
    (folder / "a.json").write_bytes(text.encode("utf-8", "replace"))
    documents, _, quarantine = read(folder)
    texts = [value["text"].strip() for value in values if "text" in value]
    assert len(documents) + quarantine.counts.total() + quarantine.noted["blank documents"] == len(values)
    assert set(documents.values()) <= {text.encode("utf-8", "replace").decode() for text in texts}


def zipped(members) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize("suffix", ["", *COMPRESS])
def test_zip_as_tar(tmp_path, suffix):
    members = {
        "in/a.jsonl": json_lines({"text": "甲"}),
        "../b.txt": "乙".encode("gbk"),
        "c.json.gz": gzip.compress(json_lines({"text": "丙"})),
        "d_00": "丁",
        "in/e.HTML": "<html><body><p>戊",
        "f.pdf": "x", "g.zip": zipped({"a.txt": "x"}), "__MACOSX/._a.txt": "x", "h": b"\0\1\2" * 99,
    }  # fmt: skip
    link = zipfile.ZipInfo("link.txt")
    link.external_attr = 0o120777 << 16
    packed = zipped({**members, link: "/etc/passwd"})
    (tmp_path / f"all.zip{suffix}").write_bytes(COMPRESS.get(suffix, bytes)(packed))
    documents, _, quarantine = read(tmp_path)
    names = ["in/a.jsonl:1", "../b.txt", "c.json.gz:1", "d_00", "in/e.HTML"]
    assert documents == dict(zip((f"all.zip{suffix}:{name}" for name in names), "甲乙丙丁戊", strict=True))
    assert quarantine.noted["members of archives of no known kind"] == 3
    assert quarantine.noted["links and devices in archives"] == 1
    assert quarantine.noted["files without a suffix that are no text"] == 1
    assert not quarantine.counts


def test_zip_members_that_cannot_be_read_cost_themselves(tmp_path):
    """A bad sum, a password, a packing nobody knows, a bomb; and a name in GBK without a mark."""
    text = random.Random(0).randbytes(3000).hex()
    whole = bytearray(zipped({"bad.txt": text, "locked.txt": "x", "odd.txt": "x", "好.txt": "好"}))
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        offsets = {info.filename: info.header_offset for info in archive.infolist()}
    whole[offsets["bad.txt"] + 60] ^= 0xFF
    for name, at, value in (("locked.txt", 8, 1), ("odd.txt", 10, 97)):
        entry = whole.index(name.encode(), offsets["好.txt"]) - 46  # in the directory, behind the last member
        whole[entry + at] = value
        whole[offsets[name] + at - 2] = value
    # zipfile writes names in UTF-8, of three bytes; in GBK they have two, and so has another letter before.
    name = "a好.txt".encode()
    gbk = zipped({"a好.txt": "汉"}).replace(name, "ab好.txt".encode("gbk"))
    gbk = bytearray(gbk)
    for entry, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = gbk.index(entry) + flags
        gbk[at : at + 2] = b"\0\0"
    (tmp_path / "a.zip").write_bytes(whole)
    (tmp_path / "b.zip").write_bytes(gbk)
    (tmp_path / "c.zip").write_bytes(zipped({"bomb.txt": b"x" * (70 * 2**20), "z.txt": "后"}))
    (tmp_path / "d.zip").write_bytes(bytes(whole[:-30]))
    documents, _, quarantine = read(tmp_path, max_document_bytes=100 * 2**20)
    assert documents == {"a.zip:好.txt": "好", "b.zip:ab好.txt": "汉", "c.zip:z.txt": "后"}
    assert quarantine.counts == {"broken archive": 2, "unreadable member": 2, "zip bomb": 1}


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_a_zip_archive_with_any_byte_changed(tmp_path_factory, data):
    whole = bytearray(zipped({"a.txt": "好的" * 20, "b/c.jsonl": json_lines({"text": "好"})}))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("zip")
    (folder / "a.zip").write_bytes(whole)
    read(folder)


@pytest.mark.parametrize(
    ("table", "texts", "lost"),
    [
        ('1,"开着\n2,乙\n3,丙\n', ["乙", "丙"], [2]),  # never closed
        ('1,"开着\n2,"乙"\n3,丙\n', ["乙", "丙"], [2]),  # closed by another record's
        ('1,"甲\n二行"\n2,乙\n', ["甲\n二行", "乙"], []),  # a record of two lines
        ('1,甲"引"甲\n2,"乙"\n', ['甲"引"甲', "乙"], []),  # quotes inside a field
        ('1,"他说"你好"，走了"\n2,乙\n', ['他说你好"，走了"', "乙"], []),  # careless, in one line
        (
            '1,"头\n他说"你好"，\n走了"\n2,乙\n',
            ['头\n他说你好"，\n走了"\n2,乙'],
            None,
        ),  # careless, in several
        ('1,甲\n2,"尾', ["甲"], [3]),
        ('1,"\n2,"\n3,丙\n', ["2,", "丙"], []),  # nobody can know
    ],
)
def test_a_quote_that_is_not_closed(tmp_path, table, texts, lost):
    (tmp_path / "a.csv").write_text(f"n,text\n{table}", "utf-8")
    documents, _, quarantine = read(tmp_path)
    if lost is None:  # one line is enough to be told of
        assert quarantine.counts.total() + len(documents) >= 1
        return
    assert list(documents.values()) == texts
    assert [entry["where"] for entry in quarantine.entries] == lost
    assert set(quarantine.counts) <= {"a quote that is not closed"}


cells = st.text(st.sampled_from('汉字,"\n a'), max_size=8)


@given(st.lists(st.tuples(cells, cells), max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_table_that_is_written_rightly_is_read_whole(tmp_path_factory, rows):
    import csv

    out = io.StringIO()
    csv.writer(out).writerows([("n", "text"), *rows])
    folder = tmp_path_factory.mktemp("csv")
    (folder / "a.csv").write_text(out.getvalue(), "utf-8", newline="")
    documents, _, quarantine = read(folder)
    assert list(documents.values()) == [text.strip() for _, text in rows if text.strip()]
    assert not quarantine.counts


PROSE = "".join(
    f"<p>第{i}条 本市为了规范管理工作，根据法律制定本条例，自公布之日起施行。</p>" for i in range(9)
)
LATIN = "Content-Type: text/html; charset=ISO-8859-1"


def record(kind: str, block: bytes, *headers: str) -> bytes:
    head = "".join(f"{header}\r\n" for header in (f"WARC-Type: {kind}", *headers))
    return f"WARC/1.1\r\n{head}Content-Length: {len(block)}\r\n\r\n".encode() + block + b"\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        record("resource", PROSE.encode(), "Content-Type: Text/HTML; Charset=utf-8"),
        record("resource", PROSE.encode("gbk"), "Content-Type: text/html"),
        warc(("response", "", response(PROSE.encode(), 'content-type: TEXT/HTML;CHARSET="UTF-8"'))),
        warc(("response", "", response(PROSE.encode(), "Content-Type: Application/XHTML+XML"))),
        warc(("response", "", response(PROSE.encode("gbk"), LATIN))),
        warc(("response", "", response(b"<meta charset=GB2312>" + PROSE.encode("gbk"), LATIN))),
        warc(("response", "", response(PROSE.encode(), LATIN + "\r\nContent-Encoding: gzip"))),
        warc(("response", "", response(PROSE.encode(), LATIN + "\r\nContent-Encoding: br"))),
        warc(("response", "", response(PROSE.encode(), LATIN + "\r\nTransfer-Encoding: chunked"))),
        warc(
            (
                "response",
                "",
                response(
                    gzip.compress(PROSE.encode(), mtime=0),
                    LATIN + "\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip",
                ),
            )
        ),
    ],
)
def test_pages_as_archives_have_them(tmp_path, data):
    (tmp_path / "a.warc").write_bytes(data)
    documents, _, quarantine = read(tmp_path)
    (text,) = documents.values()
    assert text.startswith("第0条 本市为了规范管理工作") and text.count("\n") == 8
    assert not quarantine.counts


def test_resources_of_text_and_of_other_kinds(tmp_path):
    records = [
        record("resource", "第一条 文本。".encode() * 20, "Content-Type: text/plain"),
        record("resource", b"x", "Content-Type: image/png"),
        record("resource", b"x"),
        record("metadata", b"x", "Content-Type: text/plain"),
        warc(("response", "", response("<p>Où est-il né, l’été ?".encode("cp1252"), LATIN))),
    ]
    (tmp_path / "a.warc").write_bytes(b"".join(records))
    documents, _, quarantine = read(tmp_path)
    assert documents == {"a.warc:1": "第一条 文本。" * 20, "a.warc:5": "Où est-il né, l’été ?"}
    assert quarantine.noted["resources that are no pages"] == 2
