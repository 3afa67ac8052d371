"""HTML to text, and the lines that all pages of a site share."""

import os
import tarfile
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.corpus import extraction
from data_pipelines.corpus.extraction import drop_repeated_lines, text_of, texts_of

MENU = "<nav><a>首页</a></nav>"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<p>一<b>二</b>三<br>四</p>五<div>六</div>七", "一二三\n四\n五\n六\n七"),
        ("<P>甲<P>乙<UL><LI>丙<LI>丁</UL>", "甲\n乙\n丙\n丁"),
        ("<p>a\n  b\t c &amp; &lt;d&gt;&nbsp;&#x4E2D;　</p>", "a b c & <d> 中"),
        ("a<!-- no -->b<span> c</span><a href='>'>d</a>", "ab cd"),
        ("<table><tr><th>甲<th>乙</tr>\n<tr><td>1</td>\n<td>2</td></tr></table>", "甲 乙\n1\t2"),
        ("<table><tr><td><p>栏</p></td><td><p>文</p><p>章</p></td></table>", "栏\n文\n章"),
        ("<pre>a\n  b\n\nc</pre>d\ne", "a\nb\nc\nd e"),
        ("<article><header><h1>题</h1></header><p>文</p></article><header>头</header>", "题\n文"),
        ("<div role='banner'>头</div><main>文</main><aside>旁</aside><footer>脚</footer>", "文"),
        ("<form>搜索<button>go</button></form><form><p>整页</p></form>", "整页"),
        ("<script>'<p>x'</script><style>p{}</style><noscript>x</noscript>文", "文"),
        ("<svg><text>x</text></svg><select><option>x</select><iframe>x</iframe><object>x</object>文", "文"),
        ("<h1>题</h1>" + "<div>" * 300 + "深", "题\n深"),
        ("", ""),
    ],
)
def test_blocks_are_lines_and_menus_are_gone(body, text):
    page = f"<!DOCTYPE html><html><head><title>x</title></head><body>{MENU}{body}</body></html>"
    assert text_of(page) == text
    assert text_of(page.encode()) == text


def test_a_page_without_semantic_tags_goes_by_its_shape():
    menu = "<div class='menu'><ul>" + "<li><a href='#'>栏目</a></li>" * 20 + "</ul></div>"
    main = "<div><h1>标题</h1>" + "<p>这是一段很长的正文，讲一件事情。</p>" * 10 + "</div>"
    page = f"<html><body>{menu}{main}</body></html>"
    assert text_of(page).splitlines() == ["标题", *["这是一段很长的正文，讲一件事情。"] * 10]
    # Only its semantic tags tell apart the menu of a page that has some.
    assert "栏目" in text_of(page.replace("<h1>", "<article><h1>"))


def test_a_page_all_in_one_is_not_lost():
    assert text_of("<div><a href='#'>只有链接</a></div>") == "只有链接"
    assert text_of("没有标签") == "没有标签"
    assert text_of("<frameset><frame src=x></frameset>") == ""
    assert text_of(bytes(range(256)) * 8) == ""


@given(st.text("<>/pdivtrh1&;a \n\"'=!-\x1e\x1f\f中", max_size=60))
def test_any_page(body):
    """No mark of ours is left, and a page's text does not depend on its neighbours."""
    texts = texts_of([f"<nav>{body}", body, f"<p>{body}</p>"])
    assert not any(mark in text for text in texts for mark in "\f\x1e\x1f")
    assert texts[1] == text_of(body)


def test_lines_most_pages_have_are_dropped():
    texts = [f"站名\n第{i}篇\n{'隔页有' if i % 2 else '一半'}\n版权" for i in range(40)]
    own = ["站名\n独立的"] * 19  # too few pages to say
    kept, dropped = drop_repeated_lines(
        pl.Series([*texts, *own, "站名\n无站"]), pl.Series(["a"] * 40 + ["b"] * 19 + [None])
    )
    assert kept[0] == "第0篇\n一半" and kept[1] == "第1篇\n隔页有"  # half is not more than half
    assert kept.to_list()[40:] == [*own, "站名\n无站"]
    assert dropped == 80
    assert drop_repeated_lines(pl.Series(["同"] * 20), pl.Series(["a"] * 20))[0].to_list() == [""] * 20
    repeated_in_one = pl.Series(["甲\n甲\n甲", *(f"{i}" for i in range(19))])
    assert drop_repeated_lines(repeated_in_one, pl.Series(["a"] * 20))[1] == 0


def test_the_real_pages():
    data = Path(os.environ.get("PANGU_DATA_DIR") or Path(__file__).parents[3] / "shared/data") / "corpus_zh"
    if not data.is_dir():
        pytest.skip(f"no {data}")
    pages = []
    for archive in sorted(data.glob("*_html.tar.xz")):
        with tarfile.open(archive) as members:
            pages += [members.extractfile(m).read().decode() for m in members if m.name.endswith(".html")]
    texts = texts_of(pages)
    empty = sum(not text for text in texts)
    assert len(pages) > 2500 and empty < 12  # those have paragraphs without text
    headed = sum("LibreOffice 7.4 帮助" in page for page in pages)
    assert headed > 2500 and texts.str.contains("LibreOffice 7.4 帮助").sum() <= 1  # one speaks of it
    kept, _ = drop_repeated_lines(texts, pl.repeat("help", len(texts), eager=True))
    on = Counter(line for text in kept for line in set(text.split("\n")))
    assert max(on.values()) <= len(pages) / 2


def test_marks_are_in_order():
    """A name must not begin that of an inline element."""
    inline = "a abbr b bdi bdo cite code data del dfn em font i img ins kbd label mark q s samp small span"
    inline += " strike strong sub sup time tt u var wbr ruby rt rp big acronym picture"
    known = {"picture": "p"}  # an image
    for name in inline.split():
        begins = [block for block in extraction._BLOCKS if name.startswith(block)]
        assert begins == ([known[name]] if name in known else [])
