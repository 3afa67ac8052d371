"""Scores of candidates: the sum of log p that the full forward pass gives each, however they are batched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.apps.language.decoding import prefill, scoring, trie
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.errors import UserError
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.language.model.forward import Forward

SHAPE = {"vocab_size": 40, "d_model": 16, "d_ff": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 2}
INPUTS, OUTPUTS = 24, 12


def alone(forward, params):
    """log p of one candidate by the training forward pass, in windows of one size."""

    @jax.jit
    def log_p(inputs_1xS, decoder_1xT):
        batch = prefill.encoder_batch(inputs_1xS) | {
            "decoder_input_tokens": decoder_1xT,
            "decoder_segment_ids": jnp.ones_like(decoder_1xT),
            "decoder_positions": jnp.arange(OUTPUTS)[None],
        }
        hidden = forward.decode(params, batch, forward.encode(params, batch))
        return jax.nn.log_softmax(forward.logits(params, hidden))[0]

    def of(query, candidate):
        inputs = np.zeros((1, INPUTS), np.int32)
        inputs[0, : len(query.inputs)] = query.inputs
        text = [*query.prefix, *candidate]
        decoder = np.zeros((1, OUTPUTS), np.int32)
        decoder[0, 1 : len(text) + 1] = text
        table = np.asarray(log_p(inputs, decoder))
        return sum(table[len(query.prefix) + i, token] for i, token in enumerate(candidate))

    return of


def ask(rng, inputs, prefix):
    """A query with candidates that begin alike, one of which is another's beginning."""
    draw = lambda n: rng.integers(5, 40, n).astype(np.int32)  # noqa: E731
    first = draw(3)
    candidates = first, first[:1], np.append(first[:2], 4), draw(1), draw(2)
    return Query(draw(inputs), draw(prefix), candidates)


@pytest.mark.parametrize("position", ["rotary", "relative"])
def test_scores_are_those_of_each_candidate_alone(position):
    config = EncoderDecoderConfig(**SHAPE, position=position)
    forward, params = Forward(config), architecture.init(config, jax.random.key(0))
    rng = np.random.default_rng(0)
    asked = [ask(rng, *lengths) for lengths in ((20, 3), (4, 0), (15, 0), (1, 0), (18, 2), (7, 0))]
    reference = alone(forward, params)
    scores = scoring.score(forward, params, asked, batch_size=2)
    for query, got in zip(asked, scores, strict=True):
        expected = [reference(query, candidate) for candidate in query.candidates]
        np.testing.assert_allclose(got, expected, atol=2e-5)
        assert got.dtype == np.float32 and np.ptp(got) > 1
    if position == "rotary":
        return  # one is enough for what follows
    programs = scoring._log_p._cache_size()
    longer = [ask(rng, *lengths) for lengths in ((19, 2), (9, 0), (2, 0), (23, 3))]
    scoring.score(forward, params, longer, batch_size=2)
    assert scoring._log_p._cache_size() == programs, "rounded lengths meet programs that exist"


def test_beginnings_that_candidates_share_are_computed_once():
    query = Query(
        np.ones(2, np.int32), np.array([7], np.int32), tuple(map(np.array, ([3, 4], [3, 5], [3], [9])))
    )
    plan = trie.plan(query)
    assert plan.tokens_M.tolist() == [0, 7, 3]
    assert plan.parent_M.tolist() == [-1, 0, 1]
    assert plan.read_N.tolist() == [1, 2], "logits after the prefix, and after 3"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": np.zeros(0, np.int32)}, "query 1 is empty"),
        ({"inputs": np.ones(9999, np.int32)}, "9999 tokens"),
        ({"candidates": ()}, "query 1 needs candidates"),
        ({"candidates": (np.zeros(0, np.int32),)}, "at least one token each"),
        ({}, "not finite numbers"),
    ],
)
def test_what_cannot_be_scored_is_told_in_a_line(change, words):
    config = EncoderDecoderConfig(**SHAPE)
    params = architecture.init(config, jax.random.key(0))
    params["decoder_norm"] = {"scale": jnp.full(16, jnp.nan)}
    query = Query(np.ones(3, np.int32), candidates=(np.array([3]), np.array([4])))._replace(**change)
    with pytest.raises(UserError, match=words):
        scoring.score(Forward(config), params, [query])
