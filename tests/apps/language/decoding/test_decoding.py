"""Generation: token for token what transformers writes, and what the full forward pass says is likeliest."""

import dataclasses
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.apps.language.decoding import beam, prefill, restrictions, sampling, stepping
from pangu_jax.apps.language.decoding.generator import Generator, prepare
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.decoding.settings import Beam, Greedy, Sampling
from pangu_jax.errors import UserError
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.language.model.forward import Forward
from tests.apps.language.decoding import golden

CONFIG = EncoderDecoderConfig(
    vocab_size=40, d_model=16, d_ff=16, heads=2, encoder_layers=1, decoder_layers=2, gated=False
)
FORWARD = Forward(CONFIG)
NEVER = 39


@pytest.fixture(scope="module")
def params():
    drawn = architecture.init(CONFIG, jax.random.key(3))
    return jax.tree.map(lambda weight: weight * 2, drawn)


@pytest.fixture(scope="module")
def generator(params):
    return Generator(FORWARD, params, batch_size=4, end=NEVER)


@pytest.fixture(scope="module")
def queries():
    rng = np.random.default_rng(0)
    return [Query(rng.integers(3, 38, n).astype(np.int32)) for n in (5, 3, 9)]


@pytest.fixture(scope="module")
def greedy(generator, queries):
    return generator.generate(queries, Greedy(), 8)


def texts(generated):
    return [text.tokens.tolist() for text in generated]


def full_pass(config, params, query, written, dtype=jnp.float32):
    """fp32 logits [T, V] of the training forward pass, the last after all that is written."""
    decoder = np.array([[0, *query.prefix, *written]], np.int32)
    batch = prefill.encoder_batch(jnp.asarray(query.inputs[None])) | {
        "decoder_input_tokens": decoder,
        "decoder_segment_ids": np.ones_like(decoder),
        "decoder_positions": np.arange(decoder.shape[1])[None],
    }

    @jax.jit
    def run(params, batch):
        forward = Forward(config, dtype=dtype)
        return forward.logits(params, forward.decode(params, batch, forward.encode(params, batch)))[0]

    return np.asarray(run(params, batch))


def assert_written(kind, names, expected):
    """Our texts under the golden settings against tokens [queries, TOKENS] padded with 0."""
    config = golden.KINDS[kind]
    generator = Generator(Forward(config), golden.parameters(config), batch_size=8)
    for name in names:
        written = generator.generate(golden.queries(), golden.SETTINGS[name][0], golden.TOKENS)
        padded = np.zeros((len(written), golden.TOKENS), np.int32)
        for row, text in zip(padded, written, strict=True):
            row[: len(text.tokens)] = text.tokens
        np.testing.assert_array_equal(padded, expected[name], err_msg=f"{kind}, {name}")


@pytest.mark.parametrize(
    ("kind", "names"),
    [("t5", ("careful", "short_beam")), ("t5_v1_1", ("greedy", "beam", "long_beam"))],
)
def test_texts_are_those_of_transformers_token_for_token(kind, names):
    tables = np.load(golden.FILE)
    assert_written(kind, names, {name: tables[f"{kind}/{name}"] for name in names})


@pytest.mark.prove
@pytest.mark.parametrize("kind", golden.KINDS)
def test_texts_are_those_of_the_installed_transformers(kind):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from benchmarks import _t5_peer

    config, tables = golden.KINDS[kind], np.load(golden.FILE)
    model = _t5_peer.peer(config, golden.parameters(config))
    expected = {
        name: golden.written_by_transformers(model, theirs) for name, (_, theirs) in golden.SETTINGS.items()
    }
    assert_written(kind, golden.SETTINGS, expected)
    for name, tokens in expected.items():
        np.testing.assert_array_equal(tables[f"{kind}/{name}"], tokens, err_msg=f"golden.npz is old: {name}")


@pytest.mark.parametrize(
    ("change", "prefixed", "dtype", "tolerance"),
    [
        ({"gated": True, "head_dim": 6, "head_scale": 0.25}, True, jnp.float32, 1e-5),
        ({"position": "relative", "tied_head": False, "attention_scale": 1.0}, True, jnp.float32, 1e-5),
        ({"position": "relative", "gated": True}, False, jnp.bfloat16, 0.1),
    ],
    ids=str,
)
def test_the_cached_pass_is_the_full_pass(change, prefixed, dtype, tolerance):
    config = dataclasses.replace(CONFIG, **change)
    params = architecture.init(config, jax.random.key(1))
    plain = Query(np.arange(3, 10, dtype=np.int32), np.array([5, 6, 7], np.int32))
    if prefixed:
        without = full_pass(config, params, plain, [8, 9], dtype)
        for tower, layers in (("encoder", 1), ("decoder", 2)):
            shape = layers, config.heads, 2, 3, config.width
            params[tower]["attention"]["prefix"] = jax.random.normal(jax.random.key(2), shape)
        soft = jax.random.normal(jax.random.key(4), (2, config.d_model))
        params["embedding"] = jnp.concatenate([params["embedding"], soft])
        plain = plain._replace(inputs=np.concatenate([[40, 41], plain.inputs]).astype(np.int32))
    expected = full_pass(config, params, plain, [8, 9], dtype)
    assert expected.shape[1] == 40  # the soft prompt's rows are no words
    assert not prefixed or np.abs(expected - without).max() > 0.1
    forward = Forward(config, dtype=dtype)
    weights = prepare(forward, params)
    history = np.array([[-1, 0, 5, 6, 7]], np.int32)  # padded to a rounded width
    prefilled, cache = prefill.read(forward, params, weights, plain.inputs[None], history, 4)
    visible = prefill.shown_at_first(prefilled, 4, 1, 8)
    step = jax.jit(prefill.decode_step, static_argnames=("forward", "prefix_len"))
    for number, token in enumerate((7, 8, 9)):
        logits, cache, visible = step(
            forward, prefilled, cache, jnp.array([[token]]), jnp.int32(number), 4, visible
        )
        np.testing.assert_allclose(logits[:, 0], expected[3 + number], atol=tolerance, rtol=0)


def test_each_token_is_the_likeliest_after_those_before_it(params, queries, greedy):
    for query, text in zip(queries, greedy, strict=True):
        logits = full_pass(CONFIG, params, query, text.tokens)[:-1]
        np.testing.assert_array_equal(text.tokens, logits.argmax(axis=-1))
        np.testing.assert_allclose(text.score, jax.nn.log_softmax(logits).max(axis=-1).sum(), atol=1e-4)


def test_a_text_does_not_depend_on_its_neighbours(generator, queries, greedy):
    assert texts(generator.generate(queries[1:2], Greedy(), 8)) == texts(greedy)[1:2]


def test_nothing_follows_the_end(generator, queries, greedy, monkeypatch):
    whole = greedy[2].tokens.tolist()
    end = whole[2]
    monkeypatch.setattr(generator, "end", end)
    stopped = texts(generator.generate(queries, Greedy(), 8))
    assert stopped[2] == whole[: whole.index(end)]
    assert list(generator.stream(queries[2], Greedy(), 8)) == stopped[2]


def test_a_stream_is_the_same_text_and_comes_in_pieces(generator, queries, greedy, monkeypatch):
    calls = []
    advance = stepping.advance
    monkeypatch.setattr(
        stepping, "advance", lambda *a, until, **k: calls.append(until) or advance(*a, until=until, **k)
    )
    stream = generator.stream(queries[0], Greedy(), 8, chunk=3)
    first = next(stream)
    assert calls == [3], "the rest is not written yet"
    assert [first, *stream] == greedy[0].tokens.tolist()
    assert calls == [3, 6, 8]


def test_new_lengths_meet_programs_that_exist(generator, queries, greedy):
    rng = np.random.default_rng(1)
    programs = (prefill.read, stepping.advance, prepare)
    before = [program._cache_size() for program in programs]
    for lengths, tokens in (((4, 11, 16), 5), ((1, 2, 13), 16)):
        generator.generate(
            [Query(rng.integers(3, 38, n).astype(np.int32)) for n in lengths], Greedy(), tokens
        )
    assert [program._cache_size() for program in programs] == before
    generator.generate([Query(rng.integers(3, 38, 17).astype(np.int32))] * 3, Greedy(), 5)
    assert prefill.read._cache_size() == before[0] + 1, "a longer one does compile"


def test_drawing_obeys_its_settings(generator, queries, greedy):
    assert texts(generator.generate(queries, Sampling(top_k=1), 8)) == texts(greedy)
    assert texts(generator.generate(queries, Sampling(top_p=1e-6), 8)) == texts(greedy)
    assert texts(generator.generate(queries, Sampling(temperature=1e-4), 8)) == texts(greedy)
    drawn = texts(generator.generate(queries, Sampling(seed=1), 8))
    assert drawn == texts(generator.generate(queries, Sampling(seed=1), 8))
    assert drawn != texts(generator.generate(queries, Sampling(seed=2), 8)) != texts(greedy)


@pytest.mark.parametrize("settings", [Greedy(), Beam(beams=2)], ids=lambda s: type(s).__name__)
def test_a_choice_is_one_of_those_given(generator, queries, settings):
    given = [[4, 5], [4, 6, 7], [20], [21, 4]]
    choices = restrictions.one_of([np.array(tokens) for tokens in given], end=NEVER)
    free = texts(generator.generate(queries, settings, 8))
    held = texts(generator.generate(queries, settings, 8, choices))
    assert all(text in given for text in held)
    assert not any(text in given for text in free)
    letters = texts(generator.generate(queries, settings, 8, restrictions.only([4, 5, 6], end=NEVER)))
    assert all(set(text) <= {4, 5, 6} and text for text in letters)


def test_no_pair_of_tokens_comes_twice(generator, queries):
    held = texts(generator.generate(queries, Greedy(no_repeat_ngram=2), 16))
    for text, free in zip(held, texts(generator.generate(queries, Greedy(), 16)), strict=True):
        assert len(set(itertools.pairwise(text))) == len(text) - 1 == 15
        assert len(set(itertools.pairwise(free))) < len(free) - 1, "left free, some does"


@pytest.mark.parametrize(
    ("asked", "settings", "tokens", "words"),
    [
        (Query(np.zeros(0, np.int32)), Greedy(), 4, "query 1 is empty"),
        (Query(np.ones(5000, np.int32)), Greedy(), 4, "input of query 1 has 5000 tokens, and 4096"),
        (Query(np.ones(3, np.int32), np.ones(4097, np.int32)), Greedy(), 4, "decoder prefix of query 1"),
        (Query(np.ones(3, np.int32)), Greedy(), 0, "max_tokens must be between 1 and 32768, got 0"),
        (Query(np.ones(3, np.int32)), Beam(beams=21), 4, "ask for fewer beams"),
    ],
    ids=["empty", "long", "long prefix", "no tokens", "beams"],
)
def test_what_cannot_be_answered_is_told_in_a_line(generator, asked, settings, tokens, words):
    with pytest.raises(UserError, match=words) as caught:
        generator.generate([asked], settings, tokens)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [Greedy(), Beam(beams=2)], ids=lambda s: type(s).__name__)
def test_logits_that_are_not_numbers_are_told(params, queries, settings):
    broken = params | {"decoder_norm": {"scale": jnp.full(16, jnp.nan)}}
    with pytest.raises(UserError, match="not finite numbers"):
        Generator(FORWARD, broken, batch_size=4, end=NEVER).generate(queries, settings, 8)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Sampling(temperature=0.0), "temperature must be above 0"),
        (lambda: Sampling(top_p=1.5), "top_p must be"),
        (lambda: Sampling(top_k=-1), "top_k must be"),
        (lambda: Beam(beams=0), "beams must be at least 1"),
        (lambda: Greedy(repetition_penalty=0.0), "repetition_penalty must be above 0"),
        (lambda: restrictions.one_of([]), "at least one token each"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()


def test_the_largest_few_of_a_long_column_are_those_of_a_sort():
    x_VxR = jnp.asarray(np.random.default_rng(0).standard_normal((3000, 2), np.float32))
    values, index = jax.jit(sampling.largest, static_argnums=1)(x_VxR, 5)
    np.testing.assert_array_equal(index, np.argsort(-np.asarray(x_VxR), axis=0)[:5].T)
    np.testing.assert_array_equal(values, np.take_along_axis(np.asarray(x_VxR), np.asarray(index).T, 0).T)


def test_the_largest_few_are_those_of_top_k_among_equals_and_where_few_are_finite():
    """A mask may leave fewer than are asked for; 641 is no whole number of blocks, so the last is padded."""
    x_VxR = np.full((641, 5), -np.inf, np.float32)
    x_VxR[640, 1:] = 1.0
    x_VxR[638:640, 2] = 2.0, 0.0
    x_VxR[:, 3] = np.random.default_rng(0).integers(0, 3, 641)
    x_VxR[[300, 500], 4] = 1.0, 2.0
    found = sampling.largest(jnp.asarray(x_VxR), 4)
    for ours, expected in zip(found, jax.lax.top_k(x_VxR.T, 4), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_anucleus_holds_the_fewest_that_reach_its_mass():
    logits = jnp.log(jnp.array([[0.1], [0.5], [0.15], [0.25]]))
    for mass, kept in ((0.5, [1]), (0.51, [1, 3]), (0.8, [1, 2, 3])):
        assert np.flatnonzero(np.isfinite(sampling.nucleus(logits, mass)[:, 0])).tolist() == kept


def test_beams_that_change_parents_copy_no_cache(generator, queries):
    settings = Beam(beams=2)
    batch = generator._open(queries, settings, 16)
    prefilled, cache, history, is_padding, max_new, _ = batch
    lowered = beam.search.lower(
        FORWARD,
        prefilled,
        cache,
        history,
        is_padding,
        None,
        16,
        max_new=max_new,
        settings=settings,
        end=NEVER,
    )
    result = r"^ *(?:ROOT )?%(\S+) = f32\[3,2,(?:8,32|32,8)\]\S* (\S+?)\("
    found = [
        op
        for name, op in re.findall(result, lowered.compile().as_text(), re.MULTILINE)
        if "update" not in name
    ]
    copies = [op for op in found if op not in ("parameter", "get-tuple-element")]
    assert copies == ["copy"] * 4, "keys and values of two layers, once, on their way into the loop"
