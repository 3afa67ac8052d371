"""Conversations to learn from: of each only the answers and the ends of their turns, behind one start."""

import json

import numpy as np
import pytest

from data_pipelines.errors import DataError
from pangu_jax.apps.language.chat.turns import AnswerPart, Turns
from pangu_jax.apps.language.decoding import trie
from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.apps.language.tuning import conversations
from pangu_jax.apps.language.tuning.methods import FineTuning
from pangu_jax.apps.language.tuning.prompts import PromptTuning
from pangu_jax.apps.language.tuning.tune import TaskData
from pangu_jax.errors import UserError
from pangu_jax.workloads.language.model.decoder import DecoderConfig
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from tests.data import published_models

CODES = published_models.vocabulary()
MODEL = LoadedModel(DecoderConfig(vocab_size=CODES.size), {}, CODES)


def messages(*turns):
    return json.dumps(
        {"messages": [{"role": role, "content": text} for role, text in turns]}, ensure_ascii=False
    )


TWO = messages(
    ("user", "你好[unused10]"),
    ("assistant", "[unused16]我们[unused17]你好"),
    ("user", "天气"),
    ("assistant", "晴[unused11]天气[unused12]"),
)


def test_an_answer_and_its_end_are_learnt_and_nothing_else(tmp_path):
    file = tmp_path / "train.jsonl"
    theirs = {"conversations": [{"from": "human", "value": "你好"}, {"from": "gpt", "value": "晴"}]}
    file.write_text(f"{TWO}\n\n{json.dumps(theirs)}\n", "utf-8")
    first, second, third = conversations.labelled(MODEL, file)
    prompt = CODES.encode_prompt
    user = CODES.encode("用户：你好[unused10]").tolist()  # letters, not the end of the turn
    nine, ten = CODES.added("[unused9]"), CODES.special.eos
    system, bot = prompt("[unused9]系统：[unused10]").tolist(), prompt("[unused9]助手：").tolist()
    assert first.query.prefix.tolist() == [*system, nine, *user, ten, *bot]
    assert first.query.candidates[0].tolist() == prompt("[unused16]我们[unused17]你好[unused10]").tolist()
    again = [*prompt("[unused9]助手：你好[unused10][unused9]用户：天气[unused10]").tolist(), *bot]
    assert second.query.prefix.tolist() == [*first.query.prefix.tolist()[: -len(bot)], *again]
    weather = CODES.encode_within("晴").tolist()
    assert second.query.candidates[0].tolist() == [*weather, *prompt("[unused11]天气[unused12][unused10]")]
    assert third.query.candidates[0].tolist() == [*weather, ten]
    for example in (first, second, third):
        plan = trie.plan(example.query)
        assert plan.token_P.tolist() == example.query.candidates[0].tolist()  # what the loss is of
        row = example.query.decoder_row.tolist()
        assert row[0] == 1 and row.count(1) == 1 and len(example.query.inputs) == 0
        assert plan.tokens_M.tolist() == [*row, *example.query.candidates[0][:-1]]


def test_tune_reads_them(tmp_path):
    (tmp_path / "a.jsonl").write_text(TWO, "utf-8")
    data = TaskData("conversations", "", "a.jsonl", "a.jsonl", str(tmp_path))
    rows = data.rows(MODEL, FineTuning())
    assert rows.classes == 1 and len(rows.train.answer_N) == len(rows.dev.answer_N) == 2
    for candidate, tokens in zip(rows.train.candidate_NxP, rows.train.token_NxP, strict=True):
        assert tokens[candidate == 0][-1] == CODES.special.eos  # padding is of no candidate


def test_a_soft_prompt_stands_behind_the_start(tmp_path):
    (tmp_path / "a.jsonl").write_text(TWO, "utf-8")
    data = TaskData("conversations", "", "a.jsonl", None, str(tmp_path))
    tokens = data.rows(MODEL, PromptTuning(length=3)).train.tokens_NxM
    rows = CODES.size + np.arange(3)
    assert [row.tolist() for row in tokens[:, :4]] == [[1, *rows]] * 2
    assert ((tokens >= CODES.size).sum(axis=1) == 3).all()  # once


def test_marks_of_an_answer_are_read_from_its_text():
    assert Turns.written("") == (AnswerPart("text", ""),)
    assert Turns.written("好[unused10]") == (AnswerPart("text", "好[unused10]"),)
    assert Turns.written("[unused16]a\n[unused17]b[unused11]c[unused12]") == (
        AnswerPart("thinking", "a\n"),
        AnswerPart("text", "b"),
        AnswerPart("call", "c"),
    )
    assert Turns.written("[unused16]a") == (AnswerPart("text", "[unused16]a"),)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "there is no conversation in it"),
        ("{", ":1: malformed JSON"),
        ("[1]", ':1: there is no list "messages"'),
        (messages(("user", "你好")), ":1: the last turn is no answer"),
        (messages(("bot", "你好"), ("assistant", "好")), ":1: a turn needs 'role', one of system"),
        (
            messages(("user", "a"), ("system", "b"), ("assistant", "c")),
            ":1: the system speaks later than first",
        ),
        ('{"messages": [{"role": "assistant", "content": 3}]}', "and a text in 'content'"),
    ],
)
def test_what_is_no_conversation(tmp_path, content, said):
    file = tmp_path / "bad.jsonl"
    file.write_text(content, "utf-8")
    with pytest.raises(DataError, match=said) as error:
        conversations.labelled(MODEL, file)
    assert "\n" not in str(error.value)


def test_a_model_without_turns(tmp_path):
    with pytest.raises(UserError, match="this model has no turns"):
        conversations.labelled(LoadedModel(EncoderDecoderConfig(), {}, CODES), tmp_path / "x.jsonl")
    with pytest.raises(DataError, match="cannot read"):
        conversations.labelled(MODEL, tmp_path / "x.jsonl")
