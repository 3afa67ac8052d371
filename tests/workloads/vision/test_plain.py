"""The plain transformer: sizes, places, pooling; and pictures packed in rows see what each sees alone."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads.vision.model import classifying, grids, packed, trunk
from pangu_jax.workloads.vision.model.pixels import centred
from pangu_jax.workloads.vision.model.plain import PlainConfig
from pangu_jax.workloads.vision.model.trunk import Stream

TINY = PlainConfig(size=12, patch=4, channels=3, d_model=16, layers=2, heads=2, ratio=2.0, classes=5)
KINDS = {
    "token": TINY,
    "mean": dataclasses.replace(
        TINY, class_token=False, pooling="mean", norm="pooled", qkv_bias=False, tanh=True, representation=6
    ),
    "attention": dataclasses.replace(TINY, token_position=False, pooling="attention", mean=(0.5, 0.4, 0.3)),
    "clip": dataclasses.replace(TINY, norm="pooled", quick=True, patch_bias=False, first_norm=True),
}


def forward(config):
    return config.forward(OneDevice(), "none", jnp.float32)


def moved(config):
    """Parameters of which none is at its initial value."""
    draw = np.random.default_rng(0)
    shapes = jax.eval_shape(config.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(draw.normal(0.1, 0.3, leaf.shape), jnp.float32), shapes)


@pytest.fixture(scope="module")
def params():
    return moved(TINY)


@pytest.fixture(scope="module")
def pixels():
    return centred(np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3)))


def test_sizes_are_the_published_ones():
    """timm's vit_base_patch16_224 has 86,567,656; vit_tiny_patch16_224 5,717,416."""
    for changes, count in (({}, 86_567_656), ({"d_model": 192, "heads": 3}, 5_717_416)):
        config = PlainConfig(classes=1000, **changes)
        shapes = jax.eval_shape(config.init, jax.random.key(0))
        assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == count


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_and_their_axes_are_of_one_structure(kind):
    shapes, axes = jax.eval_shape(KINDS[kind].init, jax.random.key(0)), KINDS[kind].axes()
    dimensions = jax.tree.map(lambda leaf: (None,) * len(leaf.shape), shapes)
    unnamed = jax.tree.map(
        lambda axis: (None,) * len(axis), axes, is_leaf=lambda leaf: isinstance(leaf, tuple)
    )
    assert unnamed == dimensions
    of_layers = jax.tree.leaves(axes["main"], is_leaf=lambda leaf: isinstance(leaf, tuple))
    assert all(axis[0] == "layers" for axis in of_layers)


def test_patches_come_back_and_have_the_mean_and_deviation_of_the_weights(pixels):
    config = dataclasses.replace(TINY, mean=(0.5, 0.4, 0.3), deviation=(0.2,))
    values = config.cut(pixels)
    raw = (np.asarray(pixels[1, 4:8, 8:12]) * 0.25 + 0.45 - [0.5, 0.4, 0.3]) / 0.2
    np.testing.assert_allclose(values[1, 5], raw.ravel(), atol=1e-5)  # row 1, column 2 of three
    np.testing.assert_allclose(config.joined(values), pixels, atol=1e-5)


def test_places_go_with_their_patches(params, pixels):
    """Shuffled units give shuffled features; some of them other features, and the class token is no unit."""
    whole = trunk.whole(TINY, pixels)
    order = jnp.array([[4, 8, 0, 2, 6, 1, 3, 5, 7]] * 2)
    shuffled = Stream(jnp.take_along_axis(whole.values_BxUxV, order[..., None], 1), order)
    part = Stream(shuffled.values_BxUxV[:, :4], order[:, :4])
    run = jax.jit(lambda stream: trunk.features(forward(TINY), params, stream))
    (plain,), (turned,), (fewer,) = (run(stream) for stream in (whole, shuffled, part))
    assert plain.shape == (2, 9, 16) and fewer.shape == (2, 4, 16)
    np.testing.assert_allclose(turned, jnp.take_along_axis(plain, order[..., None], 1), atol=1e-5)
    assert not np.allclose(fewer, turned[:, :4], atol=1e-2)


@pytest.mark.parametrize(("old", "new"), [(3, 5), (14, 9), (7, 7), (2, 1)])
def test_positions_are_resized_by_the_cubic_kernel(old, new):
    """jax.image.resize has timm's kernel: Keys' with a = -.5, and antialiasing."""
    table = np.random.default_rng(old).normal(size=(old * old, 3)).astype(np.float32)
    expected = jax.image.resize(table.reshape(old, old, 3), (new, new + 1, 3), "cubic")
    found = grids.resized(table, new, new + 1)
    np.testing.assert_allclose(found, expected.reshape(-1, 3), atol=2e-6)


def test_squares_are_squares_and_not_remainders():
    """196 positions are a square and no 195 with a class; 197 are none."""
    assert [grids.square(count) for count in (196, 197, 195, 1, 0)] == [14, None, None, 1, 0]
    with pytest.raises(ValueError, match="197 positions are no square grid"):
        grids.resized(np.zeros((197, 2)), 7, 7)


SIZES = [(12, 12), (4, 8), (8, 16), (16, 8), (8, 4)]  # three lengths, each compiled once


@pytest.fixture(scope="module")
def pictures():
    draw = np.random.default_rng(3)
    return [np.asarray(centred(draw.integers(0, 256, (*size, 3)))) for size in SIZES]


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_picture_is_what_it_is_alone(kind, pictures):
    config, params = KINDS[kind], moved(KINDS[kind])
    rows, places = packed.pack(config, pictures, tokens=20)
    most = max(place.number for place in places)
    found = jax.jit(lambda p, r: packed.logits(forward(config), p, r, most))(params, rows)
    by_itself = jax.jit(lambda p, stream: classifying.logits(forward(config), p, stream))
    assert len(rows.values_RxTxV) == 2 and most == 3
    for picture, place in zip(pictures, places, strict=True):
        table = grids.resized(np.asarray(params["trunk"]["positions"]), place.height, place.width)
        own = {**params, "trunk": {**params["trunk"], "positions": table}}
        change, shift = config.change()
        values = [
            (picture[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] * change + shift).ravel()
            for row in range(place.height)
            for column in range(place.width)
        ]
        stream = Stream(jnp.asarray(values)[None], jnp.arange(len(values))[None])
        alone = by_itself(own, stream)[0]
        np.testing.assert_allclose(found[place.row, place.number - 1], alone, atol=1e-5)


def test_every_learnt_position_learns_from_packed_pictures(params, pictures):
    """By the rows of a gradient of what enters the layers: those need no backward pass for it."""
    rows, _ = packed.pack(TINY, pictures[1:], tokens=20)
    still = jax.tree.map(jnp.zeros_like, params["main"])
    of = lambda trunk: jnp.sum(packed.run(forward(TINY), {"trunk": trunk, "main": still}, rows) ** 2)  # noqa: E731
    assert np.all(np.any(jax.jit(jax.grad(of))(params["trunk"])["positions"] != 0, axis=1))


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=12))
def test_rows_hold_every_picture_once(sides):
    """Numbered patches: each is in its place, nothing else is anywhere, and no two rows would fit in one."""
    config = dataclasses.replace(TINY, channels=1, patch=1, size=3)
    pictures = [np.full((*side, 1), index + 1.0) for index, side in enumerate(sides)]
    rows, places = packed.pack(config, pictures, tokens=17)
    change, shift = config.change()
    left = np.where(rows.pictures_RxT > 0, 1, 0)
    for index, place in enumerate(places):
        where = place.row, slice(place.start, place.start + place.height * place.width)
        np.testing.assert_allclose(
            rows.values_RxTxV[where], float((index + 1) * change[0] + shift[0]), rtol=1e-6
        )
        assert rows.first_RxT[place.row, place.start - 1]
        assert set(rows.pictures_RxT[place.row, place.start - 1 : where[1].stop]) == {place.number}
        left[place.row, place.start - 1 : where[1].stop] -= 1
    assert not left.any() and rows.first_RxT.sum() == len(pictures)
    used = (rows.pictures_RxT > 0).sum(axis=1)
    assert all(one + other > 17 for one, other in itertools.pairwise(used))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((8, 8, 1), r"picture 1 is \[8, 8, 1\] instead of \[height, width, 3\]"),
        ((8, 6, 3), "picture 1 is 8 x 6, which patches of 4 do not divide"),
        ((0, 4, 3), "picture 1 is 0 x 4"),
        ((40, 40, 3), "picture 1 has 101 tokens and a row 20"),
    ],
)
def test_a_picture_that_cannot_be_packed(shape, words):
    with pytest.raises(ValueError, match=words):
        packed.pack(TINY, [np.zeros((4, 4, 3)), np.zeros(shape)], tokens=20)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 10}, "size 10 is not divisible by patch 4"),
        ({"heads": 3}, "d_model 16 is not divisible by heads 3"),
        ({"layers": 0}, "layers 0: give a number from 1 on"),
        ({"pooling": "max"}, "pooling 'max' is none of token, mean, attention"),
        ({"norm": "first"}, "norm 'first' is none of tokens, pooled, none"),
        ({"class_token": False}, "pooling 'token' needs class_token = True"),
        ({"mean": (0.5, 0.5)}, r"mean \(0.5, 0.5\): give one number, or one for each channel"),
        ({"tanh": True, "quick": True}, "tanh and quick are two kinds of GELU: give one"),
        ({"deviation": (0.0,)}, "deviation .*: give numbers above 0"),
    ],
)
def test_a_shape_that_contradicts_itself(change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(TINY, **change)
