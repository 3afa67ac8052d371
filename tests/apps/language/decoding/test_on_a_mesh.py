"""A model on eight devices writes and scores what it does on one, whatever the layout."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from pangu_jax.apps.language.decoding import scoring, stepping
from pangu_jax.apps.language.decoding.generator import Generator, prepare
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.decoding.settings import Beam, Greedy, Sampling
from pangu_jax.apps.language.retrieval.embeddings import Encoder
from pangu_jax.apps.language.tuning.examples import Labelled
from pangu_jax.apps.language.tuning.measuring import ONE_DEVICE, measure
from pangu_jax.parallel.layout import Layout
from pangu_jax.runs import inference_layout
from pangu_jax.runs.inference_layout import Devices
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.language.model.forward import Forward

CONFIG = EncoderDecoderConfig(
    vocab_size=64, d_model=32, d_ff=32, heads=4, encoder_layers=1, decoder_layers=1, position="relative"
)
PROMPT = 3
LAYOUTS = {
    "data 8": Layout(data=8),
    "fsdp 8": Layout(data=1, fsdp=8),
    "model 4 x data 2": Layout(model=4, data=2),
}
SETTINGS = {
    "greedy": Greedy(no_repeat_ngram=3),
    "4 beams": Beam(beams=4),
    "sampling": Sampling(temperature=2.0, top_k=30, top_p=0.95, seed=3),
}
TOKENS = 12


class Found(NamedTuple):
    """What a model says."""

    texts: dict[str, list]
    streamed: list[int]
    scores: list[np.ndarray]
    measured_NxC: np.ndarray
    vectors_NxD: np.ndarray


@pytest.fixture(scope="module")
def params():
    """A model with everything that tuning adds to one: a soft prompt, and prefixes in both towers."""
    drawn = jax.tree.map(lambda weight: 2 * weight, architecture.init(CONFIG, jax.random.key(1)))
    soft, *prefixes = jax.random.split(jax.random.key(2), 3)
    drawn["embedding"] = jnp.concatenate([drawn["embedding"], jax.random.normal(soft, (PROMPT, 32))])
    for tower, key in zip(("encoder", "decoder"), prefixes, strict=True):
        drawn[tower]["attention"]["prefix"] = jax.random.normal(key, (1, 4, 2, 2, CONFIG.width))
    return drawn


def queries():
    """Five, which eight devices do not divide; of several lengths, some with a prefix."""
    random = np.random.default_rng(0)
    soft = np.arange(CONFIG.vocab_size, CONFIG.vocab_size + PROMPT)
    candidates = tuple(np.array(c, np.int32) for c in ([5, 6], [5, 7, 8], [9]))
    return [
        Query(
            np.concatenate([soft, random.integers(3, 60, n)]).astype(np.int32),
            random.integers(3, 60, m).astype(np.int32),
            candidates,
        )
        for n, m in ((5, 0), (12, 0), (3, 4), (7, 2), (9, 0))
    ]


def everything(run: RunContext, params) -> Found:
    asked = queries()
    forward = Forward(CONFIG, run.placement)
    generator = Generator(forward, params)
    encoder = Encoder(forward, params, lambda text: np.frombuffer(text.encode(), np.uint8) % 60 + 3)
    return Found(
        {name: generator.generate(asked, settings, TOKENS) for name, settings in SETTINGS.items()},
        list(generator.stream(asked[2], SETTINGS["sampling"], TOKENS, chunk=5)),
        scoring.score(forward, params, asked),
        measure(CONFIG, params, [Labelled(query, 0) for query in asked], run=run).scores,
        encoder.vectors(["一二三", "四五"]),
    )


def spread_over(layout: Layout, params):
    dimensions = {"embed": 32, "heads": 4, "mlp": 32, "vocab": 64}
    spread = inference_layout.spread(Devices("cpu:8").select(), layout, dimensions, "", required=True)

    def place(path, leaf):
        axes = architecture.axes(CONFIG)
        for entry in path:
            axes = axes.get(entry.key)
        whole = axes is None or not spread.fits(axes, leaf.shape)
        return jax.device_put(leaf, spread.whole() if whole else spread.shardings(axes))

    return spread.run, jax.tree.map_with_path(place, params)


@pytest.fixture(scope="module")
def one_device(params):
    found = everything(ONE_DEVICE, params)
    for way, texts in found.texts.items():
        assert len({tuple(text.tokens) for text in texts}) == len(texts), f"{way}: the queries matter"
    return found


@pytest.mark.parametrize("name", LAYOUTS)
def test_as_on_one_device(name, params, one_device):
    found = everything(*spread_over(LAYOUTS[name], params))
    for way, texts in one_device.texts.items():
        for text, expected in zip(found.texts[way], texts, strict=True):
            np.testing.assert_array_equal(text.tokens, expected.tokens, err_msg=way)
            np.testing.assert_allclose(text.score, expected.score, rtol=1e-5, err_msg=way)
    assert found.streamed == one_device.streamed
    for scores, expected in zip(found.scores, one_device.scores, strict=True):
        np.testing.assert_allclose(scores, expected, rtol=1e-5)
    np.testing.assert_allclose(found.measured_NxC, one_device.measured_NxC, rtol=1e-5)
    np.testing.assert_allclose(found.vectors_NxD, one_device.vectors_NxD, atol=1e-5)


def test_what_lies_where(params):
    """The cache is split over examples and heads, weights as in training; no step meets them elsewhere."""
    run, spread_params = spread_over(Layout(data=2, fsdp=2, model=2), params)
    forward = Forward(CONFIG, run.placement)
    weights = prepare(forward, spread_params)
    fsdp, examples = ("fsdp", "fsdp_y", "fsdp_z"), ("data", "fsdp", "fsdp_y", "fsdp_z")

    def lies(array: jax.Array, *spec) -> bool:
        wanted = NamedSharding(forward.placement.mesh, PartitionSpec(*spec))
        return array.sharding.is_equivalent_to(wanted, array.ndim)

    assert lies(weights["layers"][0]["up"], None, "model", fsdp)
    assert lies(weights["layers"][0]["out"], fsdp, "model")
    assert lies(weights["head"], "model", fsdp)
    generator = Generator(forward, spread_params, batch_size=3)
    assert generator.batch_size == 4
    before = stepping.advance._cache_size()
    stream = generator.stream(queries()[0]._replace(candidates=()), Greedy(), TOKENS, chunk=2)
    list(stream)
    assert stepping.advance._cache_size() == before + 1, "one program for the first step and the others"
    batch = generator._open(queries()[:3], Greedy(), TOKENS)
    assert all(
        lies(array, examples, "model") for array in (*batch.cache[0], *batch.prefilled.memory.layers[0])
    )


def test_a_plan_of_many_rows_is_split_evenly(params, one_device):
    """More queries than a batch holds, of equal shapes: the last batch is filled up."""
    run, spread_params = spread_over(Layout(data=8), params)
    forward = Forward(CONFIG, run.placement)
    asked = queries()[:1] * 9
    scores = scoring.score(forward, spread_params, asked, batch_size=3)
    np.testing.assert_allclose(scores, [one_device.scores[0]] * 9, rtol=1e-5)
    assert dataclasses.replace(forward) == forward and hash(forward) == hash(dataclasses.replace(forward))
