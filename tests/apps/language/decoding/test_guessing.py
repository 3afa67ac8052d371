"""A decoder of latent attention: cached as uncached, padded as alone, and guessing as greedy search."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.apps.language.decoding import guessing
from pangu_jax.apps.language.decoding.generator import Generator
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.decoding.restrictions import only
from pangu_jax.apps.language.decoding.settings import Greedy
from pangu_jax.models.experts import ExpertsConfig
from pangu_jax.models.latent_attention import LatentWidths
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.model.decoder import DecoderConfig
from pangu_jax.workloads.language.model.forward import Forward

CONFIG = DecoderConfig(
    vocab_size=40,
    d_model=16,
    d_ff=16,
    heads=2,
    layers=2,
    latent=LatentWidths(rank=8, query_rank=12, plain=8, rotary=4, value=6),
    sandwich=True,
    predictions=1,
    tied_head=False,
)
FORWARD = Forward(CONFIG)
NEVER = 39
LENGTH = 64


def drawn(noise):
    """A model that writes token after token in a fixed order, as far as its layers, `noise` strong, let it.

    Its module for the token after the next reads the next token alone, and knows the order too.
    """
    params = architecture.init(CONFIG, jax.random.key(3))
    params = jax.tree.map(lambda weight: weight * 2, params)
    order = np.random.default_rng(0).permutation(NEVER)
    table_VxD = 4 * jax.random.orthogonal(jax.random.key(1), 40)[:, :16]
    head = jnp.zeros_like(table_VxD).at[np.roll(order, -1)].set(table_VxD[order])
    join = jnp.zeros_like(params["prediction"]["join"]).at[:, 0].set(jnp.eye(16))
    for layers in (params["decoder"], params["prediction"]["block"]):
        for kind in ("attention_post_norm", "feed_forward_post_norm"):
            layers[kind]["scale"] = jnp.full_like(layers[kind]["scale"], noise)
    prediction = params["prediction"] | {"join": join}
    return params | {"embedding": table_VxD, "head": head, "prediction": prediction}


@pytest.fixture(scope="module")
def params():
    return drawn(0.3)


@pytest.fixture(scope="module")
def generator(params):
    return Generator(FORWARD, params, batch_size=4, end=NEVER)


@pytest.fixture(scope="module")
def queries():
    rng = np.random.default_rng(0)
    return [Query(np.zeros(0, np.int32), rng.integers(3, 38, n).astype(np.int32)) for n in (9, 3, 6)]


@pytest.fixture(scope="module")
def plainly(generator, queries):
    return generator.generate(queries, Greedy(guess=False), LENGTH)


def texts(generated):
    return [text.tokens.tolist() for text in generated]


def calls(generator, queries, most):
    """Steps of the model for a batch of texts."""
    batch = generator._open(queries, Greedy(), most, None)
    begun, advance = generator._begin(batch, Greedy(), None)
    assert batch.guesses
    return int(advance(begun, until=most).calls)


def test_cached_as_uncached(generator, queries, plainly, params):
    """64 tokens of the shortest prefix, which is padded on the left in its batch."""
    written = [0, *queries[1].prefix.tolist()]

    @jax.jit
    def likeliest(tokens_1xT, last):
        batch = {
            "decoder_input_tokens": tokens_1xT,
            "decoder_segment_ids": jnp.ones_like(tokens_1xT),
            "decoder_positions": jnp.arange(tokens_1xT.shape[1])[None],
        }
        return jnp.argmax(FORWARD.logits(params, FORWARD.decode(params, batch)[0, last]))

    for _ in range(LENGTH):
        window = np.zeros((1, 80), np.int32)
        window[0, : len(written)] = written
        written.append(int(likeliest(window, len(written) - 1)))
    assert texts(plainly)[1] == written[4:]
    assert len(set(written)) > 10


def test_a_batch_padded_on_the_left_writes_what_each_writes_alone(generator, queries, plainly):
    alone = [generator.generate([query], Greedy(guess=False), LENGTH)[0] for query in queries]
    assert texts(alone) == texts(plainly)
    np.testing.assert_allclose([t.score for t in alone], [t.score for t in plainly], rtol=1e-5)


def test_guesses_change_no_text_and_save_steps(generator, queries, plainly):
    guessed = generator.generate(queries, Greedy(), LENGTH)
    assert texts(guessed) == texts(plainly)
    np.testing.assert_allclose([t.score for t in guessed], [t.score for t in plainly], rtol=1e-5)
    assert LENGTH / 2 < calls(generator, queries, LENGTH) < LENGTH


@pytest.mark.parametrize("most", [1, 2, 7])
def test_a_text_is_cut_where_it_is_cut_without_guesses(generator, queries, plainly, most):
    guessed = generator.generate(queries, Greedy(), most)
    assert texts(guessed) == [text[:most] for text in texts(plainly)]
    assert {text.finish for text in guessed} == {"cut"}


def test_all_guesses_right_and_all_wrong(queries):
    """Half the steps where the module knows the order; one for each token where it knows another."""
    params = drawn(0.0)
    right = Generator(FORWARD, params, batch_size=4, end=NEVER)
    assert calls(right, queries, LENGTH) == LENGTH // 2
    wrong_join = params["prediction"] | {"join": -params["prediction"]["join"]}
    wrong = Generator(FORWARD, params | {"prediction": wrong_join}, batch_size=4, end=NEVER)
    assert calls(wrong, queries, LENGTH) == LENGTH
    assert texts(wrong.generate(queries, Greedy(), LENGTH)) == texts(
        right.generate(queries, Greedy(), LENGTH)
    )


def test_texts_end_and_stream_as_without_guesses(params, queries, plainly):
    end = texts(plainly)[0][10]
    generator = Generator(FORWARD, params, batch_size=4, end=end)
    guessed = generator.generate(queries, Greedy(), LENGTH)
    expected = generator.generate(queries, Greedy(guess=False), LENGTH)
    assert texts(guessed) == texts(expected) and guessed[0].finish == "end"
    stream = generator.stream(queries[0], Greedy(), LENGTH, chunk=3)
    assert list(stream) == texts(expected)[0]
    assert stream.generated.finish == "end" and stream.generated.score == pytest.approx(guessed[0].score)


def test_weights_are_kept_in_one_form(generator):
    assert not generator.params


def test_where_something_else_chooses_nothing_is_guessed(generator, queries):
    assert not guessing.serves(generator.weights, Greedy(no_repeat_ngram=2))
    assert not guessing.serves({**generator.weights, "prediction": None}, Greedy(guess=False))
    assert not generator._open(queries, Greedy(), 4, only([3, 4], NEVER)).guesses
    without = dataclasses.replace(CONFIG, predictions=0)
    params = architecture.init(without, jax.random.key(0))
    assert not guessing.serves(Generator(Forward(without), params).weights, Greedy())


def test_a_block_with_experts_guesses_too(queries):
    """Behind a dense layer, as Ultra MoE has it."""
    experts = ExpertsConfig(4, 8, 2, "sigmoid", factor=2.5, shared_d_ff=8)
    config = dataclasses.replace(CONFIG, layers=2, dense_layers=1, experts=experts)
    params = jax.tree.map(lambda weight: weight * 2, architecture.init(config, jax.random.key(3)))
    generator = Generator(Forward(config), params, batch_size=4, end=NEVER)
    assert guessing.serves(generator.weights, Greedy())
    guessed = generator.generate(queries, Greedy(), 12)
    assert texts(guessed) == texts(generator.generate(queries, Greedy(guess=False), 12))
