"""T5's and mT5's vocabularies keep their ids; the objectives that need a mode token say so."""

import numpy as np
import pytest

from data_pipelines.errors import DataError
from data_pipelines.text import vocabulary
from data_pipelines.text.denoising import Piece, SpanCorruption
from data_pipelines.text.vocabulary import EOS, Vocabulary

TEXT = "我们研究语言。"


@pytest.fixture(scope="module")
def t5(tmp_path_factory, spiece) -> Vocabulary:
    file = tmp_path_factory.mktemp("t5") / "spiece.model"
    file.write_bytes(spiece)
    return Vocabulary(file)


@pytest.fixture(scope="module")
def mt5(tmp_path_factory, mt5_spiece) -> Vocabulary:
    file = tmp_path_factory.mktemp("mt5") / "spiece.model"
    file.write_bytes(mt5_spiece)
    return Vocabulary(file)


def test_ids_are_those_of_seqio(t5, mt5):
    for codes in (t5, mt5):
        theirs = codes.seqio()
        assert codes.size == theirs.vocab_size == 210
        assert codes.encode(TEXT).tolist() == theirs.encode(TEXT)
        assert (codes.special.sentinel(0), codes.special.sentinel(99)) == (209, 110)
        assert theirs.tokenizer.id_to_piece(209).endswith("<extra_id_0>")
    assert (t5.has_own_sentinels, mt5.has_own_sentinels) == (False, True)


def test_text_never_becomes_a_sentinel(t5, mt5):
    for codes in (t5, mt5):
        assert codes.encode("天气 <extra_id_0> ▁<extra_id_0>").max() < 110
        tokens = [*codes.encode("天气"), codes.special.sentinel(3), *codes.encode("语言"), EOS, 50]
        assert codes.decode(tokens) == "天气<extra_id_3>语言"


def test_rows_beyond_the_vocabulary_are_unknown(t5):
    beyond = t5.decode([*t5.encode("天气"), t5.size, t5.size + 14])
    assert beyond == t5.decode([*t5.encode("天气"), 2, 2])


def test_a_vocabulary_with_t5s_ids_is_adopted_as_it_is(t5, tmp_path):
    old_ids = vocabulary.adopt(t5.file, tmp_path / "ours.model")
    assert Vocabulary(tmp_path / "ours.model").fingerprint == t5.fingerprint
    np.testing.assert_array_equal(old_ids, np.arange(110))


def test_an_objective_that_needs_a_mode_token_says_so(t5):
    assert t5.special.modes == {}
    tokens = t5.encode(TEXT)
    pieces = [Piece(tokens, np.ones(len(tokens), bool))]
    with pytest.raises(DataError, match=r"the vocabulary has no mode token \[R\]"):
        SpanCorruption()(pieces, np.random.default_rng(0), t5.special, 64, 64)
