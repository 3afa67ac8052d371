"""Every form that config.json and the head can have, both ways."""

from dataclasses import replace

import pytest

from pangu_jax.apps.language.conversion import config as configs
from pangu_jax.errors import UserError

BASE = {
    "model_type": "t5",
    "vocab_size": 32,
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 24,
    "num_layers": 1,
    "num_heads": 2,
}

# What config.json says, whether the tensors hold a head of its own -> tied head, scaled output.
HEADS = {
    "T5": ({}, False, (True, True)),
    "T5 v1.1": ({"tie_word_embeddings": False}, True, (False, False)),
    "T5 v1.1 of transformers 5": (
        {"tie_word_embeddings": True, "scale_decoder_outputs": False},
        True,
        (False, False),
    ),
    "begun by transformers 5 as v1.1": (
        {"tie_word_embeddings": True, "scale_decoder_outputs": False},
        False,
        (True, False),
    ),
    "T5 with a head of its own": (
        {"tie_word_embeddings": True, "scale_decoder_outputs": True},
        True,
        (False, True),
    ),
    "mT5": ({"model_type": "mt5", "tie_word_embeddings": False}, True, (False, False)),
    "mT5 of transformers 5": ({"model_type": "mt5", "transformers_version": "5.2"}, True, (False, False)),
}


@pytest.mark.parametrize("form", HEADS)
def test_heads(form):
    entries, own_head, (tied, scaled) = HEADS[form]
    config = configs.to_ours(BASE | entries, "config.json", own_head)
    assert (config.tied_head, config.head_scale) == (tied, 0.25 if scaled else 1.0)
    theirs = configs.to_theirs(config, BASE | entries, "run")
    assert theirs["tie_word_embeddings"] is theirs["scale_decoder_outputs"] is scaled
    assert theirs["model_type"] == entries.get("model_type", "t5")
    assert configs.to_ours(theirs, "config.json", own_head) == config


def test_a_head_that_is_not_there_is_said_or_refused():
    """transformers 4 would draw a new one; what 5 writes so, has none."""
    said = {"tie_word_embeddings": False}
    for version in ("4.30.0", None, "odd", "3.0"):
        with pytest.raises(UserError, match=r"no lm_head.weight: a file was not copied"):
            configs.of_a_head_that_is_not_there(
                BASE | said | {"transformers_version": version}, "config.json"
            )
    for version in ("5.0.0", "5.23.0", "10.1"):
        (note,) = configs.of_a_head_that_is_not_there(BASE | said | {"transformers_version": version}, "")
        assert "the embedding is the head, without a scale" in note
    for tied in ({}, {"tie_word_embeddings": True}, {"tie_word_embeddings": None}):
        assert configs.of_a_head_that_is_not_there(BASE | tied, "") == ()


@pytest.mark.parametrize("spelling", configs.FEED_FORWARD)
def test_feed_forward_spellings(spelling):
    entries = BASE | {"feed_forward_proj": spelling, "num_decoder_layers": 3, "dropout_rate": 0.0}
    config = configs.to_ours(entries, "config.json", False)
    assert configs.to_theirs(config, entries, "run").items() >= entries.items()
    assert configs.to_ours(configs.to_theirs(config, {}, "run"), "config.json", False) == config


@pytest.mark.parametrize("changed", [{"head_scale": 0.5}, {"attention_scale": None}, {"position": "rotary"}])
def test_what_a_t5_cannot_be(changed):
    config = replace(configs.to_ours(BASE, "config.json", False), **changed)
    with pytest.raises(UserError, match=f"EncoderDecoder.{next(iter(changed))} is .*only models of T5"):
        configs.to_theirs(config, {}, "runs/x")
