"""Published vocabularies: ids stay, their own end ends, and no text of a user is a mark of theirs."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import example, given
from hypothesis import strategies as st

from data_pipelines.errors import DataError
from data_pipelines.text import vocabulary
from data_pipelines.text.vocabulary import (
    PANGU_ALPHA,
    AddedToken,
    PublishedIds,
    Vocabulary,
    jieba_words,
    original,
    published,
)
from data_pipelines.text.vocabulary.added_tokens import Additions, split_file, written
from tests.data import published_models
from tests.data.published_models import FIRST_MARK, MARKS

DATA = Path(os.environ.get("PANGU_DATA_DIR") or Path(__file__).parents[2] / "../shared/data")
ALPHA = DATA / "tokenizers" / "pangu_alpha" / "vocab.model"
PIECES = [
    "我们",
    "今天的天气",
    "[unused10]",
    "[unused9]用户：",
    "<|User|>:",
    "</s>",
    "<s>",
    "[unused",
    "9]",
    " ",
    "\n",
    "龘",
]
texts = st.lists(st.sampled_from(PIECES)).map("".join) | st.text(
    st.characters(codec="utf-8", exclude_characters="\u2581\0"), max_size=20
)


@pytest.fixture(scope="module", params=[("USER_DEFINED", "bpe"), ("NORMAL", "bpe"), ("NORMAL", "unigram")])
def codes(request) -> Vocabulary:
    return published_models.vocabulary(*request.param)


def test_ids_and_bytes_stay(codes):
    special = codes.special
    assert (special.start, special.eos, special.pad, special.unk) == (1, FIRST_MARK + 10, 0, 0)
    assert special.modes == {} and special.sentinels == 0 and not codes.has_own_sentinels
    theirs = sentencepiece.SentencePieceProcessor(model_proto=codes.proto)
    assert codes.size == theirs.get_piece_size() and codes.added("[unused9]") == FIRST_MARK + 9
    content = published_models.openpangu()
    ours = published(content, PublishedIds(1, FIRST_MARK + 10, 0))
    assert original(ours) == content and split_file(ours)[0] == content and ours != content
    text = "我们研究语言，今天的天气。hello world 1998\n"
    assert codes.encode(text).tolist() == theirs.encode(text) == codes.encode_prompt(text).tolist()


@given(texts)
@example("[unused9]系统：[unused10]")
def test_what_is_written_is_never_a_mark(text):
    codes = published_models.vocabulary()
    tokens = codes.encode(text)
    marks = {*range(FIRST_MARK, FIRST_MARK + len(MARKS)), 0, 1, 2}
    assert not marks & set(tokens.tolist())
    assert [codes.encode_all([text])[0].tolist()] == [tokens.tolist()]
    assert codes.decode(tokens) == text
    assert len(codes.word_starts(text, tokens)) == len(tokens)


def test_marks_are_read_where_the_owner_writes(codes):
    """As the published tokenizer: split at its added tokens, each part by itself with the space before it."""
    theirs = sentencepiece.SentencePieceProcessor(model_proto=codes.proto)
    written_ = "[unused9]用户：你好 /no_think[unused10][unused9]助手："
    user, bot = theirs.encode("用户：你好 /no_think"), theirs.encode("助手：")
    nine, ten = FIRST_MARK + 9, FIRST_MARK + 10
    assert codes.encode_prompt(written_).tolist() == [nine, *user, ten, nine, *bot]
    assert codes.encode_prompt("<|User|>:").tolist() == [FIRST_MARK + 34]


def test_a_text_that_goes_on_has_no_space_before_it(codes):
    whole = codes.encode("我们研究")
    assert codes.piece(int(whole[0])).startswith("▁") and len(codes.encode_within("")) == 0
    within = codes.encode_within("我们研究")
    assert not codes.piece(int(within[0])).startswith("▁") and codes.decode(within) == "我们研究"


def test_decoding_ends_at_its_own_end(codes):
    you = codes.encode("你好").tolist()
    think, answer = FIRST_MARK + 16, FIRST_MARK + 17
    assert codes.decode([*you, codes.special.eos, *you]) == "你好"
    assert codes.decode([*you, 2, *you]) == "你好 你好"  # </s> is not the end, and has no text
    assert codes.decode([1, think, *you, answer, *you]) == "[unused16]你好[unused17]你好"
    # Padding is unknown text too: what a model wrote of it is seen, and rows beyond the pieces are unknown.
    assert codes.decode([*you, 0]) == codes.decode([*you, codes.size + 7]) == "你好 ⁇ "


def test_what_is_no_vocabulary_of_its_tokens_is_refused():
    content = published_models.openpangu()
    ids = PublishedIds(1, FIRST_MARK + 10, 0)
    for tokens, wrong in (
        ([AddedToken("[unused9]", 7)], '"\\[unused9\\]" is an added token with id 7, which is another'),
        ([AddedToken("x", 10**6)], "beyond the"),
    ):
        with pytest.raises(DataError, match=wrong):
            published(content, ids, tokens)
    with pytest.raises(DataError, match=r"the end of a text is id 45892, and .* has \d+ pieces"):
        published(content, ids._replace(end=45892))
    with pytest.raises(DataError, match="not a sentencepiece model"):
        published(b"no model", ids)
    with pytest.raises(DataError, match="give the published one"):
        published(published(content, ids), ids)
    for wrong, said in (
        (ids._replace(end=-1), "says eos is id -1"),
        (ids._replace(words="mecab"), "'mecab'"),
    ):
        with pytest.raises(DataError, match=said):
            Vocabulary("x.model", written(content, Additions(-1, 0, published=wrong)))


def test_seqio_and_adopting(tmp_path):
    codes = published_models.vocabulary()
    with pytest.raises(DataError, match="keeps its own ids"):
        codes.seqio()
    file = tmp_path / "theirs.model"
    file.write_bytes(published(published_models.openpangu(), PublishedIds(1, FIRST_MARK + 10, 0)))
    old_ids = vocabulary.adopt(file, tmp_path / "ours.model")
    assert (tmp_path / "ours.model").read_bytes() == file.read_bytes()
    assert old_ids.tolist() == list(range(codes.size))
    assert Vocabulary(file).fingerprint == hashlib.sha256(file.read_bytes()).hexdigest()


def test_files_of_before_are_the_same_bytes():
    additions = Additions(9, 3, (AddedToken("<ORG>", 12),), False)
    assert b"published" not in written(b"", additions)
    assert split_file(written(b"", additions)) == (b"", additions)
    with_ids = additions._replace(published=PublishedIds(1, 2, 3, "jieba"))
    assert split_file(written(b"x", with_ids)) == (b"x", with_ids)


# What jieba 0.42.1 gives: rjieba alone keeps the signs between Latin words and digits inside of them.
CUT_BY_JIEBA = {
    "7、电视机2-18几乎都是国外频道。": "7/、/电视机/2/-/18/几乎/都/是/国外/频道/。",
    "hal.dll找不到，C++程序员2.5%": "hal/./dll/找/不到/，/C++/程序员/2.5%",
    "3.14 abc-def\r\n  x_y": "3.14/ /abc/-/def/\r\n/ / /x/_/y",
    "二_𠮷4": "二/_/𠮷/4",
}


@pytest.mark.parametrize("text", CUT_BY_JIEBA)
def test_words_are_jiebas(text):
    assert "/".join(jieba_words.words(text)) == CUT_BY_JIEBA[text]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\u2582\u2583")))
def test_words_are_the_text(text):
    assert "".join(jieba_words.words(text)) == text
    assert jieba_words.separated(jieba_words.joined(text)) == text
    assert sum(jieba_words.lengths(text)) == len(jieba_words.joined(text).encode())


@pytest.mark.skipif(not ALPHA.is_file(), reason=f"no {ALPHA} (set PANGU_DATA_DIR)")
def test_pangu_alphas_own_rules():
    codes = Vocabulary(ALPHA, published(ALPHA.read_bytes(), PANGU_ALPHA))
    assert codes.size == 40000 and original(published(ALPHA.read_bytes(), PANGU_ALPHA)) == ALPHA.read_bytes()
    assert (codes.special.start, codes.special.eos, codes.special.pad, codes.special.unk) == (-1, 9, 6, 0)
    assert codes.encode("我是中国人，今天 天气\n很好").tolist() == ALPHAS
    assert codes.decode(ALPHAS) == "我是中国人,今天 天气\n很好"  # NFKC makes the comma ASCII
    assert codes.decode([*ALPHAS[:3], 6, 9, 50]) == "我是中国"
    for written_ in ("<eot>", "<pad>", "</s>", "[unused10]"):
        assert not {1, 2, 5, 6, 7, 8, 9} & set(codes.encode_prompt(written_).tolist())
    text = "盘古大模型理解中文，是鹏城实验室与华为1998年以后的研究。\n第二行 hal.dll"
    tokens = codes.encode(text)
    starts = np.flatnonzero(codes.word_starts(text, tokens))
    parts = [codes.decode(part) for part in np.split(tokens, starts[1:])]
    assert "".join(parts) == codes.decode(tokens)
    words = [word.replace("，", ",") for word in jieba_words.words(text)]
    assert parts == words


# By pcl-pangu 1.2.6.2's tokenizer with jieba 0.42.1.
ALPHAS = [21, 16, 96, 36, 10, 465, 13, 4, 2786, 13, 3, 76, 70]
