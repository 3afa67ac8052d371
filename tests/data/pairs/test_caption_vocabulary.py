"""Captions come back from their tokens, and a long one is cut between characters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.errors import DataError
from data_pipelines.pairs import texts
from data_pipelines.pairs.batches import CaptionTokens
from data_pipelines.pairs.vocabulary import END, FIRST, PAD, UNKNOWN, CharacterVocabulary, fitted

SAID = ["一只狗", "一只猫", "狗狗"]


class _Bytes:
    """Several tokens to a character, as byte fallback has it."""

    size, end, hash = 300, 1, ""

    def encode(self, text):
        return [byte + 3 for byte in text.encode()]

    def decode(self, ids):
        return bytes(one - 3 for one in ids if one > 2).decode()

    def file(self):
        return "", b""


def test_ids_are_of_what_is_often_used(tmp_path):
    made = CharacterVocabulary.of_texts(SAID)
    assert made.characters == ("狗", "一", "只") and made.size == FIRST + 3
    assert made.encode("一狗猫") == [FIRST + 1, FIRST, UNKNOWN]
    assert made.decode([FIRST, UNKNOWN, PAD, END, FIRST]) == "狗�"
    assert CharacterVocabulary.of_texts(SAID, 1).encode("猫") == [FIRST + 3]
    name, content = made.file()
    (tmp_path / name).write_bytes(content)
    again = CharacterVocabulary.from_file(tmp_path / name)
    assert again.characters == made.characters and again.hash == made.hash
    assert CharacterVocabulary.of_texts(SAID, 1).hash != made.hash


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"kind": "bytes"}', '{"kind": "characters"}', "[" * 9999]
)
def test_a_file_that_is_none(content, tmp_path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=r"a\.json is no vocabulary of characters"):
        CharacterVocabulary.from_file(tmp_path / "a.json")
    with pytest.raises(DataError, match="No such file"):
        CharacterVocabulary.from_file(tmp_path / "b.json")
    with pytest.raises(DataError, match="each once"):
        CharacterVocabulary("aa")


@settings(max_examples=80)
@given(st.text("一只狗a🙂", max_size=9), st.integers(2, 12))
def test_a_caption_is_cut_between_characters_and_never_sooner_than_need_be(text, length):
    for vocabulary in (CharacterVocabulary("一只狗a🙂"), _Bytes()):
        ids, cut = fitted(text, vocabulary, length)
        said = vocabulary.decode(ids)
        assert len(ids) <= length and ids[-1] == vocabulary.end and text.startswith(said)
        assert cut == (said != text)
        if cut:
            assert len(vocabulary.encode(text[: len(said) + 1])) >= length
        row = CaptionTokens(vocabulary, length).row(text)
        np.testing.assert_array_equal(row, [*ids, *[PAD] * (length - len(ids))])


@settings(max_examples=40)
@given(st.lists(st.text(max_size=5), max_size=6))
def test_texts_come_back(said):
    kept = texts.made(said)
    usual = [text.encode("utf-8", "replace").decode() for text in said]
    assert list(kept) == usual and len(kept) == len(said)
    assert list(kept[::-1]) == usual[::-1] and list(kept.chosen(np.arange(len(said)))) == usual
