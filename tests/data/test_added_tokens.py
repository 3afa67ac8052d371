"""Added tokens are split off before sentencepiece sees a text; sentinels are read where asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.errors import DataError
from data_pipelines.text.denoising import Piece, PrefixLM, SpanCorruption
from data_pipelines.text.vocabulary import EOS, Vocabulary, byte_vocabulary
from data_pipelines.text.vocabulary.added_tokens import AddedToken, Additions, Splitter, split_file, written
from tests.apps.language.conversion import t5_folders

TOKENS = (
    AddedToken("<ORG>", 210),
    AddedToken("<ORG>:", 211),
    AddedToken("\n", 212),
    AddedToken("[SEP]", 213, strip_left=True, strip_right=True),
    AddedToken("ab", 214, whole_word=True),
    AddedToken("天气", 215),
)
texts = st.lists(
    st.sampled_from(["<ORG>", "<ORG>:", "\n", " [SEP] ", "ab", "天气", "a", "我们", " ", "<", "。"])
).map("".join)


@pytest.fixture(scope="module")
def proto() -> bytes:
    return t5_folders.spiece()


@pytest.fixture(scope="module", params=[True, False])
def added(request, proto) -> Vocabulary:
    return Vocabulary("made.model", written(proto, Additions(209, 100, TOKENS, each_begins=request.param)))


@given(texts)
def test_the_parts_are_the_text(text):
    parts = Splitter(Additions(0, 0, TOKENS))(text)
    assert "".join("".join(part.text.split()) for part in parts) == "".join(text.split())
    assert all(part.text for part in parts)
    by_text = {token.text: token.id for token in TOKENS}
    assert all(part.id in (None, by_text.get(part.text)) for part in parts)


@given(texts)
def test_a_corpus_and_its_word_starts_see_the_same_tokens(added, text):
    tokens = added.encode(text)
    assert [all_.tolist() for all_ in added.encode_all([text])] == [tokens.tolist()]
    starts = added.word_starts(text, tokens)
    assert len(starts) == len(tokens)
    assert starts[np.isin(tokens, [token.id for token in TOKENS])].all()
    assert (tokens == 212).sum() <= text.count("\n")  # what [SEP] strips is gone


CUT = {
    "<ORG>:": [211],  # the longest that begins there
    "<ORG>.": [210],
    "abc": [],
    "[SEP]ab": [213, 214],
    "我们\n\n": [212, 212],
    "今天天气": [215],  # also where a piece of sentencepiece's would cross its edge
    "x  [SEP]  \n": [213],  # white space beside it goes with it
}


@pytest.mark.parametrize("text", CUT)
def test_what_is_found(added, text):
    assert [id for id in added.encode(text).tolist() if id > 209] == CUT[text]


def test_text_after_an_added_token_begins_anew_or_goes_on(proto):
    for each_begins in (True, False):
        codes = Vocabulary("made.model", written(proto, Additions(209, 100, TOKENS, each_begins)))
        begun = codes.encode("我们").tolist()  # with sentencepiece's space before it
        after = codes.encode("<ORG>我们").tolist()[1:]
        assert (after == begun) is each_begins
        assert codes.encode("<ORG> 我们").tolist()[1:] == begun
    assert codes.decode(codes.encode("我们<ORG>语言\n天气")) == "我们<ORG>语言\n天气"


def test_sentinels_are_read_from_prompts_alone(proto, added):
    for codes in (Vocabulary("made.model", proto), added):
        text = "我们<extra_id_0>语言<extra_id_41>"
        assert codes.encode(text).max() < 110 and np.array_equal(
            codes.encode_all([text])[0], codes.encode(text)
        )
        read = codes.encode_prompt(text)
        assert [id for id in read.tolist() if 110 <= id < 210] == [209, 168] and codes.decode(read) == text
        # A sentinel stands for what is between: text goes on behind it, as in training.
        assert read.tolist().index(209) + 1 + len(codes.encode("语言")) - 1 == len(read) - 1
        assert codes.encode_prompt("<extra_id_100>").max() < 110


@given(st.binary(max_size=40), texts)
def test_a_file_without_additions_is_itself(content, text):
    assert split_file(content) == (content, None)
    additions = Additions(9, 3, (AddedToken(text + "x", 12, True),), False, 7)
    assert split_file(written(content, additions)) == (content, additions)


def test_damaged_additions_are_said(proto):
    whole = written(proto, Additions(209, 100, TOKENS))
    with pytest.raises(DataError, match="added tokens are damaged"):
        split_file(whole.replace(b'"first_sentinel"', b'"first_s_ntinel"'))
    assert split_file(whole[:-3])[1] is None  # then sentencepiece refuses it
    with pytest.raises(DataError, match="is not a sentencepiece model"):
        Vocabulary("made.model", whole[:-3])


def test_seqio_cannot_split_them_off(added):
    with pytest.raises(DataError, match="seqio would read as pieces"):
        added.seqio()


@given(st.text(st.characters(codec="utf-8")))
def test_byt5_reads_bytes(text):
    codes = BYTES
    tokens = codes.encode(text)
    assert tokens.tolist() == [byte + 3 for byte in text.encode()]
    assert codes.decode(tokens) == text
    assert not set(tokens.tolist()) & {codes.special.sentinel(i) for i in range(codes.special.sentinels)}
    assert len(codes.word_starts(text, tokens)) == len(tokens)


BYTES = Vocabulary("bytes.model", byte_vocabulary.content(125, [AddedToken("<sep>", 384)]))


def test_byt5s_ids():
    assert (BYTES.size, BYTES.special.sentinel(0), BYTES.special.sentinels) == (385, 258, 11)
    assert BYTES.encode("a<sep>b").tolist() == [100, 384, 101]
    assert BYTES.encode_prompt("a<extra_id_1>").tolist() == [100, 257]
    assert BYTES.decode([100, 300, 101]) == "a ⁇ b"  # a row that no text is read as


@pytest.mark.parametrize("objective", [SpanCorruption(mode=None, sentinels=11), PrefixLM(mode=None)])
def test_what_t5_reads_in_training_ends_as_what_it_is_asked(proto, added, objective):
    for codes in (Vocabulary("made.model", proto), added, BYTES):
        tokens = np.tile(codes.encode("我们研究语言。"), 3)
        assert codes.special.read(None, tokens).tolist() == [*tokens, EOS]
        pieces = [Piece(tokens, np.ones(len(tokens), bool))] * 2
        for seed in range(5):
            for example in objective(pieces, np.random.default_rng(seed), codes.special, 200, 200):
                assert example.inputs[-1] == EOS and EOS not in example.inputs[:-1]


def test_a_vocabulary_without_sentinels_says_so(proto):
    codes = Vocabulary("made.model", written(proto, Additions(-1, 0)))
    assert codes.size == 110 and codes.decode([5, 109]) == codes.decode([5, 109])
    with pytest.raises(DataError, match="has no sentinels"):
        codes.special.sentinel(0)
    assert codes.encode_prompt("<extra_id_0>").tolist() == codes.encode("<extra_id_0>").tolist()
