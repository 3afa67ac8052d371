"""SQLite databases as knowledge: each row once, views too, any encoding, and a broken part costs itself."""

import random
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.corpus.reading.quarantine import Quarantine
from pangu_jax.apps.language.retrieval import full_text, sqlite
from pangu_jax.apps.language.retrieval.seen_rows import SeenRows

ROWS = ("型号JX的保修期为两年。", "滤芯每半年更换一次。")
TABLE = "CREATE TABLE docs (id INTEGER PRIMARY KEY, body TEXT)"
FILLED = f"INSERT INTO docs (body) VALUES ('{ROWS[0]}'), ('{ROWS[1]}')"
DOCS = ["docs:1", "docs:2"]


@pytest.fixture
def read(tmp_path):
    """Makes a database by statements, and reads it: ([source of each text], {source: text}, quarantine)."""

    def _read(*statements, page_size=4096):
        file = tmp_path / "a.db"
        with closing(sqlite3.connect(file)) as connection:
            connection.execute(f"PRAGMA page_size = {page_size}")
            connection.execute("PRAGMA writable_schema = ON")
            for statement in statements:
                connection.execute(*(statement if isinstance(statement, tuple) else (statement,)))
            connection.commit()
        return again(file)

    def again(file):
        quarantine = Quarantine()
        found = {f"{s.name}:{s.number}": s.text for s in sqlite.texts(file, quarantine)}
        return [*found], found, quarantine

    _read.again = again
    return _read


def foreign(name, using):
    """A virtual table that this SQLite cannot make, as another program left it."""
    sql = f"CREATE VIRTUAL TABLE {name} USING {using}"
    return "INSERT INTO sqlite_schema VALUES ('table', ?1, ?1, 0, ?2)", (name, sql)


@pytest.mark.parametrize(
    "index",
    [
        ["CREATE VIRTUAL TABLE f USING fts5(body, content='docs', content_rowid='id')"],
        ['CREATE VIRTUAL TABLE f USING fts4(content="docs", body)'],
        ["CREATE VIRTUAL TABLE f USING fts5 ( body , content = DOCS )"],
        ["CREATE VIRTUAL TABLE f USING fts5(body)", "INSERT INTO f SELECT body FROM docs"],
        ["CREATE VIRTUAL TABLE f USING fts3(body)", "INSERT INTO f (body) SELECT body FROM docs"],
        [
            "CREATE VIRTUAL TABLE f USING fts5(n UNINDEXED, body)",
            "INSERT INTO f SELECT id, replace(body, '的', ' 的 ') FROM docs",  # words apart, as for Chinese
        ],
        ["CREATE VIRTUAL TABLE f USING fts5(body, content='')", "INSERT INTO f SELECT body FROM docs"],
        [
            "CREATE VIRTUAL TABLE f USING fts5(body)",
            "INSERT INTO f SELECT body FROM docs",
            "CREATE VIRTUAL TABLE words USING fts5vocab(f, row)",
            "CREATE VIRTUAL TABLE twice USING fts5(body, tokenize='trigram')",
            "INSERT INTO twice SELECT body FROM docs",
        ],
        ["CREATE VIEW f AS SELECT * FROM docs"],
        ["CREATE VIEW f AS SELECT body FROM docs", "CREATE VIEW g AS SELECT rowid, body FROM docs"],
    ],
)
def test_what_repeats_a_table_gives_no_row_again(read, index):
    sources, _, quarantine = read(TABLE, FILLED, *index)
    assert sources == DOCS and not quarantine.counts


def test_an_index_gives_what_only_it_holds(read):
    sources, texts, _ = read(
        TABLE,
        FILLED,
        "CREATE VIRTUAL TABLE f USING fts5(body)",
        f"INSERT INTO f VALUES ('{ROWS[0]}'), ('只在索引里。')",
    )
    assert sources == [*DOCS, "f:2"] and texts["f:2"] == "body：只在索引里。"


def test_views_give_what_no_table_says_so(read):
    sources, texts, quarantine = read(
        TABLE,
        FILLED,
        "CREATE TABLE prices (doc INTEGER, price REAL)",
        "INSERT INTO prices VALUES (2, 9.5)",
        "CREATE VIEW 价目 AS SELECT body AS 说明, price AS 价格 FROM docs JOIN prices ON doc = id",
        "CREATE VIEW gone AS SELECT * FROM nowhere",
    )
    assert sources == [*DOCS, "prices:1", "价目:1"]
    assert texts["价目:1"] == f"说明：{ROWS[1]}；价格：9.5"
    assert [(e["where"], e["reason"]) for e in quarantine.entries] == [
        ("gone", "unreadable view: no such table: main.nowhere")
    ]


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        ("SELECT x FROM c", "a view of more than 50 rows"),
        ("SELECT max(x) AS x FROM c", "unreadable view: it takes too long"),
    ],
)
def test_a_view_without_end_is_cut(read, monkeypatch, view, reason):
    monkeypatch.setattr(sqlite, "VIEW_ROWS", 50)
    monkeypatch.setattr(sqlite, "VIEW_STEPS", 100_000)
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
    sources, _, quarantine = read(TABLE, FILLED, f"CREATE VIEW e AS {endless} {view}")
    assert sources[:2] == DOCS and len(sources) <= 52
    assert quarantine.entries[0]["where"] == "e" and quarantine.entries[0]["reason"].startswith(reason)


def test_a_table_of_a_foreign_module_costs_itself(read):
    sources, _, quarantine = read(foreign("vec", "vec0(embedding float[3])"), TABLE, FILLED)
    assert sources == DOCS
    assert [(e["where"], e["reason"]) for e in quarantine.entries] == [
        ("vec", "unreadable table: no such module: vec0")
    ]


def test_what_an_index_of_a_foreign_tokenizer_holds_is_read_beside_it(read):
    sources, texts, quarantine = read(
        foreign("cn", "fts5(title, body UNINDEXED, tokenize='simple')"),
        "CREATE TABLE cn_content (id INTEGER PRIMARY KEY, c0, c1)",
        f"INSERT INTO cn_content VALUES (4, '保修', '{ROWS[0]}')",
        foreign("cn4", "fts4(title, body, languageid='lang', tokenize=simple)"),
        "CREATE TABLE cn4_content (docid INTEGER PRIMARY KEY, c0title, c1body, langid)",
        ("INSERT INTO cn4_content VALUES (5, '滤芯', ?, x'01')", ("每半年。".encode(),)),
        foreign("beside", "fts5(body, content='docs', tokenize='simple')"),
        TABLE,
        FILLED,
    )
    assert sources == [*DOCS, "cn:4", "cn4:5"] and not quarantine.counts
    assert texts["cn4:5"] == "title：滤芯；body：每半年。"
    assert texts["cn:4"] == f"title：保修；body：{ROWS[0]}"


def test_a_broken_page_costs_its_table_from_there(read, tmp_path):
    filled = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 200)"
    read(
        "CREATE TABLE big (body TEXT)",
        f"INSERT INTO big {filled} SELECT '第' || x || '行' || hex(zeroblob(20)) FROM c",
        TABLE,
        FILLED,
        page_size=512,
    )
    file = tmp_path / "a.db"
    data = bytearray(file.read_bytes())
    begin = data.index("第150行".encode()) // 512 * 512
    data[begin : begin + 512] = bytes(512)
    file.write_bytes(data)
    sources, _, quarantine = read.again(file)
    assert sources[-2:] == DOCS and 100 < len(sources) < 202
    assert [e["where"] for e in quarantine.entries] == ["big"]


@pytest.mark.parametrize("encoding", ["gbk", "big5", "gb18030", "utf-8"])
@pytest.mark.parametrize("cast", ["CAST(? AS TEXT)", "?"])
def test_text_in_other_encodings_is_decoded(read, encoding, cast):
    text = (
        "滤芯每半年更换一次，\n保修期为两年。"
        if encoding != "big5"
        else "濾芯每半年更換一次，\n保固期為兩年。"
    )
    insert = f"INSERT INTO docs (body) VALUES ({cast})", (text.encode(encoding),)
    sources, texts, quarantine = read(TABLE, FILLED, insert, insert)
    assert sources == [*DOCS, "docs:3", "docs:4"] and texts["docs:3"] == f"id：3；body：{text}"
    assert not quarantine.counts and not quarantine.noted["bad bytes"]


def test_what_is_no_text_is_counted_and_costs_the_value(read):
    noise = random.Random(0).randbytes(200)
    sources, texts, quarantine = read(
        "PRAGMA encoding = 'UTF-8'",
        TABLE,
        ("INSERT INTO docs (body) VALUES (CAST(? AS TEXT))", (noise,)),
        ("INSERT INTO docs (body) VALUES (CAST(? AS TEXT))", ("保修期为两年，".encode() * 9 + b"\xff",)),
        "CREATE TABLE pictures (raw BLOB, name)",
        ("INSERT INTO pictures VALUES (?, ?)", (b"\x89PNG\0\1\2", "保修卡".encode())),
    )
    assert texts["docs:1"] == "id：1" and texts["docs:2"].endswith("，�")
    assert texts["pictures:1"] == "name：保修卡" and len(sources) == 3
    assert quarantine.noted["bad bytes"] == 1
    assert [(e["where"], e["reason"]) for e in quarantine.entries] == [
        ("docs:1", "not text: no known encoding")
    ]


def test_generated_columns_and_utf_16_are_read(read):
    _, texts, _ = read(
        "PRAGMA encoding = 'UTF-16'",
        "CREATE TABLE t (a TEXT, b TEXT GENERATED ALWAYS AS (a || '！') VIRTUAL)",
        "INSERT INTO t (a) VALUES ('茶')",
    )
    assert texts == {"t:1": "a：茶；b：茶！"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("fts5(a, b UNINDEXED, tokenize = 'porter ascii')", (("a", "b"), None)),
        ("fts5(\"a,b\", 'it''s', [c d], content=\"my docs\")", (("a,b", "it's", "c d"), "my docs")),
        ("FTS4(content=``, x)", (("x",), "")),
        ("fts3(x TEXT, y VARCHAR(20), tokenize=icu zh_CN)", (("x", "y"), None)),
        ("fts5(content)", (("content",), None)),
        ("fts5", ((), None)),
        ("rtree(id, a, b)", None),
        ("fts5vocab(f, row)", None),
    ],
)
def test_arguments_of_an_index_are_read_as_sqlite_does(arguments, expected):
    assert full_text.of(f'CREATE VIRTUAL TABLE IF NOT EXISTS "a using b" USING {arguments}') == expected


@given(st.text(alphabet="()'\"`[],= \nab", max_size=30))
def test_no_arguments_of_an_index_are_too_odd(arguments):
    full_text.of(f"CREATE VIRTUAL TABLE f USING fts5({arguments})")


CELLS = st.lists(st.sampled_from(["甲", "乙", "丙", "甲 乙"]), min_size=1, max_size=3)


@given(st.lists(CELLS, max_size=8), CELLS, st.booleans())
def test_a_row_is_seen_when_one_row_has_all_its_values(rows, asked, names):
    seen = SeenRows(names)
    columns = "abc"
    for cells in rows:
        seen.add(zip(columns, cells, strict=False))

    def values(cells):
        pairs = list(zip(columns, cells, strict=False))
        return set(pairs) if names else {"".join(value.split()) for _, value in pairs}

    expected = any(values(asked) <= values(cells) for cells in rows)
    assert seen.holds(list(zip(columns, asked, strict=False))) == expected
