"""Edits of cleaning: what each changes, what it must leave alone, and that a second time changes nothing."""

import unicodedata

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_pipelines.corpus.cleaning import (
    Advertising,
    CompatibilityForms,
    Markup,
    Simplified,
    Unprintable,
    WhiteSpace,
)
from data_pipelines.corpus.cleaning.batch import Batch
from data_pipelines.corpus.cleaning.normalise import CHINESE_PUNCTUATION
from data_pipelines.errors import DataError

# Chinese with what normalisation is for.
MIXED = st.text(
    st.one_of(
        st.sampled_from(
            list("中文，。！（）…～Ａ①㎡½ﬁ　 \u00a0\t\r\n\x0b\u2028e\u0301\u0345ᄀ각\u200b\ufeff\ue000\ufffd")
        ),
        st.characters(codec="utf-8"),
    ),
    max_size=40,
)


def edited(rule, *texts):
    """(texts, changes of all kinds by text) after an edit of all at once."""
    batch, changes = rule.edit(Batch(pl.Series(texts, dtype=pl.String)))
    counts = sum(changes.values())
    assert [bool(count) for count in counts] == [a != b for a, b in zip(texts, batch.texts, strict=True)]
    # Whichever view is made first, they agree.
    assert "".join(batch.texts).encode("utf-32-le") == batch.codes.tobytes()
    assert batch.texts.str.len_chars().to_list() == batch.lengths.tolist()
    return batch.texts.to_list(), counts.tolist()


def test_unprintable():
    text = "\ufeff你\u200b好\ue123\x00世\ufffd界\u202e\U000f0000。"
    assert edited(Unprintable(), text, "好\t\n\f") == (["你好世界。", "好\t\n\f"], [7, 0])


def test_chinese_punctuation_stays_where_plain_nfkc_makes_it_ascii():
    text = "你好，世界：“对”；（好）！？……——ＡＢＣ１２３㎡"
    assert edited(CompatibilityForms(), text)[0] == ["你好，世界：“对”；（好）！？……——ABC123m2"]
    assert edited(CompatibilityForms(keep=""), text)[0] == [unicodedata.normalize("NFKC", text)]
    assert edited(CompatibilityForms(keep=""), text)[0] == ["你好,世界:“对”;(好)!?......——ABC123m2"]


@given(st.lists(MIXED, max_size=5))
@example(["\u0b92\u0bd7", "e\u0301", "ᄀ\u1161\u11a8", "\u0323\u0307", "\u1e9b\u0323"])
def test_plain_nfkc_is_unicodes(texts):
    assert edited(CompatibilityForms(keep=""), *texts)[0] == [unicodedata.normalize("NFKC", t) for t in texts]


@given(st.lists(MIXED, max_size=5))
@settings(max_examples=200)
def test_normalisation_twice_is_once(texts):
    once = texts
    for rule in (Unprintable(), CompatibilityForms(), WhiteSpace()):
        once, _ = edited(rule, *once)
    for rule in (Unprintable(), CompatibilityForms(), WhiteSpace()):
        again, counts = edited(rule, *once)
        assert again == once
        assert not any(counts)
    assert all(
        kept.count(mark) == text.count(mark)
        for kept, text in zip(once, texts, strict=True)
        for mark in "，！（"
    )
    assert set(CHINESE_PUNCTUATION) >= set("，：；！？（）…")


def test_white_space():
    text = " \u3000第一段。 \r\n\r\n \r\n　　第二段  有\u00a0\t空格。\n行\r行\u2028行 \n"
    assert edited(WhiteSpace(), text, "", " \n ", "好 好\n\n好")[0] == [
        "第一段。\n\n第二段 有 空格。\n行\n行\n行",
        "",
        "",
        "好 好\n\n好",
    ]


def test_traditional_text_becomes_simplified_and_simplified_text_keeps_what_only_looks_traditional():
    traditional = "後來我們決定學習這個語言，並且為國家發展做出貢獻。"
    simplified = "乾隆皇帝藉此覆信，宫商角徵羽。" * 3
    quoting = simplified * 3 + "他写了“學習語言”。"
    texts, _ = edited(Simplified(), traditional, simplified, quoting, "", "abc")
    assert texts == ["后来我们决定学习这个语言，并且为国家发展做出贡献。", simplified, quoting, "", "abc"]
    # Without the gate, the simplified text is damaged.
    assert edited(Simplified(share=0.0), simplified)[0] == [simplified]
    assert "後" in traditional and edited(Simplified(share=0.9), traditional)[0] == [traditional]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("见[文档](http://a.cn/b_(c))。", "见文档。"),
        ("见[文档][1]和[别的][]。\n[1]: http://a.cn", "见文档和别的。\n"),
        ("前![图](a.png)后[![](b.png)](http://c)。", "前后。"),
        ("---\ntitle: 题\nauthor:\n- 甲\n---\n正文", "正文"),
        ("正文\n---\ntitle: 题\n---\n正文", "正文\n\ntitle: 题\n\n正文"),
        ("<p>段<b>落</b></p><!-- 注\n释 -->", "\n段落\n"),
        ("<ruby>堆<rt>heap</rt></ruby>", "堆（heap）"),
        ("若 a < b 且 c > d，用 vector<int>", "若 a < b 且 c > d，用 vector<int>"),
        ("一<script>\nif (a < b) f();\n</script>二", "一二"),
        ("## 标题\n### 小标题\n> 引文\n**重点**和`代码`", "标题\n小标题\n引文\n重点和代码"),
        ("题\n====\n```python\nx = 1\n```\n| 甲 | 乙 |\n|---|---|", "题\n\n\nx = 1\n\n| 甲 | 乙 |\n"),
        ("&lt;三&gt;&amp;&#20013;，?a=1&copy=2", "<三>&中，?a=1&copy=2"),
        ("没有标记的文字，5 * 3 = 15。", "没有标记的文字，5 * 3 = 15。"),
    ],
)
def test_markup(text, expected):
    assert edited(Markup(), text, "没有")[0] == [expected, "没有"]


def test_advertising_lines_go_and_paragraphs_that_speak_of_them_stay():
    long = "关于“扫码关注”这种做法，" + "研究者认为它改变了读者获取新闻的方式，" * 4 + "值得讨论。"
    lines = [
        "正文第一段。",
        "",
        "长按识别下方二维码",
        "首页 > 新闻 > 正文",
        "",
        long,
        "版权所有 某某公司",
        "首页 新闻 体育",
    ]
    texts, counts = edited(
        Advertising(), "\n".join(lines), "猜你喜欢", "我们下载 > 解压 > 运行。", "甲 | 乙 | 丙"
    )
    assert texts == [f"正文第一段。\n\n{long}", "", "我们下载 > 解压 > 运行。", "甲 | 乙 | 丙"]
    assert counts == [4, 1, 0, 0]


def test_own_keywords(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("某某牌\n\n", "utf-8")
    assert edited(Advertising(more=str(path)), "好。\n买某某牌皂", "扫码关注")[0] == ["好。", ""]
    assert edited(Advertising(keywords=(), menu=()), "扫码关注")[0] == ["扫码关注"]
    with pytest.raises(DataError, match=r"Advertising\.more: cannot read .*missing"):
        edited(Advertising(more=str(tmp_path / "missing")), "好")


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=60), max_size=4))
def test_any_text(texts):
    for rule in (Markup(), Unprintable(), CompatibilityForms(), WhiteSpace(), Simplified(), Advertising()):
        assert len(edited(rule, *texts)[0]) == len(texts)


@given(st.lists(st.text("中a\n", max_size=8), min_size=1, max_size=6), st.data())
def test_put_and_select(texts, data):
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, len(texts) - 1)))), np.int64)
    batch = Batch(pl.Series(texts, dtype=pl.String))
    if data.draw(st.booleans()):
        assert len(batch.codes) == sum(map(len, texts))
    new = [f"新{row}" for row in rows]
    expected = [new[rows.tolist().index(i)] if i in rows else text for i, text in enumerate(texts)]
    put = batch.put(rows, pl.Series(new, dtype=pl.String))
    assert put.texts.to_list() == expected
    assert "".join(expected).encode("utf-32-le") == put.codes.tobytes()
    keep = np.isin(np.arange(len(texts)), rows)
    assert put.select(keep).texts.to_list() == new
