"""Byte-level BPE: what is refused, in one line each."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from data_pipelines.errors import DataError
from data_pipelines.text import vocabulary
from data_pipelines.text.tasks.mixture import corpus
from data_pipelines.text.vocabulary import of_tokenizer_json, tokenizer_json
from tests.data import byte_level_models as made
from tests.data.byte_level_models import END, NINE


def model(**entries):
    return lambda theirs: theirs["model"].update(entries)


def cut(step):
    return lambda theirs: theirs["pre_tokenizer"]["pretokenizers"].insert(0, step)


def added(content, id, **flags):
    return lambda theirs: theirs["added_tokens"].append(
        {"content": content, "id": id, "special": True, **flags}
    )


SPACES = {"type": "Whitespace"}
REMOVED = {"type": "Split", "pattern": {"String": " "}, "behavior": "Removed", "invert": False}
WORDS = {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {"a": 0}}
REFUSED = {
    "no JSON": ("{", "tokenizer.json is not JSON"),
    "a list": ("[1]", "is no JSON object"),
    "no model": (lambda t: t.pop("model"), "holds a model of type 'None'"),
    "word pieces": (lambda t: t.update(model=WORDS), "a model of type 'WordPiece', and byte-level BPE"),
    "unigram": (lambda t: t.update(model={"type": "Unigram", "vocab": [["a", 0.0]]}), "of type 'Unigram'"),
    "of characters": (
        lambda t: t.update(pre_tokenizer={"type": "Metaspace", "replacement": "▁"}),
        "its BPE is not of bytes (no ByteLevel among its pre_tokenizers); bring the tokenizer.model",
    ),
    "a suffix": (model(end_of_word_suffix="</w>"), "end_of_word_suffix '</w>' is not read"),
    "white space left out": (cut(SPACES), "pre_tokenizer 'Whitespace' is not read here"),
    "spaces removed": (cut(REMOVED), "a Split that removes what it finds"),
    "sentencepiece's table": (
        lambda t: t.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        "normalizer 'Precompiled' is not read",
    ),
    "no vocab": (model(vocab=[]), "its vocab is no object"),
    "an id below 0": (lambda t: t["model"]["vocab"].update(x=-1), "its vocab is no object"),
    "no merges": (model(merges={}), None),
    "merges that are none": (model(merges=3), "its merges are no list"),
    "a merge of nothing": (
        lambda t: t["model"]["merges"].append(["zz", "q"]),
        "is no tokenizer.json: Token `zz`",
    ),
    "a wrong pattern": (
        cut({**REMOVED, "pattern": {"Regex": "(("}, "behavior": "Isolated"}),
        "is no tokenizer.json",
    ),
    "half a surrogate": (lambda t: t["model"]["vocab"].update({"\ud800": 426}), "'\\ud800' is no text"),
    "a hole": (added("<x>", 900), "id 426 is no token's and 900 is one"),
    "one id for two": (added("<x>", 7), "have one id, 7"),
    "two ids": (
        added(made.plain(made.written()).id_to_token(300), 426),
        "has id 426 as an added token and 300 in the vocab",
    ),
    "no added token": (added("", 426), "is no added token"),
    "added to a byte": (added("é", 177), "'é' stands for a byte"),
    "a byte for a mark": (
        lambda t: t["added_tokens"][0].update(content="a", id=73),
        "'a' is a byte of texts",
    ),
    "two before a text": (
        lambda t: t["post_processor"]["single"].insert(0, {"SpecialToken": {"id": NINE, "type_id": 0}}),
        "puts 2 tokens before a text, [unused9], <s>; one can be here: set add_bos_token",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, case):
    change, said = REFUSED[case]
    content = change if isinstance(change, str) else made.changed(change)
    file = made.write(tmp_path, content, {"eos_token": END})
    if said is None:
        assert of_tokenizer_json(file)
        return
    with pytest.raises(DataError) as caught:
        vocabulary.adopt(file, tmp_path / "ours.model")
    assert said in str(caught.value) and str(tmp_path) in str(caught.value), caught.value
    assert "\n" not in str(caught.value) and not (tmp_path / "ours.model").exists()


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        (
            {},
            r'no end of a text: write the token that is one as "eos_token" into .*tokenizer_config.json',
        ),
        ({"eos_token": "</s>"}, "has a token '</s>' that .*tokenizer.json has not"),
        ({"eos_token": END, "additional_special_tokens": ["<x>"]}, "has a token '<x>' that"),
        (
            {"eos_token": END, "added_tokens_decoder": {"4": {"content": NINE}}},
            "'\\[unused9\\]' .* with another id",
        ),
        ({"eos_token": END, "added_tokens_decoder": []}, None),
        ({"eos_token": END, "added_tokens_decoder": [1]}, "added_tokens_decoder is no JSON object"),
        ({"eos_token": END, "added_tokens_decoder": {"x": {}}}, "is no added token"),
        ({"eos_token": END, "add_bos_token": True}, "add_bos_token is true and there is no bos_token"),
    ],
)
def test_tokens_that_are_named_and_are_none(tmp_path, said, wrong):
    file = made.write(tmp_path, settings=said)
    if wrong is None:
        assert of_tokenizer_json(file)
        return
    with pytest.raises(DataError, match=wrong):
        of_tokenizer_json(file)


def test_what_cannot_be_read(tmp_path, monkeypatch):
    file = made.write(tmp_path)
    with pytest.raises(DataError, match=r"text ends in id 999, and .* has 426 ids"):
        of_tokenizer_json(file, end=999)
    lacking = made.tokenizer(alphabet=False).to_str()
    with pytest.raises(
        DataError, match=r"lacks \d+ of the 256 bytes, and text with them would be lost: train"
    ):
        made.vocabulary(tmp_path, lacking)
    with pytest.raises(DataError, match=r"corpus.vocabulary_file: cannot read"):
        corpus(vocabulary_file=str(tmp_path / "none.model")).key()
    with pytest.raises(DataError, match=r"cannot read .*none.json: No such file"):
        corpus(vocabulary_file=str(tmp_path / "none.json")).key()
    made.write(tmp_path)
    monkeypatch.setattr(tokenizer_json, "LARGEST", 1000)
    with pytest.raises(DataError, match=r"has [\d,]+ bytes; a tokenizer's files have 1,000 at most"):
        of_tokenizer_json(file)
    monkeypatch.undo()
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(DataError, match=r"needs tokenizers: pip install 'pangu-jax\[hf\]'"):
        of_tokenizer_json(file)


def test_the_library_loses_text_without_a_word():
    """Why a vocab without all bytes is refused; where this fails, it need not be."""
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.add_tokens([AddedToken("x")])
    assert bare.encode("龘").ids == []


SCALARS = st.none() | st.booleans() | st.integers(-1, 500) | st.text(max_size=3) | st.just([]) | st.just({})


@settings(max_examples=60)
@given(data=st.data())
def test_any_damage_is_one_line(tmp_path_factory, data):
    theirs = json.loads(made.written())
    at: dict | list = theirs
    while True:
        key = data.draw(st.sampled_from(sorted(at)[:12] if isinstance(at, dict) else range(min(len(at), 12))))
        if not isinstance(at[key], dict | list) or not at[key] or data.draw(st.booleans()):
            break
        at = at[key]
    at[key] = data.draw(SCALARS)
    try:
        codes = made.vocabulary(tmp_path_factory.getbasetemp() / "damaged", json.dumps(theirs))
    except DataError as error:
        assert "\n" not in str(error)
        return
    assert codes.decode(codes.encode("今天 hello <s>")).strip() == "今天 hello <s>"
