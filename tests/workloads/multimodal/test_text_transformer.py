"""The text tower: its parameters, what it sees, and the same on a mesh as on one device."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel.layout import Layout
from pangu_jax.workloads.multimodal.model.text_transformer import TextTransformerConfig
from tests.workloads.multimodal import small_pairs
from tests.workloads.multimodal.test_layouts import assert_same, loss_and_gradient

BERT = TextTransformerConfig(
    vocab_size=16, length=8, d_model=16, layers=2, heads=2, ratio=2.0, norm="after", segments=2
)
SIGLIP = dataclasses.replace(
    BERT,
    norm="before",
    segments=0,
    pooling="last",
    masked=False,
    padding=1,
    projection=6,
    activation="gelu_tanh",
)
TOKENS = np.array([[3, 4, 5, 1, 0, 0], [6, 7, 8, 9, 10, 1]], np.int32)


def moved(config):
    """Parameters of which none is at its initial value."""
    draw = np.random.default_rng(0)
    shapes = jax.eval_shape(config.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(draw.normal(0.1, 0.3, leaf.shape), jnp.float32), shapes)


@functools.partial(jax.jit, static_argnums=0)
def pooled(config, params, tokens):
    return config.forward(OneDevice(), "none", jnp.float32).pooled(params, tokens)


@pytest.mark.parametrize("config", [BERT, SIGLIP])
def test_parameters_and_their_axes_are_of_one_structure(config):
    shapes, axes = jax.eval_shape(config.init, jax.random.key(0)), config.axes()
    dimensions = jax.tree.map(lambda leaf: (None,) * len(leaf.shape), shapes)
    is_axes = lambda leaf: isinstance(leaf, tuple)  # noqa: E731
    assert jax.tree.map(lambda axis: (None,) * len(axis), axes, is_leaf=is_axes) == dimensions
    assert all(axis[0] == "layers" for axis in jax.tree.leaves(axes["layers"], is_leaf=is_axes))
    assert pooled(config, moved(config), TOKENS).shape == (2, config.width)


def test_what_is_hidden_changes_nothing_and_what_is_seen_does():
    params = moved(BERT)
    seen = dataclasses.replace(BERT, masked=False)
    longer = np.pad(TOKENS, ((0, 0), (0, 2)))
    np.testing.assert_allclose(pooled(BERT, params, TOKENS), pooled(BERT, params, longer), atol=1e-5)
    found = pooled(seen, params, TOKENS), pooled(seen, params, longer)
    assert np.abs(found[0] - found[1]).max() > 1e-3
    with pytest.raises(ValueError, match="texts of 9 tokens: there are 8 positions"):
        pooled(BERT, params, np.ones((2, 9), np.int32))


def test_padding_has_the_embedding_of_its_id():
    params = moved(SIGLIP)
    ends = np.where(TOKENS == 0, 1, TOKENS)
    np.testing.assert_array_equal(pooled(SIGLIP, params, TOKENS), pooled(SIGLIP, params, ends))
    other = dataclasses.replace(SIGLIP, padding=0)
    assert np.abs(pooled(other, params, TOKENS) - pooled(other, params, ends)).max() > 1e-3


def of_bert():
    """Two towers as Chinese-CLIP has them."""
    shape = {"d_model": 48, "heads": 4, "vocab_size": small_pairs.IDS, "length": small_pairs.LENGTH}
    as_clip = {"pooling": "token", "norm": "pooled", "patch_bias": False, "first_norm": True, "quick": True}
    image = dataclasses.replace(small_pairs.IMAGE, layers=1, class_token=True, **as_clip)
    text = dataclasses.replace(BERT, **shape, layers=1)
    return small_pairs.model(image=image, text=text, width=40, contrast="clip", caption_weight=0.0)


def of_siglip():
    """Two towers as SigLIP has them."""
    shape = {"d_model": 48, "heads": 4, "vocab_size": small_pairs.IDS, "length": small_pairs.LENGTH}
    image = dataclasses.replace(small_pairs.IMAGE, pooling="attention", tanh=True)
    text = dataclasses.replace(SIGLIP, **shape, projection=32, unroll=2)
    no = {"projected": (False, False), "width": 32, "caption_weight": 0.0}
    return small_pairs.model(image=image, text=text, contrast="siglip", **no)


LAYOUT = Layout(data=2, fsdp=2, model=2, partitioning="manual")
OTHERS = {
    "fsdp 8": Layout(data=1, fsdp=8),
    "data 4 x model 2": Layout(data=4, model=2),
    "data 4 x model 2, by hand, accumulated": Layout(data=4, model=2, partitioning="manual", microbatches=2),
}


def test_a_layout_changes_nothing():
    assert_same(loss_and_gradient(LAYOUT, of_bert()), loss_and_gradient(Layout(data=1), of_bert()))


@pytest.mark.prove
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("make", [of_bert, of_siglip])
def test_more_layouts(make, name):
    assert_same(loss_and_gradient(OTHERS[name], make()), loss_and_gradient(Layout(data=1), make()))


def test_it_is_planned_with_the_parameters_that_it_has():
    """But for norms, biases and positions."""
    workload = of_siglip()
    leaves = jax.tree.leaves_with_path(jax.eval_shape(workload.init, jax.random.key(0)).params["text"])
    small = ("positions", "up_bias", "down_bias", "qkv_bias", "out_bias", "scale", "bias", "head_bias")
    matrices = sum(math.prod(leaf.shape) for path, leaf in leaves if path[-1].key not in small)
    shape = workload.shape()
    planned = sum(tower.layers * tower.parameters for tower in shape.towers if tower.name == "text")
    planned += sum(end.parameters for end in shape.ends if end.name.startswith("text"))
    assert planned == matrices


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"heads": 3}, "d_model 16 is not divisible by heads 3"),
        ({"layers": 0}, "layers 0: give a number from 1 on"),
        ({"norm": "middle"}, "norm 'middle' is none of before, after"),
        ({"pooling": "last"}, "pooling 'last' reads padding: masked = False goes with it"),
        ({"activation": "relu"}, "activation 'relu' is none of gelu, gelu_tanh, quick_gelu"),
        ({"padding": 16}, "padding 16 is no id below vocab_size 16"),
    ],
)
def test_a_shape_that_contradicts_itself(change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(BERT, **change)
