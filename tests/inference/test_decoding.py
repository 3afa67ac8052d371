"""Generation: the likeliest token after each prefix, nothing after the end, and draws that obey top_k."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.inference.decoding import generate
from pangu_jax.models import encoder_decoder
from pangu_jax.models.encoder_decoder import EncoderDecoderConfig
from pangu_jax.models.forward import Forward

FORWARD = Forward(
    EncoderDecoderConfig(vocab_size=40, d_model=16, d_ff=16, heads=2, encoder_layers=1, decoder_layers=1)
)
LENGTH = 6
NEVER = 39


@pytest.fixture(scope="module")
def params():
    return encoder_decoder.init(FORWARD.config, jax.random.key(3))


@pytest.fixture(scope="module")
def prompts():
    tokens = np.random.default_rng(0).integers(3, 38, (3, 5)).astype(np.int32)
    tokens[1, 3:] = 0  # a shorter prompt
    return jnp.asarray(tokens)


@pytest.fixture(scope="module")
def greedy(params, prompts):
    return np.asarray(generate(FORWARD, params, prompts, jax.random.key(0), length=LENGTH, end=NEVER))


def test_each_token_is_the_likeliest_after_those_before_it(params, prompts, greedy):
    batch = {
        "encoder_input_tokens": prompts,
        "encoder_segment_ids": (prompts != 0).astype(int),
        "encoder_positions": jnp.tile(jnp.arange(5), (3, 1)),
        "decoder_input_tokens": np.pad(greedy, ((0, 0), (1, 0)))[:, :-1],
        "decoder_segment_ids": jnp.ones((3, LENGTH), int),
        "decoder_positions": jnp.tile(jnp.arange(LENGTH), (3, 1)),
    }
    hidden = FORWARD.decode(params, batch, FORWARD.encode(params, batch))
    np.testing.assert_array_equal(greedy, jnp.argmax(FORWARD.logits(params, hidden), axis=-1))


def test_nothing_follows_the_end(params, prompts, greedy):
    end = int(greedy[0, 0])
    stopped = np.asarray(generate(FORWARD, params, prompts, jax.random.key(0), length=LENGTH, end=end))
    assert stopped[0].tolist() == [end] + [0] * (LENGTH - 1)


def test_drawing_among_one_is_greedy_and_among_all_is_not(params, prompts, greedy):
    draw = {"length": LENGTH, "end": NEVER, "temperature": 1.0}
    one = generate(FORWARD, params, prompts, jax.random.key(0), top_k=1, **draw)
    several = generate(FORWARD, params, prompts, jax.random.key(0), top_k=20, **draw)
    np.testing.assert_array_equal(one, greedy)
    assert (np.asarray(several) != greedy).any()
