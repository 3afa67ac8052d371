"""Vocabularies keep text as it is, keep special ids out of it, and agree with seqio."""

import io
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import rjieba
import sentencepiece
from hypothesis import example, given
from hypothesis import strategies as st

from data_pipelines.errors import DataError
from data_pipelines.text import vocabulary
from data_pipelines.text.tasks.mixture import corpus
from data_pipelines.text.vocabulary import EOS, LONGEST_WORD, MODES, SENTINELS, Vocabulary
from tests.data.made_up import sentences

DATA = Path(os.environ.get("PANGU_DATA_DIR") or Path(__file__).parents[2] / "../shared/data")
TRICKY = "新华社  北京\n\n电 [R] <extra_id_0> </s> <pad> 1998年\t👍🏽龘 "


# Sentencepiece itself writes a space as U+2581 and ends a string at NUL.
@given(st.text(st.characters(codec="utf-8", exclude_characters="\u2581\0")))
@example(TRICKY)
def test_any_text_survives_and_holds_no_special_token(small, text):
    codes = small.vocabulary
    tokens = codes.encode(text)
    assert codes.decode(tokens) == text
    special = {0, 1, 2, *codes.special.modes.values(), *range(codes.size - SENTINELS, codes.size)}
    assert not special & set(tokens.tolist())
    starts = codes.word_starts(text, tokens)
    assert len(starts) == len(tokens)
    if len(tokens):
        assert starts[0]
        assert np.diff([*np.flatnonzero(starts), len(tokens)]).max() <= LONGEST_WORD


def test_word_starts_are_words(small):
    codes = small.vocabulary
    text = "我们研究语言模型。今天https://example.org/a?b=c的天气👍👍"
    tokens = codes.encode(text)
    starts = np.flatnonzero(codes.word_starts(text, tokens))
    parts = [codes.decode(part) for part in np.split(tokens, starts[1:])]
    assert "".join(parts) == text
    words = list(itertools.accumulate(rjieba.cut(text)))
    inside = [whole for whole in itertools.accumulate(parts) if whole not in words]
    assert all(len(whole) > len("我们研究语言模型。今天https") for whole in inside)  # only the URL is cut
    assert len(parts) > 5


def test_ids_are_those_of_seqio(small):
    codes, theirs = small.vocabulary, small.vocabulary.seqio()
    assert (theirs.vocab_size, theirs.pad_id, theirs.eos_id, theirs.unk_id) == (codes.size, 0, 1, 2)
    text = "今天天气。\n1998 年 👍"
    assert theirs.encode(text) == codes.encode(text).tolist()
    first = codes.special.sentinel(0)
    assert first == codes.size - 1
    assert theirs.tokenizer.id_to_piece(first).endswith("<extra_id_0>")
    assert theirs.tokenizer.id_to_piece(codes.special.sentinel(99)).endswith("<extra_id_99>")
    with pytest.raises(ValueError, match="sentinel 100"):
        codes.special.sentinel(100)


def test_decoding_shows_sentinels_and_stops_at_eos(small):
    codes = small.vocabulary
    tokens = [*codes.encode("天气"), codes.special.sentinel(3), *codes.encode("经济"), EOS, 50]
    assert codes.decode(tokens) == "天气<extra_id_3>经济"


def test_training_is_deterministic(tmp_path):
    lines = [sentences(seed, 1) for seed in range(200)]
    for name in "ab":
        vocabulary.train(lines, 600, tmp_path / name)
    assert Vocabulary(tmp_path / "a").fingerprint == Vocabulary(tmp_path / "b").fingerprint


def test_adopting_a_model_with_other_conventions(tmp_path):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([sentences(seed, 2) for seed in range(200)]),
        model_writer=model,
        vocab_size=80,
        hard_vocab_limit=False,
        minloglevel=2,
    )  # unk 0, bos 1, eos 2, no pad, NFKC, dummy prefix
    (tmp_path / "theirs.model").write_bytes(model.getvalue())
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    with pytest.raises(DataError, match=r"pad, eos, unk.*vocabulary_file"):
        Vocabulary(tmp_path / "theirs.model")

    old_ids = vocabulary.adopt(tmp_path / "theirs.model", tmp_path / "ours.model")
    codes = Vocabulary(tmp_path / "ours.model")
    assert codes.size == len(old_ids) + SENTINELS
    text = "我们研究语言，今天的天气。"
    tokens = codes.encode(text)
    assert old_ids[tokens].tolist() == theirs.encode(text)
    assert old_ids[[0, 1, 2]].tolist() == [-1, theirs.eos_id(), theirs.unk_id()]
    assert codes.decode(codes.encode("今天\n天气")) == "今天\n天气"
    assert len(codes.word_starts(text, tokens)) == len(tokens)


PANGU_ALPHA = DATA / "tokenizers" / "pangu_alpha" / "vocab.model"


@pytest.mark.skipif(not PANGU_ALPHA.is_file(), reason=f"no {PANGU_ALPHA} (set PANGU_DATA_DIR)")
def test_pangu_alphas_vocabulary_from_text_to_batches(text_folder, tmp_path):
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(PANGU_ALPHA))
    settings = corpus(
        path=str(text_folder),
        vocabulary_file=str(PANGU_ALPHA),
        encoder_length=64,
        decoder_length=32,
        cache_dir=str(tmp_path),
    )
    codes = settings.vocabulary
    # Theirs has 40000 with eos, unk and pad among them; ours adds 4 modes, the newline and the sentinels.
    assert codes.size == theirs.get_piece_size() + len(MODES) + 1 + SENTINELS == 40105
    (old_ids,) = map(np.load, tmp_path.glob("vocabulary-*/old_ids.npy"))
    text = "盘古大模型理解中文,是鹏城实验室与华为1998年以后的研究。"
    tokens = codes.encode(text)
    assert old_ids[tokens].tolist() == theirs.encode(text)
    assert codes.decode(codes.encode(f"{text}\n{text}")) == f"{text}\n{text}"
    starts = np.flatnonzero(codes.word_starts(text, tokens))
    parts = [codes.decode(part) for part in np.split(tokens, starts[1:])]
    assert {*itertools.accumulate(parts)} <= {*itertools.accumulate(rjieba.cut(text))} and len(parts) > 8
    batch = settings.train_source(4, seed=0).batch(0)
    targets = batch["decoder_target_tokens"]
    assert 8192 < targets.max() < codes.size
    assert codes.special.first_sentinel - targets.max() < SENTINELS  # span corruption's


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot read"), (b"not a model", "not a sentencepiece")]
)
def test_bad_files(tmp_path, content, message):
    file = Path(tmp_path / "x.model")
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        Vocabulary(file)
    with pytest.raises(DataError, match=message):
        vocabulary.adopt(file, tmp_path / "out.model")
