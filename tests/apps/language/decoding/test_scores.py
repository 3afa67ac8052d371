"""A text's score is its log p, however its tokens were chosen; what ranks beams has a name of its own."""

import dataclasses

import numpy as np
import pytest

from pangu_jax.apps.language.decoding import restrictions, scoring
from pangu_jax.apps.language.decoding.generator import Generator
from pangu_jax.apps.language.decoding.queries import Generated
from pangu_jax.apps.language.decoding.settings import Beam, Greedy, Sampling
from pangu_jax.errors import UserError
from tests.apps.language.decoding.test_decoding import FORWARD, NEVER, generator, params, queries

__all__ = ["generator", "params", "queries"]  # fixtures

TOKENS = 8
DRAWN = Sampling(temperature=0.7, top_k=9, repetition_penalty=1.3)
SHORT, LONG = Beam(beams=3, length_penalty=-1.0), Beam(beams=3, length_penalty=3.0)
RESTRICTED = Beam(beams=3, length_penalty=0.5, repetition_penalty=1.5, no_repeat_ngram=2)
WAYS = [
    (Greedy(), 1),
    (Greedy(repetition_penalty=1.5, no_repeat_ngram=2), 1),
    (DRAWN, 3),
    (SHORT, 3),
    (LONG, 2),
    (RESTRICTED, 3),
]


@pytest.fixture(scope="module")
def with_end(generator, params, queries):
    """Its end is a token in the midst of a likely text, so that some texts end and some are cut."""
    (likely,) = generator.generate(queries[2:], Greedy(), TOKENS)
    return Generator(FORWARD, params, batch_size=4, end=int(likely.tokens[2]))


def log_p(params, queries, texts, end):
    """Of every text, by the forward pass over candidates."""
    asked = []
    for query, of_query in zip(queries, texts, strict=True):
        written = [np.append(t.tokens, end) if t.finish == "end" else t.tokens for t in of_query]
        assert [len(tokens) for tokens in written] == [text.length for text in of_query]
        asked.append(query._replace(candidates=tuple(np.asarray(w, np.int32) for w in written)))
    return np.concatenate(scoring.score(FORWARD, params, asked))


@pytest.mark.parametrize(("settings", "count"), WAYS)
def test_a_score_is_log_p_of_the_text(params, with_end, queries, settings, count):
    texts = with_end.several(queries, settings, TOKENS, count)
    assert [len(of_query) for of_query in texts] == [count] * len(queries)
    scores = [text.score for of_query in texts for text in of_query]
    np.testing.assert_allclose(scores, log_p(params, queries, texts, with_end.end), rtol=1e-4)
    ranked = {text.rank_score is not None for of_query in texts for text in of_query}
    assert ranked == {isinstance(settings, Beam)}


def test_some_texts_end_and_some_are_cut(with_end, queries):
    """The control of the test above, and what the reasons mean."""
    drawn = [text for texts in with_end.several(queries, DRAWN, TOKENS, 8) for text in texts]
    assert {text.finish for text in drawn} == {"end", "cut"}
    for text in drawn:
        assert (len(text.tokens) == TOKENS) == (text.finish == "cut") and with_end.end not in text.tokens


def test_an_end_in_the_last_place_is_an_end(generator, queries, monkeypatch):
    (whole,) = generator.generate(queries[:1], Greedy(), TOKENS)
    assert whole.finish == "cut" and whole.length == TOKENS
    at = next(n for n, token in enumerate(whole.tokens) if token not in whole.tokens[:n] and n)
    monkeypatch.setattr(generator, "end", int(whole.tokens[at]))
    for settings in (Greedy(), Beam(beams=1)):
        (ended,) = generator.generate(queries[:1], settings, at + 1)
        assert (ended.finish, ended.length, len(ended.tokens)) == ("end", at + 1, at)
        (cut,) = generator.generate(queries[:1], settings, at)
        assert (cut.finish, cut.length, len(cut.tokens)) == ("cut", at, at)
        assert cut.score > ended.score


def test_one_beam_says_of_the_greedy_text_what_greedy_search_does(generator, queries):
    beams = generator.generate(queries, Beam(beams=1), TOKENS)
    for ours, greedy in zip(beams, generator.generate(queries, Greedy(), TOKENS), strict=True):
        np.testing.assert_array_equal(ours.tokens, greedy.tokens)
        np.testing.assert_allclose(ours.score, greedy.score, rtol=1e-5)
        np.testing.assert_allclose(ours.rank_score, greedy.score / TOKENS, rtol=1e-5)


@pytest.mark.parametrize("settings", [SHORT, LONG], ids=lambda settings: settings.length_penalty)
def test_beams_are_ranked_by_log_p_over_a_power_of_the_length(with_end, queries, settings):
    for texts in with_end.several(queries, settings, TOKENS, 3):
        ranks = [text.rank_score for text in texts]
        assert ranks == sorted(ranks, reverse=True) and len({tuple(text.tokens) for text in texts}) == 3
        expected = [text.score / text.length**settings.length_penalty for text in texts]
        np.testing.assert_allclose(ranks, expected, rtol=1e-5)


def test_the_best_come_first_and_a_penalty_favours_long_ones(with_end, queries):
    short, long = (with_end.generate(queries, settings, TOKENS) for settings in (SHORT, LONG))
    for best, texts in zip(short, with_end.several(queries, SHORT, TOKENS, 3), strict=True):
        assert best.rank_score == texts[0].rank_score and best.tokens.tolist() == texts[0].tokens.tolist()
    assert sum(text.length for text in short) < sum(text.length for text in long)


def test_fewer_choices_than_beams_give_fewer_texts(generator, queries):
    choices = restrictions.one_of([np.array([4, 5]), np.array([20])], end=NEVER)
    for texts in generator.several(queries, Beam(beams=3), TOKENS, 3, choices):
        assert sorted(text.tokens.tolist() for text in texts) == [[4, 5], [20]]
        assert all(text.finish == "end" and -99 < text.score < 0 for text in texts)


def test_where_nothing_may_be_written_beam_search_says_so(generator, queries):
    choices = restrictions.one_of([np.array([4, 4, 4, 4])], end=NEVER)
    with pytest.raises(UserError, match="found no text"):
        generator.generate(queries, Beam(beams=3, no_repeat_ngram=1), TOKENS, choices)


def test_a_stream_has_the_whole_text_at_its_end(with_end, queries):
    for settings in (Greedy(), DRAWN, dataclasses.replace(DRAWN, seed=5)):
        (whole,) = with_end.generate(queries[:1], settings, TOKENS)
        stream = with_end.stream(queries[0], settings, TOKENS, chunk=3)
        assert stream.generated is None
        tokens = list(stream)
        assert tokens == whole.tokens.tolist() == stream.generated.tokens.tolist()
        assert stream.generated.finish == whole.finish
        np.testing.assert_allclose(stream.generated.score, whole.score, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "count", "words"),
    [
        (Greedy(), 2, "likeliest text is one and not 2"),
        (Beam(beams=2), 3, "2 beams have no 3 best"),
        (Sampling(), 0, "at least 1 text"),
    ],
)
def test_counts_that_cannot_be(generator, queries, settings, count, words):
    with pytest.raises(UserError, match=words):
        generator.several(queries, settings, TOKENS, count)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("make", "field"),
    [
        (Sampling, "temperature"),
        (Sampling, "top_p"),
        (Greedy, "repetition_penalty"),
        (Beam, "length_penalty"),
    ],
)
def test_what_is_no_number_is_refused(make, field, bad):
    with pytest.raises(UserError, match=field):
        make(**{field: bad})


def test_the_length_of_a_text_counts_its_end():
    text = Generated(np.array([5, 6], np.int32), -1.0)
    assert text.length == 3 and text._replace(finish="cut").length == 2
