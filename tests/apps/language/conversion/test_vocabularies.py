"""Every form in which a T5's vocabulary is published becomes the same ids, or is refused by name."""

import base64
import json
from pathlib import Path

import pytest
from sentencepiece import sentencepiece_model_pb2

from data_pipelines.errors import DataError
from data_pipelines.text.vocabulary import Vocabulary
from data_pipelines.text.vocabulary.added_tokens import AddedToken
from pangu_jax.apps.language.conversion import vocabularies
from pangu_jax.errors import UserError

TEXT = "我们研究语言。 今天的天气,１９９８"
ROWS = 330
SEP = {"content": "[SEP]", "lstrip": True, "rstrip": False, "single_word": False, "special": True}


def folder(path: Path, spiece: bytes | None, **files) -> Path:
    """spiece.model and JSON files; `tokenizer_config` is tokenizer_config.json."""
    if spiece is not None:
        (path / "spiece.model").write_bytes(spiece)
    for name, entries in files.items():
        (path / f"{name}.json").write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return path


def tokenizer_json(spiece: bytes, sentinels: int = 100, **entries) -> dict:
    """As version 5 of transformers writes it."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(spiece)
    pieces = [[piece.piece, piece.score] for piece in proto.pieces]
    pieces += [[f"<extra_id_{i}>", 0.0] for i in reversed(range(sentinels))]
    charsmap = base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return {
        "model": {"type": "Unigram", "unk_id": 2, "byte_fallback": False, "vocab": pieces},
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "added_tokens": [
            {"id": id, "content": text, "special": True} for id, text in enumerate(["<pad>", "</s>", "<unk>"])
        ],
    } | entries


SIZES = {
    "nothing said": ({}, 210, 100),
    "extra_ids 0": ({"tokenizer_config": {"extra_ids": 0}}, 110, 0),
    "extra_ids 7": ({"tokenizer_config": {"extra_ids": 7}}, 117, 7),
    "extra_ids 200": ({"tokenizer_config": {"extra_ids": 200}}, 310, 200),
    "listed": (
        {
            "tokenizer_config": {
                "added_tokens_decoder": {str(114 - i): {"content": f"<extra_id_{i}>"} for i in range(5)}
            }
        },
        115,
        5,
    ),
}


@pytest.mark.parametrize("what", SIZES)
def test_sentinels(tmp_path, spiece, what):
    files, size, count = SIZES[what]
    found = vocabularies.read(folder(tmp_path, spiece, **files), ROWS)
    codes = found.vocabulary
    assert (codes.size, codes.special.sentinels, found.notes) == (size, count, ())
    assert not count or codes.special.sentinel(0) == size - 1
    assert (found.content == spiece) is (
        count == 100
    )  # else what sentencepiece has no place for is behind it


ADDED = {
    "added_tokens.json": {"added_tokens": {"<ORG>": 210, "\n": 211}},
    "tokenizer_config.json": {
        "tokenizer_config": {"added_tokens_decoder": {"210": {"content": "<ORG>"}, "211": {"content": "\n"}}}
    },
    "both": {
        "added_tokens": {"<ORG>": 210},
        "tokenizer_config": {"added_tokens_decoder": {"1": {"content": "</s>"}, "211": {"content": "\n"}}},
    },
    "no sentinels": {"added_tokens": {"<ORG>": 110, "\n": 111}, "tokenizer_config": {"extra_ids": 0}},
}


@pytest.mark.parametrize("what", ADDED)
def test_added_tokens(tmp_path, spiece, what):
    found = vocabularies.read(folder(tmp_path, spiece, **ADDED[what]), ROWS)
    first = 110 if what == "no sentinels" else 210
    assert [id for id in found.vocabulary.encode("我<ORG>\n们").tolist() if id >= 110] == [first, first + 1]
    assert '"<ORG>", "\\n"' in found.notes[-1]
    assert found.vocabulary.proto == spiece


@pytest.mark.parametrize("form", ["spiece", "tokenizer.json", "byt5", "mt5"])
def test_what_is_written_is_read_again(tmp_path, spiece, mt5_spiece, form):
    """With flags of tokens, and by what version 4 alone or 5 alone reads."""
    (before := tmp_path / "a").mkdir(), (after := tmp_path / "b").mkdir()
    decoder = {"added_tokens_decoder": {"299": SEP}, "legacy": False}
    if form == "byt5":
        decoder = {"tokenizer_class": "ByT5Tokenizer", "extra_ids": 40} | decoder
        folder(before, None, tokenizer_config=decoder)
    elif form == "tokenizer.json":
        folder(before, None, tokenizer=tokenizer_json(spiece), tokenizer_config=decoder)
    else:
        folder(before, mt5_spiece if form == "mt5" else spiece, tokenizer_config=decoder)
    found = vocabularies.read(before, ROWS)
    vocabularies.write(found.vocabulary, after)
    again = vocabularies.read(after, ROWS)
    assert again.content == found.content
    assert again.vocabulary.additions.tokens == (AddedToken("[SEP]", 299, strip_left=True),)
    assert (after / "spiece.model").is_file() is (form != "byt5")
    assert json.loads((after / "added_tokens.json").read_text()) == {"[SEP]": 299}


def test_tokenizer_json_alone_gives_the_ids_of_its_spiece_model(tmp_path, spiece):
    theirs = tokenizer_json(spiece)
    theirs["added_tokens"].append({"id": 210, "content": "<ORG>"})
    found = vocabularies.read(folder(tmp_path, None, tokenizer=theirs), ROWS)
    (model := tmp_path / "spiece.model").write_bytes(spiece)
    codes = Vocabulary(model)
    for text in (TEXT, "  a\t我们 ", "", "▁", "<ORG"):
        assert found.vocabulary.encode(text).tolist() == codes.encode(text).tolist()
    assert found.vocabulary.encode("<ORG>").tolist() == [210] and found.vocabulary.special == codes.special
    assert "was made of tokenizer.json" in found.notes[0]


def test_byt5_is_known_by_its_config_alone(tmp_path):
    found = vocabularies.read(tmp_path, 384, "ByT5Tokenizer")
    assert (found.vocabulary.size, found.vocabulary.special.sentinel(0)) == (384, 258)
    assert "258 downwards" in found.notes[0]
    with pytest.raises(UserError, match="384 ids with its sentinels and the embedding 383 rows"):
        vocabularies.read(tmp_path, 383, "ByT5Tokenizer")


def unigram(**entries):
    return lambda theirs: theirs["model"].update(entries)


JSON = {
    "bpe": (unigram(type="BPE"), "a model of type 'BPE' instead of T5's Unigram"),
    "no model": (lambda theirs: theirs.pop("model"), "a model of type 'None'"),
    "no pieces": (unigram(vocab={}), "begins with  instead of T5's <pad>"),
    "pieces without scores": (unigram(vocab=["<pad>"]), "its vocab is no list of different pieces"),
    "twice": (lambda theirs: theirs["model"]["vocab"].append(["。", 0.0]), "no list of different pieces"),
    "other ids": (
        lambda theirs: theirs["model"]["vocab"].reverse(),
        "begins with <extra_id_0>, <extra_id_1>",
    ),
    "unknown": (unigram(unk_id=0), "only T5's vocabularies are read"),
    "lower case": (
        lambda theirs: theirs.update(normalizer={"type": "Lowercase"}),
        "normalizer 'Lowercase' is",
    ),
    "a replacement": (
        lambda theirs: theirs.update(
            normalizer={"type": "Replace", "pattern": {"String": "a"}, "content": ""}
        ),
        "normalizer 'Replace' is nothing",
    ),
    "charsmap": (
        lambda theirs: theirs.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "*"}),
        "precompiled_charsmap is damaged",
    ),
    "other words": (
        lambda theirs: theirs.update(pre_tokenizer={"type": "ByteLevel"}),
        "'ByteLevel' is nothing",
    ),
    "no words": (lambda theirs: theirs.update(pre_tokenizer=None), "a pre_tokenizer without Metaspace"),
    "added tokens": (
        lambda theirs: theirs.update(added_tokens=[{"content": "x"}]),
        "with id None is no added",
    ),
}


@pytest.mark.parametrize("what", JSON)
def test_a_tokenizer_json_that_sentencepiece_cannot_be(tmp_path, spiece, what):
    change, message = JSON[what]
    change(theirs := tokenizer_json(spiece))
    with pytest.raises(UserError, match=message) as said:
        vocabularies.read(folder(tmp_path, None, tokenizer=theirs), ROWS)
    assert "\n" not in str(said.value)


REFUSED = {
    "beyond the rows": ({"added_tokens": {"<ORG>": 330}}, 'beyond the 330 rows of the embedding: "<ORG>"'),
    "a sentinel's id": (
        {"added_tokens": {"<ORG>": 110}},
        '"<ORG>" is an added token with id 110, a sentinel\'s',
    ),
    "a piece's id": ({"added_tokens": {"<ORG>": 50}}, "id 50, which is another piece's in spiece.model"),
    "two ids": (
        {"added_tokens": {"a": 210}, "tokenizer_config": {"added_tokens_decoder": {"211": {"content": "a"}}}},
        '"a" has id 210, and 211 elsewhere',
    ),
    "one id": ({"added_tokens": {"a": 210, "b": 210}}, 'added tokens "a", "b" have one id, 210'),
    "no id": (
        {"tokenizer_config": {"additional_special_tokens": ["<sep>"]}},
        'names "<sep>" as a special token',
    ),
    "a name for an id": ({"added_tokens": {"a": "210"}}, "with id 210 is no added token"),
    "no text": (
        {"tokenizer_config": {"added_tokens_decoder": {"210": {"content": ""}}}},
        "is no added token",
    ),
    "a list": ({"added_tokens": ["a"]}, "no JSON object of tokens with their ids"),
    "upwards": (
        {"added_tokens": {"<extra_id_0>": 210, "<extra_id_1>": 211}},
        "2 sentinels <extra_id_...> are not numbered downwards",
    ),
    "among pieces": ({"added_tokens": {"<extra_id_0>": 60}}, "begin at id 60, among the 110 pieces"),
    "extra_ids": ({"tokenizer_config": {"extra_ids": "many"}}, "extra_ids is 'many' instead of a number"),
    "too many": ({"tokenizer_config": {"extra_ids": 300}}, "has 410 ids with its sentinels"),
    "no JSON": ({"tokenizer_config": "{"}, "tokenizer_config.json is not JSON"),
    "a byte's id": (
        {"tokenizer_config": {"tokenizer_class": "ByT5Tokenizer"}, "added_tokens": {"a": 9}},
        "a byte's",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_kept(tmp_path, spiece, what):
    files, message = REFUSED[what]
    with pytest.raises((UserError, DataError), match=message.replace("(", "\\(")) as said:
        vocabularies.read(folder(tmp_path, spiece, **files), ROWS if what != "a byte's id" else 384)
    assert "\n" not in str(said.value)
