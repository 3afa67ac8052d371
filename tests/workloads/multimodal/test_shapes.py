"""A model of pictures and captions in numbers: beside its arrays, beside its programs, and planned."""

import dataclasses
import math

import jax
import pytest

from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel.layout import Layout
from pangu_jax.planner import planner, predictions
from pangu_jax.workloads import RunContext, Variables
from pangu_jax.workloads.multimodal import shapes
from pangu_jax.workloads.multimodal.model.language_tower import LanguageTower
from pangu_jax.workloads.multimodal.model.text_transformer import TextTransformerConfig
from tests.workloads.multimodal import small_pairs
from tests.workloads.vision.test_masked import products
from tpu_npu_backends import topologies

BATCH = 8
POOLED = dataclasses.replace(small_pairs.IMAGE, pooling="attention")
READER = TextTransformerConfig(vocab_size=small_pairs.IDS, d_model=40, layers=2, heads=4)
MODELS = {
    "clip": small_pairs.model(caption_weight=0.0),
    "siglip and captions": small_pairs.model(image=POOLED, contrast="siglip"),
    "captions through queries": small_pairs.model(contrast="none", queries=3),
    "a text transformer": small_pairs.model(text=READER, caption_weight=0.0, contrast="siglip"),
}


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_the_matrices(name):
    """Without norms, biases, scale, positions, and vectors that are learnt themselves."""
    params = jax.eval_shape(MODELS[name].init, jax.random.key(0)).params
    small = ("norm", "bias", "scale", "positions", "token_types", "probe", "queries/queries")
    sizes = {
        jax.tree_util.keystr(path, simple=True, separator="/"): w.size
        for path, w in jax.tree.leaves_with_path(params)
    }
    matrices = {path: size for path, size in sizes.items() if not any(word in path for word in small)}
    assert MODELS[name].shape().parameters == sum(matrices.values()), sorted(matrices)


def left_out(workload):
    """Products of a step that a shape does not count, by their reasons."""
    text, width, batch = workload.config.text, workload.config.width, BATCH
    compared = workload.config.contrast != "none"
    found = 0.0
    if workload.config.contrast == "clip":  # each direction makes the similarities: one way is counted
        found += 3 * 2 * batch**2 * width
    if isinstance(text, LanguageTower):
        if compared:  # the mean over a text's tokens, as a product, and its gradient
            found += 2 * 2 * batch * small_pairs.LENGTH * text.width
        if text.writes:  # without a kernel, pairs ahead of a caption's token are made, and masked
            found += batch * sum(
                3 * tower.layers * look.flops
                for tower in workload.shape().towers
                for look in tower.attentions
                if look.causal
            )
    if compared and workload.config.image.pooling == "attention":  # the learnt query: one for all pictures
        found += 3 * 2 * workload.config.image.d_model**2
    return found


@pytest.mark.parametrize("name", MODELS)
def test_flops_are_those_of_the_traced_gradient(name):
    """Exactly: of both towers, the decoder, and what joins them."""
    workload, run = MODELS[name], RunContext(OneDevice())
    params = jax.eval_shape(workload.init, jax.random.key(0)).params
    found = products(
        jax.grad(lambda p, b: workload.loss(Variables(p), b, None, run).loss),
        params,
        workload.batch_shapes(BATCH),
    )
    assert found == workload.shape().flops(BATCH) + left_out(workload)
    assert left_out(workload) < 0.03 * found


def predicted(workload, layout, batch=4096):
    model = predictions.describe(workload, batch, optimizer_bytes=8.0)
    return predictions.predict(model, topologies.parse("v5p:2x2x2"), layout)


def test_the_search_plans_it_without_pipelines():
    model = predictions.describe(MODELS["siglip and captions"], 4096, optimizer_bytes=8.0)
    found = planner.search(model, topologies.parse("v5p:2x2x2"), top=5).ranking
    assert len(found) == 5
    assert {(one.layout.stage, one.layout.schedule) for one in found} == {(1, "none")}
    with pytest.raises(UserError, match="stage"):
        planner.search(model, topologies.parse("v5p:2x2x2"), fixed={"stage": 2})


def test_accumulation_makes_the_embeddings_twice():
    """And no more of captions, whose loss is no comparison."""
    both, alone = (MODELS[name] for name in ("siglip and captions", "captions through queries"))
    more = [
        predicted(one, Layout(data=8, microbatches=2)).compute_s / predicted(one, Layout(data=8)).compute_s
        for one in (both, alone)
    ]
    assert more[0] > 1.15 and more[1] < 1.1 and all(map(math.isfinite, more))


def test_what_has_no_numbers_is_said():
    with pytest.raises(UserError, match="no layout can be planned for a text tower object"):
        shapes.of_tower(object(), 8, 4)
