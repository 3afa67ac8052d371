"""Filters of cleaning, on both sides of their thresholds, and against plain definitions."""

import collections
import itertools
import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.corpus.cleaning import (
    AlphanumericRatio,
    BulletLines,
    CharacterRepetition,
    DuplicateLineCharacters,
    DuplicateLines,
    DuplicateNgrams,
    EllipsisLines,
    HanRatio,
    Language,
    LineEnds,
    Mojibake,
    NewLines,
    SensitiveWords,
    StopWords,
    TitleOnly,
    TooLong,
    TooShort,
    TopNgram,
    WordLength,
    WordsWithLetters,
)
from data_pipelines.corpus.cleaning.batch import Batch
from data_pipelines.corpus.cleaning.segmentation import segment
from data_pipelines.errors import DataError

PROSE = "我们今天在北京讨论语言模型的训练方法，大家认为数据的质量比数量更重要。"


def judged(rule, *texts):
    """(keep, value) of texts that are judged together."""
    verdict = rule.judge(Batch(pl.Series(texts, dtype=pl.String)))
    assert verdict.keep.shape == verdict.value.shape == (len(texts),)
    assert verdict.value.dtype == np.float64 and not np.isnan(verdict.value).any()
    return verdict.keep.tolist(), verdict.value.tolist()


LINES_7 = "".join(f"这是第{i}行。\n" for i in "一二三四五六七")


@pytest.mark.parametrize(
    ("rule", "kept", "rejected", "value"),
    [
        (TooLong(10), "字" * 10, "字" * 11, 11),
        (TooShort(150), "字" * 150, "字" * 149, 149),
        (HanRatio(0.6), "汉" * 6 + " \n" + "abc。", "汉" * 5 + "abc。.", 0.5),
        (AlphanumericRatio(0.1), "汉" + "。" * 9, "汉" + "。" * 10, 1 / 11),
        (
            TitleOnly(20),
            "题目\n" + "字" * 10 + "，" + "字" * 9,
            "字" * 30 + "\n" + "字" * 10 + "，" + "字" * 8,
            19,
        ),
        (LineEnds(0.5), "甲。\n\n乙", "甲。\n乙\n丙", 1 / 3),
        (DuplicateLines(0.25), "甲\n\n甲\n乙\n丙", "甲\n甲\n乙", 1 / 3),
        (DuplicateLineCharacters(0.25), "甲乙\n甲乙\n" + "长" * 4, "甲乙\n甲乙\n" + "长" * 2, 1 / 3),
        (BulletLines(0.5), "- 甲\n乙", "- 甲\n• 乙\n丙", 2 / 3),
        (EllipsisLines(0.5), "甲…\n乙", "甲……\n乙...\n..", 2 / 3),
        (NewLines(0.75), "北京\n天气\n今天\n学习", "北京\n\n天气", 1.0),
        (WordLength(2, 11), "我们 internationalization", "internationalization", 20),
        (WordsWithLetters(0.5), "我们，天气，", "我们，，123", 0.25),
        (StopWords(2), "的，在", "的的的", 1),
        (StopWords(1, words=("我们", "的")), "我们", "在", 0),
    ],
)
def test_both_sides_of_the_threshold(rule, kept, rejected, value):
    keep, values = judged(rule, kept, rejected, kept)
    assert keep == [True, False, True]
    assert values[1] == pytest.approx(value)
    # Nothing to measure is a verdict too.
    assert judged(rule, "", " \n")[0] == [judged(rule, text)[0][0] for text in ("", " \n")]


def test_stop_words_far_from_the_beginning_count():
    late = "，" * 400 + "的，在"
    batch = Batch(pl.Series(["的" + late, late[:-2], "", late]))
    verdict = StopWords(2).judge(batch)
    assert verdict.keep.tolist() == [True, False, False, True]
    assert verdict.value.tolist() == [2, 1, 0, 2]


def test_character_repetition_is_data_juicers():
    rng = random.Random(1)
    texts = ["哈哈" * 60, PROSE * 8 + "".join(rng.choices(PROSE, k=200)), PROSE, "短", ""]
    texts += ["".join(rng.choices("好的吗", k=300)) for _ in range(5)]
    for text, value in zip(texts, judged(CharacterRepetition(most=0.0), *texts)[1], strict=True):
        counts = sorted(
            collections.Counter(text[i : i + 10] for i in range(len(text) - 9)).values(), reverse=True
        )
        few = min(int(len(counts) ** 0.5), sum(count > 1 for count in counts))
        assert value == pytest.approx(sum(counts[:few]) / sum(counts) if counts else 0)
    assert judged(CharacterRepetition(), *texts[:3])[0] == [False, True, True]


def plain_words(text):
    ends = segment(text).tolist()
    return [word for i, j in itertools.pairwise([0, *ends]) if (word := "".join(text[i:j].split()))]


def plain_top(text, n):
    """datatrove's, where words are told apart by their strings alone."""
    words = plain_words(text)
    ngrams = [words[i : i + n] for i in range(len(words) - n + 1)]
    if not ngrams:
        return 0.0
    ((top, count),) = collections.Counter("".join(ngram) for ngram in ngrams).most_common(1)
    return (len(top) + n - 1) * count / len(text)


def plain_duplicates(text, n):
    """datatrove's find_all_duplicate."""
    words, seen, place, repeated = plain_words(text), set(), 0, 0
    while place < len(words) - n + 1:
        ngram = "".join(words[place : place + n])
        if ngram in seen:
            repeated += len(ngram)
            place += n
        else:
            seen.add(ngram)
            place += 1
    return repeated / len(text)


TOKENS = st.lists(
    st.sampled_from(["我们", "的", "天气", "，", " ", "\n", "ab", "北京", "1"]), max_size=60
).map("".join)


@given(st.lists(TOKENS, min_size=1, max_size=4), st.sampled_from([2, 3, 4]))
@settings(max_examples=150)
def test_top_ngrams_are_the_plain_ones(texts, n):
    expected = [plain_top(text, n) if text else 0.0 for text in texts]
    assert judged(TopNgram(n), *texts)[1] == pytest.approx(expected)


@given(
    st.lists(TOKENS, min_size=1, max_size=4), st.sampled_from([2, 5, 6, 10]), st.sampled_from([0.0, 0.2, 0.5])
)
@settings(max_examples=150)
def test_duplicate_ngrams_are_the_plain_ones(texts, n, most):
    expected = [plain_duplicates(text, n) if text else 0.0 for text in texts]
    keep, values = judged(DuplicateNgrams(n, most), *texts)
    assert keep == [value <= most for value in expected]
    for value, exact in zip(values, expected, strict=True):
        # A value that cannot matter may be a bound.
        assert value == pytest.approx(exact) if exact > most else exact - 1e-12 <= value <= most + 1e-12


def test_ngrams_of_long_texts():
    rng = random.Random(3)
    vocabulary = ["我们", "天气", "北京", "学习", "研究", "模型", "数据", "新闻", "的", "在", "，", "。"]
    texts = ["".join(rng.choices(vocabulary, k=4000)) for _ in range(3)]
    texts += [texts[0][:900] * 3, PROSE * 50, PROSE]
    for n in (5, 8, 10):
        expected = [plain_duplicates(text, n) for text in texts]
        assert judged(DuplicateNgrams(n, 0.0), *texts)[1] == pytest.approx(expected)
    for n in (2, 4):
        assert judged(TopNgram(n), *texts)[1] == pytest.approx([plain_top(text, n) for text in texts])
    assert judged(DuplicateNgrams(5, 0.198), *texts[4:])[0] == [False, True]


def test_hashes_that_share_their_upper_bits_are_told_apart(monkeypatch):
    from data_pipelines.corpus.spans import Spans

    honest = Spans.__call__
    # Keeps nothing but the lowest bits apart, which the packed sort does not see.
    monkeypatch.setattr(Spans, "__call__", lambda self, i, j: honest(self, i, j) % np.uint64(61))
    text = "".join(random.Random(2).choices(["我们", "天气", "北京", "学习"], k=9))
    texts = [text, text, "我们天气", "我们天气"]
    expected = [plain_duplicates(text, 2) for text in texts]
    assert judged(DuplicateNgrams(2, 0.0), *texts)[1] == pytest.approx(expected)


@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_words_end_where_jieba_says(text):
    import rjieba

    assert segment(text).tolist() == list(itertools.accumulate(map(len, rjieba.cut(text))))


ENGLISH = "The committee discussed training methods for language models and agreed that quality matters. "
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"


def test_language():
    menu = "Home News Sports Login Register About Contact\n" * 5
    keep, scores = judged(Language(), PROSE * 4, ENGLISH * 4, JAPANESE * 4, menu + PROSE * 40, "")
    assert keep == [True, False, False, True, False]
    assert scores[0] > 0.9 > 0.1 > max(scores[1:3])
    # A page that begins with its menu is Chinese; its first 200 characters are not.
    assert judged(Language(), (menu + PROSE * 40)[:200])[0] == [False]
    assert judged(Language(label="en"), ENGLISH * 4)[0] == [True]
    # The longest look alone says the same.
    texts = (PROSE * 100, ENGLISH * 100, menu * 3 + PROSE * 9, JAPANESE * 100)
    assert judged(Language(looks=(1200,)), *texts)[0] == judged(Language(), *texts)[0]


def test_sensitive_words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("坏词\n坏词表\n禁语\n\n", "utf-8")
    rule = SensitiveWords(str(path), salt="s")
    texts = ["坏词，坏词表，禁语。", "坏词，坏词表，禁语，禁语。", "好"]
    verdict = rule.judge(Batch(pl.Series(texts)))
    assert verdict.keep.tolist() == [True, False, True]
    assert verdict.value.tolist() == [3, 4, 0]
    assert {name: counts.tolist() for name, counts in verdict.counts.items()} == {
        rule.hashed("坏词"): [1, 1, 0],
        rule.hashed("坏词表"): [1, 1, 0],
        rule.hashed("禁语"): [1, 2, 0],
    }
    assert rule.shown(pl.Series(texts)).to_list()[1] == "■，■，■，■。"
    assert rule.hashed("禁语") != SensitiveWords(str(path), salt="t").hashed("禁语")
    with pytest.raises(DataError, match=r"SensitiveWords\.path: cannot read"):
        judged(SensitiveWords(str(tmp_path / "none")), "好")


LONG = PROSE * 10
FRENCH = "Où est-il né, l'été dernier ? À côté de la forêt, « près d'ici », dit-il, naïf."


@pytest.mark.parametrize(
    "text",
    [
        LONG + "锟斤拷" * 3,
        LONG.encode()[:-1].decode("utf-8", "replace").encode().decode("gbk", "replace"),
        (LONG.encode() + b"\xef\xbf\xbd" * 4).decode("gb18030", "replace"),
        (PROSE.encode() + "\ufffd\ufffd".encode() * 2).decode("big5", "replace"),
        LONG.encode().decode("latin-1"),
        LONG.encode("gbk").decode("latin-1"),
        LONG.encode().decode("cp1252", "ignore"),
        LONG + "烫烫烫烫烫",
        LONG + "屯屯屯屯屯屯",
        LONG + "锘锘锘锘锘",
        LONG + "ï¿½ï¿½ï¿½",
    ],
)
def test_mojibake_that_survives(text):
    assert judged(Mojibake(), text)[0] == [False]


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        "",
        FRENCH * 3,
        "程序员常见的锟斤拷与烫烫烫是怎么来的？" + LONG * 2,
        "这汤太烫烫烫了" + PROSE * 20,
        "目录······················1\n第一章……………………2\n" + "×" * 30 + "°°°°°°°°" + "§§§§§§§§",
        LONG.encode("big5", "ignore").decode("big5"),
        "Größe, Übermut, ÄÖÜ und äöüß; España, señor; Ærø, Åland; ÀÉÈÙ çà" + FRENCH,
    ],
)
def test_text_that_is_no_mojibake(text):
    assert judged(Mojibake(), text)[0] == [True]
