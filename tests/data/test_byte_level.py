"""Byte-level BPE: the ids of the library that cuts it, no text lost, no text a mark."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers

from data_pipelines.errors import DataError
from data_pipelines.pairs.piece_vocabulary import PieceVocabulary
from data_pipelines.text import vocabulary
from data_pipelines.text.tasks.mixture import corpus
from data_pipelines.text.vocabulary import Vocabulary, of_tokenizer_json, original
from data_pipelines.text.vocabulary.tokenizer_files import settings_of
from tests.data import byte_level_models as made
from tests.data.byte_level_models import BEGIN, END, MARKS, NINE, PAD, SETTINGS

THEIRS = made.plain(made.written())
AS_TEXT = made.plain(made.written())
AS_TEXT.encode_special_tokens = True
PIECES = [
    "我们研究",
    " hello",
    "world",
    "龘",
    "  ",
    "    ",
    "\n",
    " ",
    "1998",
    *MARKS,
    "[unused",
    "\ufffd",
    "é",
]
texts = (
    st.lists(st.sampled_from(PIECES)).map("".join)
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.binary(max_size=12).map(lambda data: data.decode("utf-8", "replace"))
)


@pytest.fixture(scope="module")
def codes(tmp_path_factory) -> Vocabulary:
    return made.vocabulary(tmp_path_factory.mktemp("bpe"))


def ids(*tokens: str) -> list[int]:
    return [THEIRS.token_to_id(token) for token in tokens]


@given(text=texts)
@example(text=f"{NINE}用户：你好  {END}{PAD}")
def test_ids_are_the_librarys_and_no_text_is_a_mark(codes, text):
    tokens = codes.encode(text)
    assert tokens.dtype == np.int32
    assert tokens.tolist() == AS_TEXT.encode(text, add_special_tokens=False).ids
    assert codes.encode_all([text, text])[1].tolist() == tokens.tolist()
    assert not {*ids(*MARKS)} & {*tokens.tolist()}
    assert codes.decode(tokens) == text and codes.encode(codes.decode(tokens)).tolist() == tokens.tolist()
    starts = codes.word_starts(text, tokens)
    assert len(starts) == len(tokens) and all(starts[:1])
    assert codes.encode_prompt(text).tolist() == THEIRS.encode(text, add_special_tokens=False).ids


@given(text=texts)
def test_a_text_that_comes_token_by_token_is_never_taken_back(codes, text):
    """What chat shows while it is written: all but the bytes at the end that are no character yet."""
    tokens = codes.encode(text)
    for count in range(len(tokens)):
        assert text.startswith(codes.decode(tokens[:count]).rstrip("\ufffd"))


@given(tokens=st.lists(st.integers(len(MARKS), THEIRS.get_vocab_size() - 1), max_size=12))
def test_any_ids_are_said_as_the_library_says_them(codes, tokens):
    text = codes.decode(tokens)
    assert text == THEIRS.decode(tokens)
    assert codes.decode(codes.encode(text)) == text


def test_words_begin_where_jiebas_do(codes):
    text = "今天 hello天气龘"
    tokens = codes.encode(text)
    begins = np.flatnonzero(codes.word_starts(text, tokens))
    assert [codes.decode(part) for part in np.split(tokens, begins[1:])] == [
        "今天",
        " ",
        "hello",
        "天气",
        "龘",
    ]
    assert [codes.is_byte(id) for id in ids("a", "Ġ", "é")] == [False, False, True]


def test_start_end_and_padding(codes):
    begin, end, pad = ids(BEGIN, END, PAD)
    special = codes.special
    assert (special.start, special.eos, special.pad, special.unk) == (begin, end, pad, -1)
    assert special.modes == {} and special.sentinels == 0 and codes.size == THEIRS.get_vocab_size()
    you = codes.encode("你好").tolist()
    assert codes.decode([begin, pad, *you[:1], pad, *you[1:], end, *you]) == "你好"
    assert codes.decode([*ids(NINE), *you]) == "[unused9]你好" and codes.added(NINE) == ids(NINE)[0]
    assert codes.decode([*you, codes.size, codes.size + 9]) == "你好\ufffd\ufffd"  # rows that no id is of
    with pytest.raises(DataError, match="keeps its own ids"):
        codes.seqio()


PIECE = THEIRS.id_to_token(300)  # no added token
WITHOUT = {name: value for name, value in SETTINGS.items() if name != "add_bos_token"}


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (WITHOUT, (BEGIN, END, PAD)),  # by the template of tokenizer.json
        (WITHOUT | {"add_bos_token": False}, (None, END, PAD)),
        ({"eos_token": NINE}, (BEGIN, NINE, NINE)),  # padding is the end where none is named
        ({"eos_token": PIECE, "add_bos_token": False}, (None, PIECE, PIECE)),
        (
            {"eos_token": END, "added_tokens_decoder": {"3": {"content": NINE, "special": True}}},
            (BEGIN, END, END),
        ),
    ],
)
def test_what_the_files_say(tmp_path, said, wanted):
    found = made.vocabulary(tmp_path, settings=said)
    wanted = tuple(-1 if each is None else THEIRS.token_to_id(each) for each in wanted)
    assert (found.special.start, found.special.eos, found.special.pad) == wanted
    assert found.special.eos not in found.encode("hello[unused10]")
    assert found.encode_prompt(f"a{END}").tolist() == ids("a", END)
    assert found.decode(found.encode("hello")) == "hello"
    (tmp_path / "tokenizer_config.json").rename(tmp_path / "special_tokens_map.json")
    if "add_bos_token" not in said and "bos_token" not in said:
        assert Vocabulary("v.model", of_tokenizer_json(tmp_path / "tokenizer.json")).special == found.special
    by_config = Vocabulary("v.model", of_tokenizer_json(tmp_path / "tokenizer.json", end=300))
    assert by_config.special.eos == 300


SPACED = made.plain(made.written(True))
BARE = made.plain(made.written(True).replace('"add_prefix_space":true', '"add_prefix_space":false'))
SPACED.encode_special_tokens = BARE.encode_special_tokens = True


@pytest.fixture(scope="module")
def spaced(tmp_path_factory) -> Vocabulary:
    return made.vocabulary(tmp_path_factory.mktemp("spaced"), made.written(True))


@given(text=texts)
def test_a_space_before_a_text_is_none_within_one(spaced, text):
    tokens = spaced.encode(text)
    assert tokens.tolist() == SPACED.encode(text, add_special_tokens=False).ids
    assert spaced.encode_within(text).tolist() == BARE.encode(text, add_special_tokens=False).ids
    assert spaced.decode(tokens) == SPACED.decode(tokens.tolist())
    assert len(spaced.word_starts(text, tokens)) == len(tokens)


def test_what_would_read_a_text_otherwise_each_time_or_as_a_mark(tmp_path):
    """A mark that merges make, one that is a whole word of the vocab, dropout, a file's own numbers."""

    def change(theirs):
        model, flags = theirs["model"], {"single_word": False, "lstrip": False, "rstrip": False}
        token = {"normalized": False, "special": False, **flags}
        size = len(model["vocab"]) + 2  # two runs of spaces are behind them
        theirs["pre_tokenizer"] = {
            "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False,
        }  # fmt: skip
        model |= {"dropout": 0.9, "ignore_merges": True}
        model["vocab"] |= {"<|": size, "<|x": size + 1, "<|x|>": size + 2, "|>": size + 3}
        model["merges"] += [["<", "|"], ["|", ">"], ["<|", "x"], ["<|x", "|>"]]
        theirs["added_tokens"] += [
            {**token, "id": size + 5, "content": "\t\t\t"},
            {**token, "id": size + 4, "content": "\t\t"},
            {**token, "id": size + 2, "content": "<|x|>"},
        ]

    content = made.changed(change)
    found, size = made.vocabulary(tmp_path, content), THEIRS.get_vocab_size()
    assert found.size == size + 6
    assert found.encode("\t\t\t \t\t").tolist() == [size + 5, *ids("Ġ"), size + 4]
    assert THEIRS.from_str(content).token_to_id("\t\t") != size + 4, "or the library now keeps the file's ids"
    assert found.encode("<|x|>").tolist() == [size + 1, size + 3]  # it is written like a mark
    assert found.encode_prompt("<|x|>").tolist() == [size + 2]
    wanted = THEIRS.encode("今天的天气", add_special_tokens=False).ids
    assert all(found.encode("今天的天气").tolist() == wanted for _ in range(9))


def test_marks_that_take_spaces_with_them_or_stand_alone(tmp_path):
    theirs = made.tokenizer()
    theirs.add_special_tokens([AddedToken("<mask>", lstrip=True, rstrip=True)])
    theirs.add_special_tokens([AddedToken("<w>", single_word=True)])
    said = SETTINGS | {"additional_special_tokens": ["<mask>", "<w>"]}
    codes = made.vocabulary(tmp_path, theirs.to_str(), said)
    text = "我们  <mask> hello<w>b <w> 龘<mask><mask>"
    assert codes.encode_prompt(text).tolist() == theirs.encode(text, add_special_tokens=False).ids
    assert codes.decode(codes.encode(text)) == text


def test_a_text_that_its_normalizer_changes(tmp_path):
    other = made.tokenizer()
    other.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    codes = made.vocabulary(tmp_path, other.to_str())
    tokens = codes.encode("Ｈｅｌｌｏ，ＷＯＲＬＤ①")
    assert codes.decode(tokens) == "hello,world1"
    assert len(codes.word_starts("Ｈｅｌｌｏ，ＷＯＲＬＤ①", tokens)) == len(tokens)


def test_one_file_is_kept_and_given_back(tmp_path, codes):
    file = made.write(tmp_path)
    content = of_tokenizer_json(file)
    assert original(content) == file.read_bytes() and codes.proto == file.read_bytes()
    for source in (file, tmp_path / "vocabulary.model"):
        old_ids = vocabulary.adopt(source, tmp_path / "ours.model")
        assert (tmp_path / "ours.model").read_bytes() == content
        assert old_ids.tolist() == list(range(codes.size))
        (tmp_path / "vocabulary.model").write_bytes(content)
    assert Vocabulary(tmp_path / "ours.model").fingerprint == hashlib.sha256(content).hexdigest()
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings_of(codes.additions)))
    assert of_tokenizer_json(file) == content, "what an export writes where it was not kept"
    with pytest.raises(
        DataError, match=r"ours.model pads with id 2 and ends in 1, and captions with 0 and 1"
    ):
        PieceVocabulary.from_file(tmp_path / "ours.model")


def test_a_corpus_of_it(tmp_path, text_folder, codes):
    file = made.write(tmp_path)
    how = {"path": str(text_folder), "encoder_length": 0, "decoder_length": 48, "cache_dir": str(tmp_path)}
    small = corpus(vocabulary_file=str(file), **how)
    (batch, *_) = small.validation_sources(4)["corpus_causal"].iterator()
    row = batch["decoder_segment_ids"][0] == 1
    read, written = (batch[f"decoder_{name}_tokens"][0][row] for name in ("input", "target"))
    assert small.vocabulary.fingerprint == codes.fingerprint
    assert read[0] == codes.special.start and read[1:].tolist() == written[:-1].tolist()
    assert codes.encode(codes.decode(written[:-1])).tolist() == written[:-1].tolist()
    before = small.key()
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": NINE}))
    assert corpus(vocabulary_file=str(file), **how).key() != before, "the end is part of the vocabulary"
