"""openPangu-Embedded with drawn weights against transformers' Llama with biases, by way of a folder."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.apps.language.conversion.openpangu import importing, tensors
from pangu_jax.apps.language.decoding.generator import Generator
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.decoding.settings import Greedy
from pangu_jax.runs.exchange import parts
from pangu_jax.workloads.language.model.forward import Forward
from tests.apps.language.conversion.openpangu import folders, golden
from tests.apps.language.conversion.openpangu.comparing import logits_of, off, windows

NOTHING = np.zeros(0, np.int32)


@functools.cache
def expected() -> dict[str, np.ndarray]:
    with np.load(golden.FILE) as file:
        return dict(file)


@pytest.fixture(scope="module", params=folders.KINDS)
def imported(request, tmp_path_factory):
    """Kind, configuration and parameters."""
    folder = folders.write(tmp_path_factory.mktemp("published") / request.param, request.param)
    found = importing.examine(folder)
    return request.param, found.config, importing.read(found)


def logits(config, params):
    return logits_of(Forward(config), params, windows(golden.tokens()))


def test_logits_and_gradients(imported):
    kind, config, params = imported
    assert off(logits(config, params), expected()[f"{kind}/logits"]) < 1e-5
    loss, gradients = jax.jit(
        jax.value_and_grad(lambda p: Forward(config).loss(p, windows(golden.tokens())).total)
    )(params)
    assert loss == pytest.approx(float(expected()[f"{kind}/loss"]), rel=1e-6)
    ours = parts.by_path(gradients)
    table = {each.name: each for each in tensors.table(config)}
    compared = [name for name in expected() if name.startswith(f"{kind}/gradients/")]
    assert len(compared) == 15 + (not config.tied_head)
    for name in compared:
        theirs = parts.written(
            table[name.removeprefix(f"{kind}/gradients/")], lambda path: np.asarray(ours[path])
        )
        assert off(theirs[..., : golden.COLUMNS], expected()[name]) < 1e-4, name


# What each single mistake costs: it must be seen.
MISTAKES = {
    "theta of others": lambda c, p: (dataclasses.replace(c, rope_theta=1e4), p),
    "theta of the other size": lambda c, p: (dataclasses.replace(c, rope_theta=4e6 * 16e6 / c.rope_theta), p),
    "eps": lambda c, p: (dataclasses.replace(c, epsilon=1e-6), p),
    "no bias of the output": lambda c, p: (c, with_attention(p, out_bias=0.0)),
    "no bias of the queries": lambda c, p: (c, with_attention(p, query_bias=0.0)),
    "heads of keys in turns": lambda c, p: (
        c,
        with_attention(p, query=p["decoder"]["attention"]["query"][:, :, [0, 2, 1, 3]]),
    ),
    "rotary pairs side by side": lambda c, p: (c, interleaved(c, p)),
}


def with_attention(params, **changed):
    attention = params["decoder"]["attention"]
    new = {name: jnp.broadcast_to(value, attention[name].shape) for name, value in changed.items()}
    return params | {"decoder": params["decoder"] | {"attention": attention | new}}


def interleaved(config, params):
    """Weights as a model that turns pairs 2i, 2i + 1 would have them."""
    order = np.arange(config.width).reshape(2, -1).T.reshape(-1)
    attention = params["decoder"]["attention"]
    turned = attention["query"][..., order]
    keys = attention["key_value"].at[:, :, :, 0].set(attention["key_value"][:, :, :, 0][..., order])
    return with_attention(params, query=turned, key_value=keys)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_seen(imported, mistake):
    kind, config, params = imported
    config, params = MISTAKES[mistake](config, params)
    assert off(logits(config, params), expected()[f"{kind}/logits"]) > 1e-4


def test_64_greedy_tokens(imported):
    """With a cache, the shorter of two prompts padded on the left, and alone."""
    kind, config, params = imported
    wanted = [expected()[f"{kind}/written/{number}"].tolist() for number in range(2)]
    asked = [Query(NOTHING, np.array(prompt, np.int32), start=start) for start, *prompt in golden.PROMPTS]
    generator = Generator(Forward(config), params, end=-7)
    assert [text.tokens.tolist() for text in generator.generate(asked, Greedy(), golden.WRITTEN)] == wanted
    assert generator.generate(asked[:1], Greedy(), golden.WRITTEN)[0].tokens.tolist() == wanted[0]
