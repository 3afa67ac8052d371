"""Retrieval: passages cover their text, the right one is found and cited, and the index is kept."""

import itertools
import json
import sqlite3
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.errors import DataError
from pangu_jax.apps.language.retrieval import folding, index, prompting
from pangu_jax.apps.language.retrieval.bm25 import BM25, words
from pangu_jax.apps.language.retrieval.chunking import chunks
from pangu_jax.apps.language.retrieval.embeddings import Encoder
from pangu_jax.apps.language.retrieval.knowledge import Knowledge, Passage
from pangu_jax.errors import UserError
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.language.model.forward import Forward

FACTS = (
    "长城东起山海关，西至嘉峪关，是中国古代的军事工程。",
    "熊猫以竹子为食，主要栖息在四川的山地。",
    "沸点是液体沸腾时的温度，水在标准气压下的沸点为一百度。",
    "图书馆每天早上九点开门，周一闭馆。",
)


@pytest.fixture
def open_(tmp_path):
    """`Knowledge.open` with an index folder of the test's own."""
    return lambda *paths, **options: Knowledge.open(paths, cache=tmp_path / "cache", **options)


@pytest.fixture
def facts(tmp_path):
    file = tmp_path / "facts.txt"
    file.write_text("\n\n".join(FACTS), "utf-8")
    return file


@given(
    st.text(alphabet="天地人，。！？；.\n 」a1", max_size=300),
    st.integers(2, 40).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, (size - 1) // 2))),
)
def test_passages_cover_the_text_within_their_bounds(text, bounds):
    size, overlap = bounds
    spans = list(chunks(text, size, overlap))
    covered = {i for begin, end in spans for i in range(begin, end)}
    assert {i for i, letter in enumerate(text) if not letter.isspace()} <= covered
    assert all(0 < end - begin <= size for begin, end in spans)
    assert all(text[begin:end].strip() for begin, end in spans)
    for before, after in itertools.pairwise(spans):
        assert before.begin < after.begin and before.end < after.end
        assert before.end - after.begin <= overlap


def test_passages_end_between_sentences_and_repeat_whole_ones():
    text = "一二三四五。六七八。九十百千万亿。"
    assert [text[slice(*span)] for span in chunks(text, 10, 4)] == ["一二三四五。六七八。", "九十百千万亿。"]
    assert [text[slice(*span)] for span in chunks(text, 11, 4)] == [
        "一二三四五。六七八。",
        "六七八。九十百千万亿。",
    ]
    with pytest.raises(ValueError, match="overlap"):
        list(chunks(text, 10, 5))


@pytest.mark.parametrize(
    ("question", "fact"),
    [("熊猫吃什么？", 1), ("水的沸点是多少", 2), ("图书馆几点开门", 3), ("长城西边到哪里", 0)],
)
def test_words_find_the_passage_and_its_line(open_, facts, question, fact):
    found = open_(facts, size=40, overlap=0).search(question, 1)
    assert found[0].text == FACTS[fact] and found[0].source == f"facts.txt:{2 * fact + 1}"
    assert found[0].score > 0


def test_words_that_nothing_shares_find_nothing(open_, facts):
    assert open_(facts).search("zebra", 3) == []
    assert open_(facts).search("？？", 3) == []


def test_words_are_searched_in_one_form_and_without_marks():
    assert words("ＴＰＵ，很快！") == words("tpu 很快")
    assert words("，。！") == []


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("軟件怎麼安裝", "软件的安装要十分钟。"),
        ("软件怎么安装", "軟件的安裝要十分鐘。"),
        ("臺灣的鐵路", "台湾铁路有环岛线。"),
        ("乾燥剂", "乾燥劑每月更換。"),
        ("保固期多长", "保固期為兩年。"),
        ("ＪＸ的裡面", "jx里面有滤芯。"),
        ("乾隆皇帝", "乾隆皇帝住在北京。"),
    ],
)
def test_traditional_and_simplified_characters_find_each_other(open_, tmp_path, question, text):
    (tmp_path / "a.txt").write_text(text, "utf-8")
    assert [passage.text for passage in open_(tmp_path).search(question)] == [text]


def test_an_encoder_reads_simplified_characters_on_both_sides(open_, tmp_path, encoder):
    pytest.importorskip("faiss")
    (tmp_path / "a.jsonl").write_text('"軟件開發"\n"鐵路運輸"\n"環島旅行"\n', "utf-8")
    knowledge = open_(tmp_path / "a.jsonl", retriever="embeddings", encoder=encoder)
    for passage, asked in zip(knowledge.passages, ("软件开发", "铁路运输", "环岛旅行"), strict=True):
        (same,), (other,) = knowledge.search(passage.text, 1), knowledge.search(asked, 1)
        assert same.text == other.text == passage.text
        assert same.score == pytest.approx(other.score) == pytest.approx(1, abs=1e-4)


def test_a_package_that_is_missing_is_named(open_, facts, monkeypatch):
    monkeypatch.setitem(sys.modules, "opencc", None)
    folding._converter.cache_clear()
    with pytest.raises(UserError, match=r"needs opencc.*pangu-jax\[knowledge\]"):
        open_(facts)


def test_lines_of_long_passages_are_counted_in_the_file(open_, tmp_path):
    lines = [f"第{i}行说的是编号{i}的事。" for i in range(200)]
    (tmp_path / "long.md").write_text("\n".join(lines), "utf-8")
    for passage in open_(tmp_path / "long.md", size=50, overlap=20).passages:
        line = int(passage.source.removeprefix("long.md:"))
        assert passage.text.startswith(lines[line - 1])


def test_a_folder_gives_all_kinds_by_their_paths_inside(open_, tmp_path):
    folder = tmp_path / "kb"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.md").write_text("# 长城\n很长。", "utf-8")
    (folder / "deep" / "b.jsonl").write_text(
        '{"text": "熊猫"}\n{"名": "竹子", "高": 3}\n["no"]\n{bad\n', "utf-8"
    )
    (folder / "c.bin").write_bytes(b"\0\1")
    knowledge = open_(folder)
    assert [(p.source, p.text) for p in knowledge.passages] == [
        ("a.md:1", "# 长城\n很长。"),
        ("deep/b.jsonl:1", "熊猫"),
        ("deep/b.jsonl:2", "名：竹子；高：3"),
    ]
    assert [entry["where"] for entry in knowledge.quarantine.entries] == ["all of it", 3, 4]


@pytest.fixture
def database(tmp_path):
    file = tmp_path / "shop #1?.db"
    with sqlite3.connect(file) as connection:
        connection.execute(
            'CREATE TABLE "drop ""x"" table" ("名 称" TEXT, price REAL, photo BLOB, note TEXT)'
        )
        connection.execute(
            """INSERT INTO "drop ""x"" table" (rowid, "名 称", price, photo) VALUES (7, '绿茶', 3.5, x'00')"""
        )
        connection.execute("CREATE TABLE plain (rowid TEXT, k TEXT PRIMARY KEY) WITHOUT ROWID")
        connection.execute("INSERT INTO plain VALUES ('红茶', 'a'), ('黑茶', 'b')")
        connection.execute("CREATE VIEW everything AS SELECT * FROM plain")
    connection.close()
    return file


def test_rows_of_a_database_are_text_and_cited_by_rowid(open_, database):
    knowledge = open_(database)
    assert [(p.source, p.text) for p in knowledge.passages] == [
        ('drop "x" table:7', "名 称：绿茶；price：3.5"),
        ("plain:1", "rowid：红茶；k：a"),
        ("plain:2", "rowid：黑茶；k：b"),
    ]
    assert knowledge.search("绿茶多少钱", 1)[0].source == 'drop "x" table:7'


def test_a_database_is_neither_written_nor_locked(open_, database):
    before = database.read_bytes()
    writer = sqlite3.connect(database)
    writer.execute("BEGIN")
    writer.execute("INSERT INTO plain VALUES ('白茶', 'c')")
    assert len(open_(database).passages) == 3
    writer.commit()
    writer.close()
    assert len(open_(database).passages) == 4
    assert before != database.read_bytes()  # the control: what changed it is the writer alone
    before = database.read_bytes()
    open_(database)
    assert database.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("missing.txt", None, "there is no file"),
        ("a.pdf", b"%PDF", "1 x of a kind that is not read, .pdf"),
        ("a.txt", bytes(range(256)), "not text"),
        ("a.txt", b" \n", "no text"),
        ("a.jsonl", b"{\n", "1 x malformed JSON"),
        ("a.db", b"SQLite format 3\0" + b"x" * 200, "no readable database, .*not a database"),
    ],
)
def test_what_cannot_be_knowledge_is_said_in_one_line(open_, tmp_path, name, content, error):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=error) as caught:
        open_(tmp_path / name)
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_an_index_is_kept_and_used_again_until_the_text_changes(open_, facts, monkeypatch):
    first = open_(facts)
    assert not first.reused
    monkeypatch.setattr(BM25, "build", lambda texts: pytest.fail("indexed again"))
    again = open_(facts)
    assert again.reused and again.search("熊猫吃什么", 2) == first.search("熊猫吃什么", 2)
    monkeypatch.undo()
    facts.write_text(facts.read_text("utf-8") + "\n\n新的一段。", "utf-8")
    assert not open_(facts).reused


def test_a_torn_index_is_built_again_and_nothing_in_it_is_pickled(open_, facts, tmp_path):
    found = open_(facts).search("熊猫", 1)
    (kept,) = (tmp_path / "cache").iterdir()
    for file in kept.iterdir():
        if file.suffix == ".npy":
            np.load(file, allow_pickle=False)
        else:
            json.loads(file.read_text("utf-8"))
        file.write_bytes(file.read_bytes()[:20])
    again = open_(facts)
    assert not again.reused and again.search("熊猫", 1) == found
    assert open_(facts).reused


def test_borders_of_passages_count_in_a_fingerprint():
    assert index.fingerprint(["ab", "c"]) != index.fingerprint(["a", "bc"])


@pytest.fixture(scope="module")
def encoder():
    config = EncoderDecoderConfig(
        vocab_size=512, d_model=32, d_ff=32, heads=2, encoder_layers=1, decoder_layers=1
    )
    params = architecture.init(config, jax.random.key(0))
    params["embedding"] = params["embedding"] * 20  # a fresh table drowns in what its one layer adds
    return Encoder(Forward(config), params, lambda text: np.array([3 + ord(c) % 509 for c in text], np.int32))


def test_embeddings_find_what_shares_characters(open_, facts, encoder):
    pytest.importorskip("faiss")
    knowledge = open_(facts, retriever="embeddings", encoder=encoder, size=40, overlap=0)
    for fact in FACTS:
        best = knowledge.search(fact[:-1], 4)
        assert best[0].text == fact and best[0].score > best[1].score
    again = open_(facts, retriever="embeddings", encoder=encoder, size=40, overlap=0)
    assert again.reused and again.search(FACTS[2], 4) == knowledge.search(FACTS[2], 4)


def test_a_vector_does_not_depend_on_its_neighbours_or_padding(encoder):
    alone = encoder.vectors([FACTS[0]])
    together = encoder.vectors(["短", FACTS[0], FACTS[0] * 3])
    np.testing.assert_allclose(together[1], alone[0], atol=1e-5)
    assert np.abs(together[0] - alone[0]).max() > 0.01


def test_other_weights_are_another_index(encoder):
    params = architecture.init(encoder._forward.config, jax.random.key(1))
    assert Encoder(encoder._forward, params, encoder._encode).fingerprint() != encoder.fingerprint()


def test_retrievers_are_named_or_refused(open_, facts):
    with pytest.raises(UserError, match="run directory"):
        open_(facts, retriever="embeddings")
    with pytest.raises(UserError, match="not one of bm25, embeddings"):
        open_(facts, retriever="bm52")


def test_prompts_number_passages_as_citations_do():
    prompts = prompting.load()
    passages = [Passage("甲{question}\n乙", "a.txt:1"), Passage("丙" * 99, "t:2")]
    prompt = prompts.prompt("问题{0}？", passages, [("旧问", "旧答")])
    assert "[1] 甲{question} 乙" in prompt and "[2] 丙" in prompt and "问题{0}？" in prompt
    assert prompt.index("乙") < prompt.index("旧答") < prompt.index("问题{0}？")
    first, second = prompts.citations(passages)
    assert first.startswith("[1] a.txt:1") and second.startswith("[2] t:2") and second.endswith("…")
    assert "[1]" not in prompts.prompt("问？")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (("turn =", "trun ="), "wrong: trun, turn"),
        (("{question}\\n答：{answer}", "{answer.__class__}"), "answer.__class__"),
        (('"', "'''"), "not TOML"),
    ],
)
def test_templates_are_checked(tmp_path, change, error):
    text = Path(prompting.__file__).with_name("prompts.toml").read_text("utf-8")
    file = tmp_path / "prompts.toml"
    file.write_text(text.replace(*change, 1), "utf-8")
    with pytest.raises(UserError, match=error):
        prompting.load(file)
