"""A model that has learnt turns is asked benchmark questions in them, and any other in plain text."""

import dataclasses

import pytest

from data_pipelines.text import benchmarks
from data_pipelines.text.benchmarks import Example
from pangu_jax.apps.language.benchmarks import in_turns
from pangu_jax.apps.language.benchmarks.candidates import ask
from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.errors import UserError
from pangu_jax.workloads.language.model.decoder import DecoderConfig
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from tests.data import published_models

CODES = published_models.vocabulary()
MODEL = LoadedModel(DecoderConfig(vocab_size=CODES.size), {}, CODES)
TASK = benchmarks.get("fewclue/eprstmt")
REVIEW = Example("1", {"sentence": "东西很好"}, "Positive")


def queries(pattern, turns):
    return ask(MODEL, TASK.patterns[pattern], [REVIEW], 400, 300, turns).labelled


@pytest.mark.parametrize(
    ("pattern", "asked", "words"),
    [
        ("ask", "东西很好这条评论是好评还是差评？", ("差评", "好评")),
        ("close", "东西很好总之很", ("差", "好")),
    ],
)
def test_labels_are_scored_where_the_assistant_begins(pattern, asked, words):
    (one,) = queries(pattern, in_turns.of(MODEL, None, "off"))
    template = f"[unused9]系统：[unused10][unused9]用户：{asked} /no_think[unused10][unused9]助手："
    assert one.query.prefix.tolist() == CODES.encode_prompt(template).tolist()
    assert one.query.start == CODES.special.start
    found = [CODES.decode(candidate).strip() for candidate in one.query.candidates]
    assert sorted(found) == sorted(words)
    assert not any(CODES.special.eos in candidate for candidate in one.query.candidates)


def test_plain_text_where_it_is_asked_for_or_was_taught():
    assert in_turns.of(MODEL, False, "off") is None
    tuned = dataclasses.replace(MODEL, manifest={"tuning": {"task": "fewclue/eprstmt"}})
    assert in_turns.of(tuned, None, "off") is None
    assert in_turns.of(tuned, True, "slow").thinking == "slow"
    (one,) = queries("ask", None)
    assert one.query.prefix.tolist() == CODES.encode("东西很好这条评论是好评还是差评？").tolist()


def test_answers_are_written_text_without_thoughts():
    asked = in_turns.of(MODEL, None, "slow")
    written = CODES.encode_prompt("[unused16]想一想[unused17]好评[unused10]")
    assert asked.text(written) == "好评"


def test_what_cannot_be_asked_in_turns():
    without = LoadedModel(EncoderDecoderConfig(vocab_size=CODES.size), {}, CODES)
    assert in_turns.of(without, None, "off") is None
    with pytest.raises(UserError, match="has learnt no turns"):
        in_turns.of(without, True, "off")
    with pytest.raises(UserError, match="one of slow, auto, off"):
        in_turns.of(MODEL, None, "fast")
    with pytest.raises(UserError, match="begins with its answer"):
        queries("headed", in_turns.of(MODEL, None, "off"))
