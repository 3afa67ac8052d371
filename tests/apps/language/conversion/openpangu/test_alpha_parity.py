"""PanGu-alpha with drawn weights against the plain PyTorch form of pcl-pangu, by way of a folder of .npy."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from pangu_jax.apps.language.conversion.openpangu import alpha, alpha_tensors, importing
from pangu_jax.apps.language.decoding.generator import Generator
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.decoding.settings import Greedy
from pangu_jax.runs.exchange import parts
from pangu_jax.workloads.language.model.forward import Forward
from tests.apps.language.conversion.openpangu import alpha_folders as folders
from tests.apps.language.conversion.openpangu import alpha_golden as golden
from tests.apps.language.conversion.openpangu.comparing import logits_of, off, windows

NOTHING = np.zeros(0, np.int32)


@functools.cache
def expected() -> dict[str, np.ndarray]:
    with np.load(golden.FILE) as file:
        return dict(file)


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Configuration and parameters."""
    folder = folders.write(tmp_path_factory.mktemp("published") / "alpha")
    found = alpha.examine(folder, heads=folders.HEADS)
    return found.config, importing.read(found)


def test_logits_and_gradients(imported):
    config, params = imported
    assert off(logits_of(Forward(config), params, windows(golden.tokens())), expected()["logits"]) < 1e-5
    loss, gradients = jax.jit(
        jax.value_and_grad(lambda p: Forward(config).loss(p, windows(golden.tokens())).total)
    )(params)
    assert loss == pytest.approx(float(expected()["loss"]), rel=1e-6)
    ours = parts.by_path(gradients)
    table = {each.name: each for each in alpha_tensors.table(config)}
    compared = [name for name in expected() if name.startswith("gradients/")]
    assert len(compared) == 5 + 2 * 16
    for name in compared:
        theirs = parts.written(table[name.removeprefix("gradients/")], lambda path: np.asarray(ours[path]))
        if "dense2.bias" in name:  # a bias of all keys moves no probability: both are rounding
            assert np.max(np.abs(theirs)) < 1e-4
            continue
        assert off(theirs[..., : golden.COLUMNS], expected()[name]) < 1e-4, name


def in_layers(params, block, **changed):
    return params | {
        stack: params[stack]
        | {block: params[stack][block] | {n: f(params[stack][block]) for n, f in changed.items()}}
        for stack in ("decoder", "query_layer")
    }


def turned(own):
    """The projection, stored the other way round."""
    layers, d = own["out"].shape[:2]
    return own["out"].reshape(layers, d, d).swapaxes(1, 2).reshape(own["out"].shape)


class NormedAfter(Forward):
    """The form of the pipelined 200B: the final norm is behind the query layer."""

    def hidden(self, params, payload, batch, keys_B=None):
        asked = self._run("query_layer", 0, params["query_layer"], params, payload, batch, keys_B, 0)
        return tuple(self._norm(x, params["decoder_norm"]) for x in asked["decoder"])


class OwnQueries(Forward):
    """A last layer like the others."""

    def _layer_inputs(self, stack, *arguments):
        return super()._layer_inputs("decoder", *arguments)


def without(name):
    return lambda p: p | {name: jax.tree.map(np.zeros_like, p[name])}


def no_bias(block, name):
    return lambda p: in_layers(p, block, **{name: lambda own: 0 * own[name]})


# What each single mistake costs: it must be seen.
MISTAKES = {
    "no query layer": (Forward, {}, lambda p: {n: p[n] for n in p if n != "query_layer"}),
    "queries of the residual stream": (OwnQueries, {}, lambda p: p),
    "a norm after the query layer": (NormedAfter, {}, lambda p: p),
    "the projection transposed": (Forward, {}, lambda p: in_layers(p, "attention", out=turned)),
    "GELU by the error function": (Forward, {"activation": "gelu_exact"}, lambda p: p),
    "GELU by a sigmoid": (Forward, {"activation": "gelu_quick"}, lambda p: p),
    "eps": (Forward, {"epsilon": 1e-12}, lambda p: p),
    "no positions": (Forward, {}, without("positions")),
    "no bias of a norm": (Forward, {}, no_bias("attention_norm", "bias")),
    "no bias of the feed-forward block": (Forward, {}, no_bias("feed_forward", "up_bias")),
    "no bias of its output": (Forward, {}, no_bias("feed_forward", "out_bias")),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_seen(imported, mistake):
    config, params = imported
    form, fields, change = MISTAKES[mistake]
    found = logits_of(form(dataclasses.replace(config, **fields)), change(params), windows(golden.tokens()))
    assert off(found, expected()["logits"]) > 1e-4


def test_64_greedy_tokens(imported):
    """With a cache, the shorter of two prompts padded on the left, and alone."""
    config, params = imported
    wanted = [expected()[f"written/{number}"].tolist() for number in range(2)]
    asked = [Query(NOTHING, np.array(prompt, np.int32), start=-1) for prompt in golden.PROMPTS]
    generator = Generator(Forward(config), params, end=-7)
    assert [text.tokens.tolist() for text in generator.generate(asked, Greedy(), golden.WRITTEN)] == wanted
    assert generator.generate(asked[:1], Greedy(), golden.WRITTEN)[0].tokens.tolist() == wanted[0]


def test_documents_of_a_window_begin_at_position_0_and_see_nothing_of_each_other(imported):
    config, params = imported
    given = windows(golden.tokens())
    packed = {name: np.tile(rows.reshape(1, -1), (2, 1)) for name, rows in given.items()}
    packed["decoder_segment_ids"] = np.repeat([[1, 2]], 24, axis=1) + np.zeros((2, 1), np.int32)
    found = logits_of(Forward(config), params, packed)[0].reshape(2, 24, -1)
    assert off(found, expected()["logits"]) < 1e-5
