"""A vocabulary learns from all that it is given, and says what it made of it."""

import random
import re

import pytest

from data_pipelines.errors import DataError
from data_pipelines.text import documents
from data_pipelines.text.documents import Document
from data_pipelines.text.synthetic import SyntheticTokens
from data_pipelines.text.tasks import use_of_text
from data_pipelines.text.vocabulary import Vocabulary, train
from data_pipelines.text.vocabulary.training import FEWEST_PIECES, RESERVED
from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads import RunContext, Variables
from pangu_jax.workloads.language import LanguageModel
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig

HAN = [chr(0x4E00 + i) for i in range(60)]
BETWEEN = {
    "an ASCII stop": ". ",
    "a comma": "，",
    "a space": " ",
    "a tab": "\t",
    "nothing": "",
    "what sentencepiece writes unknown characters as": "\u2585",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("vocabulary")


def in_bytes(vocabulary, text):
    tokens = vocabulary.encode(text).tolist()
    return sum(map(vocabulary.is_byte, tokens)) / len(tokens)


@pytest.mark.parametrize("between", BETWEEN)
def test_text_is_learnt_from_whatever_is_between_its_sentences(folder, between):
    r = random.Random(0)
    words = ["".join(r.choices(HAN, k=3)) for _ in range(50)]
    texts = [
        BETWEEN[between].join("".join(r.choices(words, k=r.randint(3, 9))) for _ in range(120))
        for _ in range(4)
    ]
    assert between.startswith("what") or all(len(text.encode()) > 4192 for text in texts)
    short = [f"短文{i}。" for i in range(60)]
    facts = train([*texts, *short], 480, folder / "made")
    vocabulary = Vocabulary(folder / "made")
    assert in_bytes(vocabulary, "".join(words)) == 0
    assert len(vocabulary.encode("".join(words))) < 145  # of 150 characters: it has words
    assert facts.characters == sum(map(len, [*texts, *short])) and facts.ids <= facts.asked == 480
    assert facts.in_bytes == sum(text.count("\u2585") for text in texts)


@pytest.mark.parametrize("size", [420, 600, 1000, 2048])
@pytest.mark.parametrize("kinds", [300, 5000])
def test_rare_characters_are_bytes_in_a_small_vocabulary(folder, size, kinds):
    r = random.Random(0)
    lines = [
        "".join(chr(0x4E00 + min(int(r.expovariate(1 / 700)), kinds)) for _ in range(30)) for _ in range(700)
    ]
    facts = train(lines, size, folder / "rare")
    vocabulary = Vocabulary(folder / "rare")
    assert facts.ids == vocabulary.size <= size == facts.asked
    assert facts.pieces_of_one <= 5 * (size - RESERVED) // 8
    ordered = sorted(set("".join(lines)), key="".join(lines).count)
    some_are_rare = facts.pieces_of_one < len(ordered)
    assert in_bytes(vocabulary, ordered[-1]) == 0 and in_bytes(vocabulary, ordered[0]) == some_are_rare
    assert some_are_rare == (facts.in_bytes > 0) and (some_are_rare or kinds == 300)


def test_characters_that_the_sample_missed_are_pieces_if_the_text_has_them_often_enough(folder):
    lines, text = ["一二三四五六七八九十" * 3] * 40, "一二三四五六七八九十" * 6000 + "龘" * 40 + "齉"
    train(lines, 420, folder / "all", of=[text])
    vocabulary = Vocabulary(folder / "all")
    assert in_bytes(vocabulary, "龘") == 0 and in_bytes(vocabulary, "齉") == 1


@pytest.mark.parametrize("size", [0, 300, RESERVED + FEWEST_PIECES - 1])
def test_a_size_without_room_is_one_line(folder, size):
    with pytest.raises(
        DataError, match=rf"vocabulary_size {size} leaves no room.*set it to \d+ or more"
    ) as error:
        train(["一些文字"], size, folder / "none")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("lines", [[], [""], ["\n"], ["\u2585"]])
def test_no_text_is_one_line(folder, lines):
    with pytest.raises(DataError, match="no text to train a vocabulary on"):
        train(lines, 500, folder / "none")


def test_of_books_in_characters_of_their_own_all_are_seen():
    r = random.Random(0)
    books = [
        Document(
            name, "".join(chr(first + r.randrange(200)) + ("。" if i % 20 else "") for i in range(30_000))
        )
        for name, first in zip("abcd", (0x4E00, 0x5E00, 0x6E00, 0x7E00), strict=True)
    ]
    train = documents.split(books, 0.02).train
    given = "".join(documents.lines_of(train, documents.sample(train, 40_000)))
    seen = [len(re.findall(f"[{chr(f)}-{chr(f + 199)}]", given)) for f in (0x4E00, 0x5E00, 0x6E00, 0x7E00)]
    assert min(seen) > 0.8 * max(seen) and sum(seen) == pytest.approx(20_500, rel=0.1)


def test_what_was_used_is_said(small):
    headings, rows = small.use_of_text()
    said = {row[0]: row[1:] for row in rows}
    assert all(len(row) == len(headings) for row in rows)
    parts = small.prepared.documents
    held_out = sum(len(d.text) for d in parts["validation"])
    total = sum(len(d.text) for d in parts["train"]) + held_out
    assert said["all of it, without duplicates"] == (total, 122, None)
    assert said["held out, whole documents"][:2] == (held_out, len(parts["validation"]))
    assert said["left out, duplicates"] == (None, 10, None)
    assert said["seen by the vocabulary of 600 ids"] == (total - held_out, len(parts["train"]), "100%")
    assert said["of that rare characters, spelt in bytes"][0] < 50


def test_a_run_that_ends_says_it(small):
    (table,) = LanguageModel(EncoderDecoderConfig(), small).exhibits(Variables({}), RunContext(OneDevice()))
    assert (table.headings, table.rows) == small.use_of_text()
    assert not LanguageModel(EncoderDecoderConfig(), SyntheticTokens()).exhibits(
        Variables({}), RunContext(OneDevice())
    )


def test_what_was_not_used_is_said():
    counts = {"ids": 1087, "asked": 4096, "characters": 9000, "pieces_of_one": 80, "in_bytes": 3}
    manifest = {
        "duplicates": 0,
        "blank": 2,
        "use_of_text": {
            "characters": {"train": 98_000, "validation": 2000},
            "documents": {"train": 3, "validation": 3},
            "different": 3,
            "stretches": 8,
            "vocabulary": counts | {"seen": 9800, "documents": 3},
        },
    }
    assert use_of_text.rows(manifest) == [
        ("all of it, without duplicates", 100_000, 3, None),
        ("trained on", 98_000, 3, "98%"),
        ("held out, in stretches", 2000, 3, "2%"),
        ("left out, without letters", None, 2, None),
        ("seen by the vocabulary of 1,087 ids of 4,096 asked: the text gives no more", 9800, 3, "10%"),
        ("of that rare characters, spelt in bytes", 3, None, "0.03%"),
    ]
    manifest["use_of_text"]["vocabulary"] = {}  # one that was not trained here
    assert len(use_of_text.rows(manifest)) == 4
