"""Files as knowledge: tables carry their head, sections their headings, and what is left out is named."""

import gzip
import io
import itertools
import json
import lzma
import os
import tarfile
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.corpus.reading.quarantine import Quarantine
from data_pipelines.errors import DataError
from pangu_jax.apps.language.retrieval import left_out, markdown, pages, rows
from pangu_jax.apps.language.retrieval.cutting import pieces
from pangu_jax.apps.language.retrieval.knowledge import Knowledge
from pangu_jax.apps.language.retrieval.source_text import SourceText, row


@pytest.fixture
def passages(tmp_path):
    """[(source, text)] of a file of that name and content."""

    def _passages(name, content, **options):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        found = Knowledge.open([file], cache=tmp_path / "cache", **options).passages
        return [(p.source.partition(":")[2], p.text) for p in found]

    return _passages


def test_one_bad_file_costs_itself_and_all_others_are_named(tmp_path):
    folder = tmp_path / "kb"
    (folder / "deep").mkdir(parents=True)
    for name, content in {
        "a.TXT": "保修期为两年。".encode("gbk"),
        "b.MD": "# 價格\n每台一千元。".encode("big5"),
        "c.HTM": "<p>电话</p>".encode(),
        "d.TSV": "型号\t价格\nJX\t100\n".encode("utf-16"),
        "e.jsonl": '{"text": "好"}\n'.encode("gb18030") + b'{"text": ""}\n',
        "f.txt": bytes(range(256)) * 9,
        "g.db": b"SQLite format 3\0" + b"x" * 200,
        "h.pdf": b"%PDF",
        "deep/i.PDF": b"%PDF",
        "deep/j": bytes(range(256)) * 9,
        "k.html": b"<b>" * (pages.MAX_TAGS + 1),
        "l.html": "<footer>电话</footer>".encode(),
        "blank.md": b" \n",
    }.items():
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "pipe.txt")
    (folder / "link").symlink_to(folder / "deep")
    knowledge = Knowledge.open([folder, folder / "h.pdf"], cache=tmp_path / "cache")
    assert [(p.source, p.text) for p in knowledge.passages] == [
        ("a.TXT:1", "保修期为两年。"),
        ("b.MD:1", "# 價格\n每台一千元。"),
        ("c.HTM:1", "电话"),
        ("d.TSV:2", "型号：JX；价格：100"),
        ("e.jsonl:1", "好"),
    ]
    lines = left_out.lines(knowledge.quarantine)
    assert lines[0] == f"3 x of a kind that is not read, .pdf, the first {folder}/deep/i.PDF"
    assert sorted(line.partition(" x ")[2].partition(",")[0] for line in lines[1:]) == [
        "a link to a folder",
        f"a page of more than {pages.MAX_TAGS} tags",
        "a page without text outside menus",
        "files without a suffix that are no text",
        "no readable database",
        "no regular file",
        "no text",
        "not text",
    ]
    assert f"{folder}/e.jsonl:2" in "".join(lines)


def zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(name, content):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def parquet(*texts):
    file = io.BytesIO()
    pq.write_table(pa.table({"text": texts}), file)
    return file.getvalue()


def warc(page):
    body = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{page}".encode()
    head = "WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: https://a.cn/\r\n"
    head += f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body + b"\r\n\r\n"


RECORDS = [{"text": "保修两年。"}, {"型号": "JX", "价格": 100}, "电话"]
AS_PASSAGES = [("1", "保修两年。"), ("2", "型号：JX；价格：100"), ("3", "电话")]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.json", json.dumps(RECORDS, indent=1, ensure_ascii=False).encode("gbk"), AS_PASSAGES),
        ("a.json", "\n".join(json.dumps(record, indent=1) for record in RECORDS), AS_PASSAGES),
        ("a.json", LINES, AS_PASSAGES),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0), AS_PASSAGES),
        ("wiki_00", LINES, AS_PASSAGES),
        ("README", "保修两年。\r\n电话", [("1", "保修两年。\n电话")]),
        ("A.TXT.XZ", lzma.compress("保固期為兩年。".encode("big5")), [("1", "保固期為兩年。")]),
        ("a.parquet", parquet("保修两年。", "电话"), [("1", "保修两年。"), ("2", "电话")]),
        ("a.warc", warc("<h1>保修</h1>\n<p>两年</p>"), [("1:1", "# 保修\n两年")]),
        ("a::b.txt", "好", [(":b.txt:1", "好")]),
        ("a.md.gz", gzip.compress("# 一\n\n正文".encode(), mtime=0), [("1", "# 一\n正文")]),
        (
            "a.zip",
            zipped(
                {"手册/保修.txt": "保修期为两年。".encode("gbk"), "b.csv": "型号\nJX\n", "c.pdf": b"%PDF"}
            ),
            [("手册/保修.txt:1", "保修期为两年。"), ("b.csv:2", "型号：JX")],
        ),
        (
            "a.tgz",
            tarred("a.jsonl.xz", lzma.compress(LINES)),
            [(f"a.jsonl.xz:{n}", t) for n, t in AS_PASSAGES],
        ),
    ],
)
def test_knowledge_is_read_in_every_kind_that_training_reads(passages, name, content, expected):
    assert passages(name, content) == expected


def test_what_is_wrong_inside_of_files_costs_itself_and_is_named(tmp_path):
    whole = gzip.compress("\n".join(f'{{"text": "第{i}条"}}' for i in range(5000)).encode())
    for name, content in {
        "a.jsonl.gz": whole[: len(whole) // 2],
        "b.zip": zipped({"x.pdf": b"%PDF", "y.txt": "好", "w.txt.gz": b"no gzip"}),
        "c.zip": b"PK no zip",
        "d.json": '[{"text": "\\ud800"}, 5, {"text": "好"}]',
        "e.docx": zipped({"word/document.xml": "<w/>"}),
        ".hidden": "好",
    }.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    knowledge = Knowledge.open([tmp_path], cache=tmp_path / "cache" / "of it")
    cited = [p.source for p in knowledge.passages]
    assert cited[0] == "a.jsonl.gz:1" and len(cited) > 1000 and cited[-2:] == ["b.zip:y.txt:1", "d.json:3"]
    told = {
        str(e["file"]).removeprefix(f"{tmp_path}/"): str(e["reason"]) for e in knowledge.quarantine.entries
    }
    assert told.pop("a.jsonl.gz").startswith("broken compressed file: ")
    assert told.pop("b.zip:w.txt.gz").startswith("broken compressed file: ")
    assert told.pop("c.zip").startswith("broken archive: ")
    assert told == {
        ".hidden": "of a kind that is not read, without a suffix",
        "b.zip": "members of archives of no known kind: 1",
        "d.json": "no text",
        "e.docx": "of a kind that is not read, .docx",
    }
    assert knowledge.quarantine.counts["lone surrogate"] == 1


def test_what_sqlite_keeps_beside_a_database_is_no_file_of_its_own(tmp_path):
    (tmp_path / "a.txt").write_text("好", "utf-8")
    (tmp_path / "a.db").write_bytes(b"SQLite format 3\0")
    (tmp_path / "a.db-wal").write_bytes(b"?")
    (tmp_path / "b.db-wal").write_bytes(b"?")
    knowledge = Knowledge.open([tmp_path], cache=tmp_path / "cache")
    assert [e["file"] for e in knowledge.quarantine.entries] == [
        str(tmp_path / "a.db"),
        str(tmp_path / "b.db-wal"),
    ]


def test_reasons_are_many_and_lines_are_few():
    quarantine = Quarantine()
    for i in range(20):
        quarantine.add("a", i, f"reason {i}: detail")
    quarantine.noted["bad bytes"] = 3
    lines = left_out.lines(quarantine)
    assert lines[0] == "1 x reason 0, the first a:0 (detail)"
    assert lines[-2:] == ["8 x 8 other reasons", "3 x a byte in no known encoding, now U+FFFD"]


def test_only_a_path_with_nothing_there_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("好", "utf-8")
    with pytest.raises(DataError, match="there is no file or folder"):
        Knowledge.open([tmp_path / "a.txt", tmp_path / "b.txt"], cache=tmp_path / "cache")


MANUAL = """---
title: 手册
---
前言。

# 手册 *JX*

## 保修

保修期为两年。

### 滤芯
每半年更换一次。

```sh
# 不是标题
```

价格
----

| 型号 | 价格 | 保修 |
|------|-----:|---|
| JX-1 | 100 \\| 元 | 一年 |
| JX-2 | 200 |
| JX-3 | 300 | 两年 | 促销 |

以上含税。
#电话：123
## 空的
"""


def test_sections_of_markdown_carry_their_headings(passages):
    assert passages("m.md", MANUAL) == [
        ("1", "---\ntitle: 手册\n---"),
        ("4", "前言。"),
        ("8", "# 手册 *JX*\n## 保修\n保修期为两年。"),
        ("12", "# 手册 *JX*\n## 保修\n### 滤芯\n每半年更换一次。\n\n```sh\n# 不是标题\n```"),
        ("24", "# 手册 *JX*\n## 价格\n型号：JX-1；价格：100 | 元；保修：一年"),
        ("25", "# 手册 *JX*\n## 价格\n型号：JX-2；价格：200"),
        ("26", "# 手册 *JX*\n## 价格\n型号：JX-3；价格：300；保修：两年；促销"),
        ("28", "# 手册 *JX*\n## 价格\n以上含税。"),
        ("30", "# 电话：123\n## 空的"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# 一\r\n正文\r\n## 二\r\n正文", [("1", "# 一\n正文"), ("3", "# 一\n## 二\n正文")]),
        ("# 一\n# 二\n正文", [("1", "# 一"), ("2", "# 二\n正文")]),
        ("#话题 #旅行\n正文", [("1", "#话题 #旅行\n正文")]),
        ("> # 引\n> 文", [("1", "> # 引\n> 文")]),
        ("|甲|乙|\n|-|-|\n", [("1", "甲；乙")]),
        ("### 三\n正文\n# 一\n正文", [("1", "### 三\n正文"), ("3", "# 一\n正文")]),
        ("---\n不是头\n\n# 一\n正文", [("1", "---\n不是头"), ("4", "# 一\n正文")]),
    ],
)
def test_headings_of_markdown_as_people_write_them(passages, text, expected):
    assert passages("m.markdown", text) == expected


PAGE = """<!doctype html><html><head><meta charset=gbk><title>JX &amp; 手册</title>
<script>var a = "<h2>不是</h2>";</script></head>
<body class=x>
<nav><a href=/>首页</a></nav>
<header><h2 id=a>保修
期</h2></header>
<p>保修期为<b>两年</b>。</p><ul><li>一</li>
<li>二</li></ul>
<h3>价格</h3><!-- <h3>旧</h3> -->
<table><caption>价目</caption>
<tr><th rowspan=2>型号<th colspan=2>价格
<tr><th>国内</th><th>国外</th></tr>
<tr><td rowspan=2>JX-1</td><td><p>100</p><p>元</p></td><td>20</td></tr>
<tr><td>110</td><td>21</td></tr>
</table>
<p>含税。</p>
<table><tr><td>电压</td><td>220V</td></tr>
<tr><td>功率</td><td>100W</td></tr></table>
<table><tr><th>重量</th><td>9 kg</td></tr></table>
<h2>联系</h2>
<footer>版权</footer></body></html>"""


def test_sections_and_tables_of_a_page_carry_what_names_them(passages):
    top, price = "JX & 手册\n## 保修 期", "JX & 手册\n## 保修 期\n### 价格"
    assert passages("m.html", PAGE.encode("gbk")) == [
        ("5", f"{top}\n保修期为两年。\n一\n二"),
        ("9", f"{price}\n价目"),
        ("13", f"{price}\n型号：JX-1；价格 国内：100 元；价格 国外：20"),
        ("14", f"{price}\n型号：JX-1；价格 国内：110；价格 国外：21"),
        ("16", f"{price}\n含税。"),
        ("17", f"{price}\n电压 | 220V"),
        ("18", f"{price}\n电压 | 220V\n功率 | 100W"),
        ("19", f"{price}\n重量：9 kg"),
        ("20", "JX & 手册\n## 联系"),
    ]


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<p>电话", [("1", "电话")]),
        ("<h1>手册</h1>\n电话<br>地址", [("1", "# 手册\n电话\n地址")]),
        ("<title>题</title><h1>手册</h1><h1>又</h1>", [("1", "# 手册"), ("1", "# 又")]),
        ("<table><tr><td><h1>手册</h1>正文</table>尾", [("1", "# 手册\n正文\n尾")]),
        ("<table><tr><th>甲<th>乙</table>", [("1", "甲 | 乙")]),
        ("<h1>一</h1>\U000f0000甲<h2></h2>乙", [("1", "# 一\n甲"), ("1", "# 一\n乙")]),
        ("<div>\n<pre>\n甲\n乙</pre></div>", [("2", "甲\n乙")]),
    ],
)
def test_pages_as_people_write_them(passages, page, expected):
    assert passages("m.html", page) == expected


def test_a_wide_row_is_whole_and_no_span_unfolds_without_bound(passages):
    found = passages("m.html", f"<table><tr>{'<td>长' * 150}<tr><td colspan=999 rowspan=999>宽</table>")
    assert sum(text.count("长") for _, text in found) >= 150 and found[-1] == ("1", "宽")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", "型号,价格\nJX,100\n\nJY,\n", [("2", "型号：JX；价格：100"), ("4", "型号：JY")]),
        ("a.csv", "型号;说明\nJX;甲,乙\n", [("2", "型号：JX；说明：甲,乙")]),
        (
            "a.csv",
            '\ufeff名,注\n甲,"一\n二"\n乙,三,四\n',
            [("2", "名：甲；注：一\n二"), ("4", "名：乙；注：三；四")],
        ),
        ("a.csv", '名,注\n甲,"开\n乙,二\n丙,"三"\n', [("3", "名：乙；注：二"), ("4", "名：丙；注：三")]),
        ("a.csv", '名,注\n甲,"开\n乙,二\n', [("3", "名：乙；注：二")]),
        ("a.csv", '名,注\n甲,5" 管\n"乙" 二,"三\n', [("2", '名：甲；注：5" 管')]),
        ("a.tsv", "名\t注,释\n甲\t一,二\n", [("2", "名：甲；注,释：一,二")]),
    ],
)
def test_rows_carry_their_columns(passages, name, content, expected):
    assert passages(name, content) == expected


def test_a_quote_that_is_never_closed_is_counted(tmp_path):
    quarantine = Quarantine()
    found = list(rows.texts('名,注\n甲,"开\n乙,二\n', tmp_path / "a.csv", "a.csv", quarantine))
    assert [source.number for source in found] == [3]
    assert [(e["where"], e["reason"]) for e in quarantine.entries] == [(2, "a quote that is never closed")]


def test_a_long_row_repeats_its_key_and_a_cut_value_its_column(passages):
    body = "".join(f"第{i}条说明。" for i in range(40))
    found = passages("a.csv", f"编号,型号,说明,备注\n7,JX,{body},无\n", size=80, overlap=10)
    assert len(found) > 3
    assert all(source == "2" and text.startswith("编号：7；型号：JX；") for source, text in found)
    assert all("；说明：" in text for _, text in found[:-1]) and found[-1][1].endswith("；备注：无")


@given(
    st.text(alphabet="甲乙。\n", max_size=60),
    st.lists(st.tuples(st.text("名", max_size=40), st.integers(1, 90)), min_size=1, max_size=6),
    st.integers(8, 60),
    st.booleans(),
)
def test_pieces_keep_to_their_size_and_cover_the_text(head, fields, size, of_row):
    letters = map(chr, itertools.count(0x5000))  # each once, a full stop now and then
    values = ["".join(next(letters) + "。" * (i % 7 == 6) for i in range(length)) for _, length in fields]
    head = "\n".join(filter(None, head.split("\n")))
    if of_row:
        source = row(zip((name for name, _ in fields), values, strict=True), "a", 1, head)
    else:
        source = SourceText(values[0], "a", 1, head=head)
    assert source is not None
    found = [text for text, _ in pieces(source, size, size // 8)]
    assert all(0 < len(text) <= size for text in found)
    assert set("".join(values if of_row else values[:1])) - {"。"} <= set("".join(found))


ODD = st.text(alphabet="#|-<>/h1tdrp \n\"',`=：。天\t\x0b\u2028\U000f0001", max_size=60)
TAGS = ("table", "/table", "tr", "td", "td rowspan=3", "th colspan=2", "h1", "/h1", "p", "main", "/main")
PAGES = st.lists(st.sampled_from([*(f"<{tag}>" for tag in TAGS), "天", "地", "\n"]), max_size=12)


@given(st.one_of(ODD, PAGES.map("".join)))
def test_no_file_is_too_odd(text):
    for found in (markdown.texts(text, "a"), pages.texts(text, "a")):
        for source in found:
            assert source.text.strip() and 1 <= source.number <= text.count("\n") + 1
            assert source.lines is None or len(source.lines) >= source.text.count("\n") + 1
            list(pieces(source, 40, 8))
