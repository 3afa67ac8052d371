"""Cleaning as a whole: what is kept, rejected and counted, chunk by chunk."""

import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import gin
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.corpus import cleaning, frames
from data_pipelines.corpus.cleaning import (
    HanRatio,
    PersonalData,
    TooShort,
    WhiteSpace,
    chinese_rules,
    clean,
    clean_chunk,
)
from data_pipelines.corpus.cleaning.batch import BATCH_BYTES
from data_pipelines.errors import DataError

WORDS = [
    *("我们", "在", "研究", "语言", "模型", "的", "训练", "方法", "数据", "质量", "决定", "结果", "城市"),
    *("交通", "保护", "历史", "文化", "教育", "是", "和", "了", "工程师", "系统", "文本"),
]


def prose(seed, sentences=12):
    rng = random.Random(seed)
    return "\n".join(
        "".join(rng.choices(WORDS, k=12)) + f"，第{rng.randrange(10**6)}次。" for _ in range(sentences)
    )


def table(*texts, source="网"):
    rows = [(f"{i}", source, None, text) for i, text in enumerate(texts)]
    return pl.DataFrame(rows, schema=frames.SCHEMA, orient="row")


BAD = {
    "too_short": "短。",
    "han_ratio": "this is english, and quite a lot of it. " * 10,
    "title_only": "第一章标题\n" * 40,
    "duplicate_line_characters": "\n".join((prose(1, 2), prose(2, 6), prose(1, 2))),
    "duplicate_5_grams": "".join(f"{prose(5, 3)}第{i}遍。" for i in range(4)).replace("\n", ""),
    "line_ends": "，".join(prose(7).split("。")),
}


def test_every_document_is_kept_or_names_the_rule_that_rejected_it():
    good = [prose(i) for i in range(20)]
    texts = [*good[:10], *BAD.values(), *good[10:]]
    cleaned = clean(table(*texts), chinese_rules())
    assert cleaned.kept["text"].to_list() == good
    assert cleaned.kept["id"].to_list() == [str(i) for i in (*range(10), *range(16, 26))]
    assert cleaned.rejected["rule"].to_list() == list(BAD)
    assert cleaned.rejected["id"].to_list() == [str(i) for i in range(10, 16)]
    assert cleaned.rejected["bytes"].to_list() == [len(text.encode()) for text in BAD.values()]
    assert cleaned.kept.schema == frames.SCHEMA
    assert sum(cleaned.histograms["length"]["counts"]) == 26
    assert set(cleaned.histograms) == {"length", "han_ratio", "language_score"}


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=50), max_size=4))
@settings(max_examples=40)
def test_any_text(texts):
    rows = [None, "", *texts, *(text * 40 for text in texts)]
    cleaned = clean(table(*rows), chinese_rules())
    assert len(cleaned.kept) + len(cleaned.rejected) == len(rows)


def test_a_documents_fate_does_not_depend_on_its_neighbours():
    rng = random.Random(0)
    messy = [
        "<p>{}</p>",
        "{}\n扫码关注我们",
        "　　{}",
        "{}１２３ 13812345678",
        "**{}**[一](二)",
        "{}\u200be\u0301",
    ]
    texts = [rng.choice(messy).format(prose(i, 3 + i % 9)) for i in range(60)] + [*BAD.values(), "", "\n"]
    rules = chinese_rules()
    whole = clean(table(*texts), rules)
    order = rng.sample(range(len(texts)), len(texts))
    shuffled = clean(table(*texts)[order], rules)
    alone = [clean(table(*texts)[i : i + 1], rules) for i in range(len(texts))]
    assert pl.concat([one.kept for one in alone]).equals(whole.kept)
    assert pl.concat([one.rejected for one in alone]).equals(whole.rejected)
    assert shuffled.kept.sort("id").equals(whole.kept.sort("id"))
    assert shuffled.rejected.sort("id").equals(whole.rejected.sort("id"))
    assert (shuffled.changes, shuffled.histograms) == (whole.changes, whole.histograms)
    used = {rule for rule, (documents, _) in whole.changes.items() if documents}
    assert used >= {"markup", "advertising", "white_space", "compatibility_forms", "unprintable"}
    assert used >= {"personal_data", "personal_data.mobile"}


def test_many_batches(tmp_path):
    texts = [prose(i, 400) for i in range(12)] + [prose(99, 60_000)]
    frame = table(*texts)
    assert frames.text_bytes(frame) > 2 * BATCH_BYTES
    rules = (WhiteSpace(), TooShort(10**6), PersonalData())
    cleaned = clean(frame, rules)
    assert cleaned.kept["text"].to_list() == texts[12:]
    assert cleaned.rejected["value"].to_list() == [len(text) for text in texts[:12]]


def test_samples_show_no_personal_data():
    text = "联系13812345678。" * 5 + "字" * 431 + "13912345678"
    rejected = clean(table(text), (HanRatio(0.99), PersonalData())).rejected
    assert rejected["text"].to_list() == ["联系[手机号]。" * 5 + "字" * 431 + "[手机号]"[:19]]


def test_two_rules_of_one_name():
    with pytest.raises(DataError, match="two different rules are named 'too_short'"):
        clean(table("好"), (TooShort(1), TooShort(2)))
    clean(table("好"), (TooShort(1), WhiteSpace(), TooShort(1)))


def test_a_chunk(tmp_path):
    texts = [prose(i) for i in range(10)] + ["短" * i for i in range(120)]
    frame = pl.concat([table(*texts, source="甲"), table(*texts[:12], "abc " * 80, source="乙")])
    frames.write(frame, tmp_path / "in.arrow")
    out = tmp_path / "out"
    out.mkdir()
    stats = clean_chunk(tmp_path / "in.arrow", chinese_rules(), out=out)
    assert frames.read(out / "documents.arrow")["text"].to_list() == texts[:10] * 2
    rejected = frames.read(out / "rejected.arrow")
    assert dict(rejected.group_by("rule").len().rows()) == {"too_short": 50, "han_ratio": 1}
    assert (stats["documents_in"], stats["documents_out"]) == (len(frame), 20)
    assert stats["bytes_in"] == frames.text_bytes(frame)
    assert stats["sources"]["甲"]["rejected"] == {"too_short": [120, sum(3 * i for i in range(120))]}
    assert stats["sources"]["乙"]["rejected"] == {"too_short": [2, 3], "han_ratio": [1, 320]}
    for name in ("documents_in", "documents_out", "bytes_in", "bytes_out"):
        assert sum(source[name] for source in stats["sources"].values()) == stats[name]
    assert stats["counts"]["white_space.documents"] == 1
    assert stats["counts"]["personal_data.mobile.changes"] == 0
    # The samples are chosen by what they are, not by where they are.
    frames.write(frame.reverse(), tmp_path / "reversed.arrow")
    clean_chunk(tmp_path / "reversed.arrow", chinese_rules(), out=out)
    assert frames.read(out / "rejected.arrow").sort("id", "source").equals(rejected.sort("id", "source"))


def test_rules_travel_and_are_known_to_gin():
    rules = chinese_rules()
    assert pickle.loads(pickle.dumps(rules)) == rules
    gin.clear_config()
    try:
        gin.parse_config("TooShort.least = 7\nchinese_rules.personal_data = False\nHanRatio.least = 0.1")
        rules = chinese_rules()
        assert {TooShort(least=7), HanRatio(least=0.1)} <= set(rules)
    finally:
        gin.clear_config()
    assert not any(isinstance(rule, PersonalData) for rule in rules)
    classes = [
        value
        for value in vars(cleaning).values()
        if isinstance(value, type) and issubclass(value, cleaning.Rule)
    ]
    for rule in set(classes) - {cleaning.Rule, cleaning.Edit, cleaning.Filter}:
        assert gin.get_configurable(rule.__name__), rule
        assert len(rule.__doc__) > 40 and "(" not in rule.__doc__.split(".")[0][:20]


def test_output_does_not_depend_on_the_hash_seed(tmp_path):
    frames.write(table(*(prose(i) for i in range(5)), *BAD.values()), tmp_path / "in.arrow")
    code = (
        "import sys, json, pathlib; from data_pipelines.corpus.cleaning import clean_chunk, chinese_rules\n"
        "out = pathlib.Path(sys.argv[2]); out.mkdir()\n"
        "stats = clean_chunk(pathlib.Path(sys.argv[1]), chinese_rules(), out=out)\n"
        "print(json.dumps(stats, ensure_ascii=False))"
    )
    results = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        ran = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "in.arrow"), str(out)],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": seed, "POLARS_MAX_THREADS": seed},
        )
        results.append(
            (ran.stdout, (out / "documents.arrow").read_bytes(), (out / "rejected.arrow").read_bytes())
        )
    assert results[0] == results[1]
