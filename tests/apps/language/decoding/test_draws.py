"""What is drawn for a prompt depends on the prompt, the seed and the draw's number: on nothing beside it."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pangu_jax.apps.language.decoding import draw_keys
from pangu_jax.apps.language.decoding.generator import Generator
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.decoding.settings import Sampling
from tests.apps.language.decoding.test_decoding import FORWARD, NEVER, generator, params, queries, texts

__all__ = ["generator", "params", "queries"]  # fixtures

TOKENS = 8
DRAWN = Sampling(top_k=10, seed=7)  # as in test_decoding: one program
tokens = st.lists(st.integers(0, 50_000), max_size=4)
prompts = st.tuples(tokens, tokens).map(lambda pair: Query(*(np.array(part, np.int32) for part in pair)))


def keys(asked, seed=0, count=1):
    drawn = draw_keys.drawn(asked, count)
    return [tuple(words) for words in draw_keys.words(drawn, seed, len(drawn)).tolist()]


def content(query):
    return tuple(query.inputs.tolist()), tuple(query.prefix.tolist())


@given(st.lists(prompts, max_size=6), st.integers(0, 6), prompts, st.integers(-(2**70), 2**70))
def test_other_lines_do_not_change_a_prompts_key(others, place, query, seed):
    place = min(place, len(others))
    others = [other for other in others if content(other) != content(query)]
    among = keys([*others[:place], query, *others[place:]], seed)
    place = min(place, len(others))
    assert among[place] == keys([query], seed)[0]


@given(st.lists(prompts, max_size=6), st.integers(1, 3))
def test_no_two_draws_share_a_key(asked, count):
    found = keys(asked, count=count)
    assert len(found) == count * len(asked) == len(set(found))


@given(prompts, st.integers(1, 5), st.integers(0, 4))
def test_fewer_draws_are_the_first_of_more(query, count, more):
    assert keys([query], count=count + more)[:count] == keys([query], count=count)
    assert keys([query, query], count=count) == keys([query], count=2 * count)
    again = query._replace(draw=0)
    assert keys([again, again], count=count) == 2 * keys([query], count=count)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=5), st.data())
def test_where_the_inputs_end_matters(row, data):
    one, other = data.draw(st.permutations(range(len(row) + 1)).map(lambda cuts: cuts[:2]))
    asked = [Query(np.array(row[:cut], np.int32), np.array(row[cut:], np.int32)) for cut in (one, other)]
    assert len(set(keys(asked))) == 2 and keys(asked, 1)[0] not in keys(asked, 2)


def test_rows_that_fill_a_batch_have_keys_and_no_setting_of_jax_changes_them():
    words = draw_keys.words([Query(np.array([1, 2]))], 3, 4)
    assert words.shape == (4, 2) and not words[1:].any() and words[0].all()
    plain = jax.random.bits(draw_keys.keys(words)[0])
    with jax.default_prng_impl("rbg"):
        assert jax.random.bits(draw_keys.keys(words)[0]) == plain
    assert draw_keys.words([Query(np.array([1, 2], np.int64))], 3, 4).tolist() == words.tolist()


def test_a_draw_does_not_depend_on_its_neighbours_their_order_or_the_batch_size(params, generator, queries):
    alone = [texts(generator.generate([query], DRAWN, TOKENS))[0] for query in queries]
    assert len({*map(tuple, alone)}) == len(queries)
    for order in ([2, 0, 1], [1, 2], [0, 2]):
        assert texts(generator.generate([queries[i] for i in order], DRAWN, TOKENS)) == [
            alone[i] for i in order
        ]
    for size in (1, 2):
        small = Generator(FORWARD, params, batch_size=size, end=NEVER)
        assert texts(small.generate(queries, DRAWN, TOKENS)) == alone
    assert [list(generator.stream(query, DRAWN, TOKENS)) for query in queries] == alone


def test_the_same_prompt_is_drawn_anew_unless_a_number_is_given(generator, queries):
    query, other = queries[0], queries[1]
    first, between, second = texts(generator.generate([query, other, query], DRAWN, TOKENS))
    assert first != second and between == texts(generator.generate([other], DRAWN, TOKENS))[0]
    again = query._replace(draw=0)
    assert texts(generator.generate([again, other, again], DRAWN, TOKENS)) == [first, between, first]
    assert texts(generator.generate([query._replace(draw=1)], DRAWN, TOKENS)) == [second]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_several_draws_of_one_prompt(generator, queries, count):
    (four,) = generator.several(queries[:1], DRAWN, TOKENS, 4)
    assert len({tuple(text.tokens) for text in four}) == 4
    of_each = generator.several([queries[2], queries[0]], DRAWN, TOKENS, count)
    assert [len(drawn) for drawn in of_each] == [count, count]
    assert texts(of_each[1]) == texts(four)[:count]
