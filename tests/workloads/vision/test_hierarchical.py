"""The trunk is HiViT: its sizes, its order of tokens; and a unit depends on no other before attention."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads.vision.model import trunk as trunks
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.trunk import Stream

TINY = HierarchicalConfig(size=16, unit=8, d_model=32, depths=(1, 1, 2), heads=4)


def parameters(config) -> int:
    shapes = jax.eval_shape(config.init, jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


@pytest.fixture(scope="module")
def trunk():
    """(params, values [B, U, V], places [B, U]) -> features of all stages."""
    forward = TINY.forward(OneDevice(), "none", jnp.float32)
    return jax.jit(lambda params, *shown: trunks.features(forward, params, Stream(*shown)))


@pytest.fixture(scope="module")
def params():
    fresh = TINY.init(jax.random.key(0))
    leaves, tree = jax.tree.flatten(fresh)  # biases and norms that do something
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return tree.unflatten(moved)


def test_sizes_are_the_published_ones():
    """HiViT-B has 66.4M with its head and norm (.5M); the shape of 3.1 billion by counting (vision.md)."""
    assert abs(parameters(HierarchicalConfig()) - 65.9e6) < 0.5e6
    large = HierarchicalConfig(d_model=2560, depths=(4, 4, 38), heads=20)
    assert abs(parameters(large) - 3.1e9) < 0.03e9


def test_patches_are_units_of_patches_and_come_back():
    pixels = jnp.arange(2 * 16 * 16 * 3).reshape(2, 16, 16, 3)
    values = TINY.cut(pixels)
    patches = values.reshape(2, 4, 4, 4, 12)
    # unit 1 is the upper right one; its patch (2, 3) begins 4 rows below its top and 6 columns from its left
    np.testing.assert_array_equal(patches[1, 1, 2, 3].reshape(2, 2, 3), pixels[1, 4:6, 14:16])
    np.testing.assert_array_equal(TINY.joined(values), pixels)


def plain(params, patches):
    """The main stage's input of one unit [4, 4, P], in NumPy and loops."""

    def norm(x, p):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * p["scale"] + p["bias"]

    def perceptrons(x, p):
        for i in range(p["up"].shape[0]):
            normed = norm(x, {"scale": p["norm"]["scale"][i], "bias": p["norm"]["bias"][i]})
            hidden = normed @ p["up"][i] + p["up_bias"][i]
            hidden = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
            x = x + hidden @ p["down"][i].T + p["down_bias"][i]
        return x

    def merge(x, p):
        side = x.shape[0] // 2
        rows = [
            [
                np.concatenate(
                    [x[2 * i, 2 * j], x[2 * i + 1, 2 * j], x[2 * i, 2 * j + 1], x[2 * i + 1, 2 * j + 1]]
                )
                for j in range(side)
            ]
            for i in range(side)
        ]
        return norm(np.array(rows), p["norm"]) @ p["kernel"]

    x = norm(patches @ params["stem"] + params["stem_bias"], params["stem_norm"])
    first = perceptrons(x, params["first"])
    second = perceptrons(merge(first, params["first_merge"]), params["second"])
    return first, second, merge(second, params["second_merge"])[0, 0]


def test_what_comes_before_attention_is_of_one_unit(params, trunk):
    """By a plain computation of one unit; the main stage without layers is its tokens and their places."""
    values = jax.random.normal(jax.random.key(2), (1, 4, 192))
    still = {**params, "main": jax.tree.map(jnp.zeros_like, params["main"])}
    features = trunk(still, values, jnp.arange(4)[None])
    unit = np.asarray(values[0, 2]).reshape(4, 4, 12)
    first, second, main = plain(jax.tree.map(np.asarray, params["trunk"]), unit)
    places = trunks.sine_positions(2, 32)
    for found, wanted in zip(features, (first, second, main + places[2]), strict=True):
        np.testing.assert_allclose(found[0, 2], wanted.ravel(), atol=2e-5)


def test_leaving_units_out_is_a_gather(params, trunk):
    """All but attention: of the kept units the first stages give what they give of all."""
    values = jax.random.normal(jax.random.key(3), (2, 4, 192))
    places = jnp.array([[3, 1], [0, 2]])
    kept = jnp.take_along_axis(values, places[:, :, None], axis=1)
    whole = trunk(params, values, jnp.broadcast_to(jnp.arange(4), (2, 4)))
    part = trunk(params, kept, places)
    for found, of_all in zip(part[:2], whole, strict=False):
        expected = jnp.take_along_axis(of_all, places[:, :, None], axis=1)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not np.allclose(part[2][0, 0], whole[2][0, 3], atol=1e-3)


def test_the_order_of_units_changes_nothing_but_the_order(params, trunk):
    values = jax.random.normal(jax.random.key(4), (2, 4, 192))
    order = jnp.array([2, 0, 3, 1])
    plain = trunk(params, values, jnp.broadcast_to(jnp.arange(4), (2, 4)))
    shuffled = trunk(params, values[:, order], jnp.broadcast_to(order, (2, 4)))
    np.testing.assert_allclose(shuffled[2], plain[2][:, order], atol=2e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 20}, "size 20 is not divisible by unit 8"),
        ({"unit": 6}, "unit 6 must be a multiple of 4"),
        ({"heads": 5}, "d_model 32 is not divisible by 4 and by heads 5"),
        ({"depths": (1, 0, 2)}, "give three numbers from 1 on"),
    ],
)
def test_a_shape_that_contradicts_itself(change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(TINY, **change)
