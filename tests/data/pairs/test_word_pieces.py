"""BERT's word pieces and SigLIP's sentencepiece model as vocabularies of captions."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.errors import DataError
from data_pipelines.pairs import vocabularies
from data_pipelines.pairs.vocabulary import fitted
from data_pipelines.pairs.word_pieces import SiglipVocabulary, WordPieceVocabulary
from tests.apps.multimodal.conversion.models import SPECIAL, WORDS, sentence_pieces

PIECES = WordPieceVocabulary((*SPECIAL, *WORDS))
FIRST, UNKNOWN, END = 2, 1, 3


def ids(*pieces: str) -> list[int]:
    return [FIRST, *((*SPECIAL, *WORDS).index(piece) for piece in pieces)]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("红色的圆", "红色的圆"),
        ("Dogs running", ("dog", "##s", "run", "##ning")),
        ("狗dog狗", ("狗", "dog", "狗")),
        ("CAFÉ\u3000,dog!", ("cafe", ",", "dog", "!")),
        ("猫 runs dogrun", ("[UNK]", "run", "##s", "[UNK]")),
        ("[SEP]", ("[UNK]",) * 3),  # a text's own brackets are no end
        ("", ()),
    ],
)
def test_texts_are_cut_as_bert_cuts_them(text, pieces):
    pytest.importorskip("tokenizers")
    assert PIECES.encode(text) == ids(*pieces)


@settings(max_examples=30)
@given(st.text(st.sampled_from("红狗猫dogsrunning[SEPCLS] ,!\t\u0301"), max_size=24))
def test_a_text_holds_no_special_piece_and_its_ids_are_below_the_size(text):
    pytest.importorskip("tokenizers")
    first, *rest = PIECES.encode(text)
    assert first == FIRST and all(found >= len(SPECIAL) or found == UNKNOWN for found in rest)
    made, cut = fitted(text, PIECES, 6)
    assert made[0] == FIRST and made[-1] == END and len(made) <= 6
    assert cut == (len(rest) > 4)


def test_ids_are_read_up_to_the_end():
    found = ids("红", "dog", "##s", "run", "狗", "[UNK]", ",")
    assert PIECES.decode([*found, END, *found, 0]) == "红dogs run狗�,"
    assert PIECES.decode([FIRST, 0, 99]) == "�"


def test_what_is_kept_makes_the_same_again(tmp_path):
    for one in (PIECES, WordPieceVocabulary(PIECES.pieces, lower=False), SiglipVocabulary(sentence_pieces())):
        name, content = one.file()
        (tmp_path / name).write_bytes(content)
        again = vocabularies.opened(tmp_path / name)
        assert (again.hash, again.size, again.end) == (one.hash, one.size, one.end)
    assert WordPieceVocabulary(PIECES.pieces, lower=False).hash != PIECES.hash


def test_sentence_pieces_know_no_case_and_no_punctuation():
    siglip = SiglipVocabulary(sentence_pieces())
    assert siglip.end == 1
    found = siglip.encode("a red circle on the left")
    assert found and found == siglip.encode(" A  Red, circle:\n(on the left)!")
    assert siglip.decode([*found, 1, *found]) == "a red circle on the left"
    assert siglip.decode([0, 0]) == "" and siglip.encode("!?") == []


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"kind": "characters"}, "is no vocabulary of word pieces: bring it back from its run"),
        ({"kind": "word pieces", "lower": 1, "pieces": list(SPECIAL)}, "is no vocabulary of word pieces"),
        ({"kind": "word pieces", "lower": True, "pieces": "abc"}, "is no vocabulary of word pieces"),
        ({"kind": "word pieces", "lower": True, "pieces": [*SPECIAL, "a", "a"]}, "has each once"),
        ({"kind": "word pieces", "lower": True, "pieces": ["a", *SPECIAL]}, r"\[PAD\] has id 1 instead of 0"),
    ],
)
def test_a_file_that_is_no_such_vocabulary(told, words, tmp_path):
    (tmp_path / "word_pieces.json").write_text(json.dumps(told))
    with pytest.raises(DataError, match=words):
        vocabularies.opened(tmp_path / "word_pieces.json")


def test_a_vocabulary_that_is_named_nowhere(tmp_path):
    with pytest.raises(DataError, match=r"caption_vocabulary\.file is not set"):
        vocabularies.caption_vocabulary()
    with pytest.raises(DataError, match="No such file"):
        vocabularies.caption_vocabulary(str(tmp_path / "spiece.model"))
