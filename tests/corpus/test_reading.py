"""Finding files, dividing them into units, and reading every kind of them."""

import gzip
import io
import json
import os
import tarfile
from collections import Counter

import polars as pl
import pytest
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

from data_pipelines.corpus.reading import inputs, lines, reader, units
from data_pipelines.corpus.reading.quarantine import Quarantine
from data_pipelines.corpus.reading.settings import Reading
from data_pipelines.errors import DataError
from tests.corpus.reading_files import COMPRESS, json_lines, read, response, warc


def touch(path, content="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, "utf-8")


def found(*given, skipped=None):
    return [(file.name, file.source) for file in inputs.find([str(path) for path in given], skipped)]


def test_names_and_sources(tmp_path):
    for name in ("law/2020/a.txt", "law/b.md", "news.v1.jsonl.xz", "pages.tgz", "c.pdf", ".d"):
        touch(tmp_path / "in" / name)
    skipped = Counter()
    assert found(tmp_path / "in", skipped=skipped) == [
        ("law/2020/a.txt", "law"),
        ("law/b.md", "law"),
        ("news.v1.jsonl.xz", "news.v1"),
        ("pages.tgz", "pages"),
    ]
    assert skipped == {".pdf": 1, "no suffix": 1}
    assert found(tmp_path / "in/law") == [("2020/a.txt", "2020"), ("b.md", "law")]
    assert found(tmp_path / "in/law/b.md") == [("b.md", "b")]
    assert found(f"{tmp_path}/in/*/*.md") == [("law/b.md", "law")]
    assert found(f"{tmp_path}/**/*.txt") == [("in/law/2020/a.txt", "in")]
    assert found(f"法律={tmp_path}/in/law") == [("法律/2020/a.txt", "法律"), ("法律/b.md", "法律")]
    assert found(f"file://{tmp_path}/in/law") == found(tmp_path / "in/law")
    assert found(f"x=file://{tmp_path}/in/**/*.md") == [("x/law/b.md", "x")]


def test_each_file_once_in_any_order(tmp_path):
    for name in ("a/x.txt", "b/x.txt", "c/x.txt"):
        touch(tmp_path / name)
    (tmp_path / "link.txt").symlink_to(tmp_path / "a/x.txt")
    given = [tmp_path / "a", f"B={tmp_path}/b", tmp_path, tmp_path / "c/x.txt"]
    expected = [("B/x.txt", "B"), ("a/x.txt", "a"), ("c/x.txt", "c")]
    names = found(*given)
    assert sorted(source for _, source in names) and len(names) == 3
    assert all(found(*order) == names for order in (given[::-1], given[2:] + given[:2]))
    assert ("B/x.txt", "B") in names
    # Files of one name are told apart by the folders they are in.
    assert found(tmp_path / "a", tmp_path / "b", tmp_path / "c") == [
        ("a/x.txt", "a"),
        ("b/x.txt", "b"),
        ("c/x.txt", "c"),
    ]
    assert found(tmp_path / "a", f"B={tmp_path}/b", f"{tmp_path}/?/x.txt")[0] == expected[0]


def test_links_that_loop(tmp_path):
    touch(tmp_path / "a/x.txt")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "a/here").symlink_to(tmp_path / "a")
    (tmp_path / "a/self.txt").symlink_to(tmp_path / "a/self.txt")
    (tmp_path / "a/nowhere.txt").symlink_to(tmp_path / "missing.txt")
    os.mkfifo(tmp_path / "a/pipe.txt")
    skipped = Counter()
    assert found(tmp_path, skipped=skipped) == [("a/x.txt", "a")]
    assert skipped == {"no regular file": 3}
    assert found(f"{tmp_path}/**/*.txt") == [("a/x.txt", "a")]


def test_nothing_there(tmp_path):
    touch(tmp_path / "a.pdf")
    for given in (tmp_path / "missing", tmp_path, f"{tmp_path}/*.txt", "file:///missing/x", "no://x"):
        with pytest.raises(DataError, match=r"^--input .*") as error:
            inputs.find([str(given)])
        assert "\n" not in str(error.value)


def test_units_by_names_and_sizes(tmp_path):
    for i in range(10):
        touch(tmp_path / f"small{i}.txt", "x" * 30)
    touch(tmp_path / "cut.jsonl", "x" * 250)
    touch(tmp_path / "packed.jsonl.gz", "x" * 250)
    touch(tmp_path / "whole.csv", "x" * 250)
    files = inputs.find([str(tmp_path)])
    work = units.divide(files[::-1], Reading(unit_bytes=100))
    assert [[(part.file.name, part.begin, part.end) for part in unit.parts] for unit in work] == [
        [("cut.jsonl", 0, 100)],
        [("cut.jsonl", 100, 200)],
        [("cut.jsonl", 200, 250)],
        [("packed.jsonl.gz", 0, None)],
        *[[(f"small{i}.txt", 0, None) for i in some] for some in ((0, 1, 2), (3, 4, 5), (6, 7, 8))],
        [("small9.txt", 0, None)],
        [("whole.csv", 0, None)],
    ]
    assert [unit.key for unit in work] == sorted({unit.key for unit in work})
    assert sum(unit.size for unit in work) == 1050
    assert [units.Unit.from_json(json.loads(json.dumps(unit.to_json()))) for unit in work] == work
    touch(tmp_path / "cut.jsonl", "x" * 240)
    again = units.divide(inputs.find([str(tmp_path)]), Reading(unit_bytes=100))
    assert again[0].key != work[0].key and again[4].key == work[4].key


KINDS = {
    "a.jsonl": json_lines({"text": "甲", "url": "u"}, {"text": "乙\n乙"}),
    "b.csv": 'x,text,url\r\n1,"丙, ""引""\r\n丙",u\r\n\r\n2,丁,\r\n'.encode("utf-8-sig"),
    "c.txt": "戊\n戊\n\n己".encode(),
    "d.md": "# 庚\n\n辛".encode(),
    "e.html": "<nav>x</nav><p>壬<p>癸".encode(),
    "f.ndjson": json_lines({"text": "子"}),
    "g.warc": warc(("warcinfo", "", b"x"), ("response", "http://s.cn/", response("<p>丑".encode()))),
    "h.wet": warc(("conversion", "http://s.cn/", "寅".encode())),
}
TEXTS = {
    "a.jsonl:1": "甲",
    "a.jsonl:2": "乙\n乙",
    "b.csv:3": '丙, "引"\r\n丙',
    "b.csv:5": "丁",
    "c.txt": "戊\n戊\n\n己",
    "d.md": "# 庚\n\n辛",
    "e.html": "壬\n癸",
    "f.ndjson:1": "子",
    "g.warc:2": "丑",
    "h.wet:1": "寅",
    "i.parquet:1": "卯",
    "i.parquet:3": "辰",
}


@pytest.fixture
def kinds():
    out = io.BytesIO()
    pl.DataFrame({"text": ["卯", None, "辰"], "n": [1, 2, 3], "url": ["u", None, None]}).write_parquet(out)
    return KINDS | {"i.parquet": out.getvalue()}


@pytest.mark.parametrize("suffix", ["", *COMPRESS])
def test_every_kind_plain_and_compressed(tmp_path, kinds, suffix):
    for name, content in kinds.items():
        (tmp_path / f"{name}{suffix}").write_bytes(COMPRESS.get(suffix, bytes)(content))
    documents, chunks, quarantine = read(tmp_path)
    assert documents == {name.replace(":", f"{suffix}:") if ":" in name else name + suffix: text
                         for name, text in TEXTS.items()}  # fmt: skip
    assert quarantine.counts == {"no text in column 'text'": 1}
    (chunk,) = chunks
    urls = dict(chunk.select("source", "url").filter(pl.col("url").is_not_null()).unique().iter_rows())
    assert urls == {"a": "u", "b": "u", "g": "http://s.cn/", "h": "http://s.cn/", "i": "u"}
    assert read(f"file://{tmp_path}")[0] == documents


@pytest.mark.parametrize("suffix", ["", *COMPRESS])
def test_archives_of_every_kind(tmp_path, kinds, suffix):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in kinds.items():
            for where in (f"../{name}", f"{name}.gz"):
                content = gzip.compress(content) if where.endswith(".gz") else content
                member = tarfile.TarInfo(where)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        for name in ("a.pdf", "../c.txt", "z.tar"):
            archive.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (tmp_path / f"all.tar{suffix}").write_bytes(COMPRESS.get(suffix, bytes)(out.getvalue()))
    documents, (chunk,), quarantine = read(tmp_path)
    prefix = f"all.tar{suffix}:"
    plain = {prefix + "../" + name: text for name, text in TEXTS.items()}
    packed = {prefix + (n.replace(":", ".gz:") if ":" in n else n + ".gz"): t for n, t in TEXTS.items()}
    assert documents == plain | packed
    assert set(chunk["source"]) == {"all"}
    assert quarantine.noted["members of archives of no known kind"] == 2
    assert quarantine.noted["links and devices in archives"] == 1


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("file", {"a.txt": "一\n二 \n\n  \n三"}),
        ("paragraph", {"a.txt:2": "一\n二", "a.txt:6": "三"}),
        ("line", {"a.txt:2": "一", "a.txt:3": "二", "a.txt:6": "三"}),
    ],
)
def test_what_a_document_of_a_text_is(tmp_path, unit, expected):
    touch(tmp_path / "a.txt", "\n一\n二 \n\n  \n三")
    assert read(tmp_path, unit=unit)[0] == expected


def test_fields_by_name(tmp_path):
    records = [
        {"内容": "甲", "from": "报纸"},
        {"内容": "乙", "from": ""},
        {"内容": "丙"},
        {"内容": "丁", "from": 3},
    ]
    (tmp_path / "a.jsonl").write_bytes(json_lines(*records))
    touch(tmp_path / "b.csv", "from,内容\n报纸,戊\n,己\n")
    pl.DataFrame({"内容": ["庚"], "from": ["报纸"]}).write_parquet(tmp_path / "c.parquet")
    _, (chunk,), _ = read(tmp_path, text_field="内容", source_field="from")
    assert chunk["text"].to_list() == list("甲乙丙丁戊己庚")
    assert chunk["source"].to_list() == ["报纸", "a", "a", "3", "报纸", "b", "报纸"]


def test_chunks_of_so_many_bytes(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(json_lines(*({"text": f"{i:04d}" * 25} for i in range(100))))
    for i in range(50):
        touch(tmp_path / f"b{i:02d}.html", f"<nav>x</nav><p>共有的<p>{i:04d}" + "y" * 90)
    documents, chunks, quarantine = read(tmp_path, chunk_bytes=1000, site_pages=5)
    sizes = [int(chunk["text"].str.len_bytes().sum()) for chunk in chunks]
    assert len(documents) == 150 and sum(sizes) == 100 * 100 + 50 * 94
    assert all(size <= 1000 + 104 for size in sizes) and min(sizes[:10]) == 1000
    assert quarantine.noted["boilerplate lines dropped"] == 50
    assert list(documents) == sorted(documents, key=lambda name: (name[0], len(name), name))


@settings(max_examples=60, deadline=None)
@examples(
    st.lists(st.text("甲a \r\t", max_size=6), max_size=30),
    st.integers(1, 40),
    st.integers(1, 25),
    st.booleans(),
)
def test_a_file_cut_anywhere_is_read_once(tmp_path_factory, texts, unit_bytes, block_bytes, ends):
    """The units of a file have all of its lines between them, and each where it begins."""
    path = tmp_path_factory.mktemp("cut") / "a.txt"
    path.write_bytes("\n".join(texts).encode() + b"\n" * ends)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK_BYTES", block_bytes)
        documents, _, _ = read(path, unit="line", unit_bytes=unit_bytes)
    assert list(documents.values()) == [text.strip() for text in texts if text.strip()]


LINES = [
    b'{"text": "x", "url": null}',
    b'{"text": "\\ud800"}',
    b'{"text": "\\ud83d\\ude00"}',
    b'{"text": 3}',
    b'{"text": null}',
    b'{"a": {"text": 3}, "text": "y"}',
    b'{"text": "say \\"text\\": 3"}',
    b"[]",
    b'{"text"',
    b'{"text": "\\u0041\\n"}',
    b'{"text": "z"} {"text": "z"}',
    b'  {"text":"w", "url": ["a"]}\r',
    b'{"text": "\xff"}',
    '{"text": "汉字"}'.encode("gb18030"),
    b'{"x": 1e999, "text": "v"}',
    b"",
]


@settings(max_examples=60, deadline=None)
@examples(st.lists(st.sampled_from(LINES), max_size=6))
def test_columns_and_lines_agree(tmp_path_factory, block):
    """A line is read in the same way alone and among others."""
    folder = tmp_path_factory.mktemp("lines")
    (folder / "all.jsonl").write_bytes(b"\n".join(block))
    alone = []
    for line in block:
        (folder / "one.jsonl").write_bytes(line)
        alone += read(folder / "one.jsonl")[0].values()
    together, _, quarantine = read(folder / "all.jsonl")
    assert list(together.values()) == alone
    assert len(alone) + quarantine.counts.total() == sum(bool(line.strip()) for line in block)


def test_a_unit_is_read_the_same_anywhere(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(json_lines(*({"text": f"第{i}" * 9} for i in range(1000))))
    given = Reading(unit_bytes=5000)
    work = units.divide(inputs.find([str(tmp_path)]), given)
    once = [pl.concat(reader.read(unit, given, Quarantine())) for unit in work]
    other = [pl.concat(reader.read(unit, given, Quarantine())) for unit in reversed(work)][::-1]
    assert all(a.equals(b) for a, b in zip(once, other, strict=True))
    ids = pl.concat(once)["id"]
    assert ids.n_unique() == 1000 and ids[0] == "a.jsonl:1" and ids[-1].startswith("a.jsonl:")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("unit", "word"),
        ("unit_bytes", 0),
        ("chunk_bytes", 1.5),
        ("max_bad", 2),
        ("max_ratio", 0.5),
        ("text_field", ""),
    ],
)
def test_settings_are_checked(setting, value):
    with pytest.raises(DataError, match=rf"^Reading\.{setting}: "):
        Reading(**{setting: value})
