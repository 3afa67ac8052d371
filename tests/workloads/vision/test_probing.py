"""Least squares and neighbours: what is known in closed form is what leaving out by hand gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pangu_jax.errors import UserError
from pangu_jax.workloads.vision import KNearestNeighbours, LinearProbe, probing
from pangu_jax.workloads.vision.pooled import raw_pixels


def ridge(x, y, strength):
    """By the normal equations, the constant not regularised."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    gram = (x - mean_x).T @ (x - mean_x) + strength * np.eye(x.shape[1])
    kernel = np.linalg.solve(gram, (x - mean_x).T @ (y - mean_y))
    return kernel, mean_y - mean_x @ kernel


def some(count, width, seed):
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return draw.normal(size=(count, width)) + 0.7 * np.eye(3)[labels] @ draw.normal(size=(3, width)), labels


@settings(max_examples=20)
@given(st.integers(5, 14), st.integers(1, 20), st.integers(0, 99))
def test_the_strength_is_that_which_answers_best_what_it_has_not_seen(count, width, seed):
    x, labels = some(count, width, seed)
    y, right = np.eye(3)[labels], {}
    for strength in (0.01, 1.0):
        answers = []
        for out in range(count):
            kept = np.arange(count) != out
            kernel, bias = ridge(x[kept], y[kept], strength * count)
            answers.append((x[out] @ kernel + bias).argmax())
        right[strength] = np.sum(answers == labels)
    found = probing.fit_probe(x, labels, 3, strengths=(0.01, 1.0))
    assert found.strength == (0.01 if right[0.01] > right[1.0] else 1.0)
    kernel, bias = ridge(x, y, found.strength * count)
    np.testing.assert_allclose(found.kernel_FxC, kernel, atol=1e-6)
    np.testing.assert_allclose(found.bias_C, bias, atol=1e-6)
    np.testing.assert_allclose(found.probabilities(x).sum(1), 1, rtol=1e-5)


@given(st.integers(2, 30), st.integers(1, 40), st.integers(0, 99))
def test_neighbours_are_the_nearest_by_cosine(count, wanted, seed):
    draw = np.random.default_rng(seed)
    x, asked = draw.normal(size=(count, 5)), draw.normal(size=(4, 5))
    nearest, cosine = probing.nearest_neighbours(x, asked, wanted)
    unit = lambda a: a / np.linalg.norm(a, axis=1, keepdims=True)  # noqa: E731
    expected = unit(asked) @ unit(x).T
    np.testing.assert_array_equal(nearest, np.argsort(-expected, axis=1)[:, :wanted])
    np.testing.assert_allclose(cosine, -np.sort(-expected, axis=1)[:, :wanted], atol=1e-5)


def test_the_nearer_neighbour_has_the_louder_voice():
    x, labels = np.array([[1.0, 0], [0.9, 0.1], [0, 1.0]]), np.array([0, 1, 1])
    votes = probing.neighbour_votes(x, labels, 2, np.array([[1.0, 0.0]]), neighbours=3, temperature=0.001)
    assert votes.argmax() == 0
    votes = probing.neighbour_votes(x, labels, 2, np.array([[1.0, 0.0]]), neighbours=3, temperature=100.0)
    assert votes.argmax() == 1


def test_the_temperature_is_that_of_the_scores():
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(20_000, 4))
    labels = (logits + draw.gumbel(size=logits.shape)).argmax(1)
    assert probing.likeliest_temperature(5 * logits, labels) == pytest.approx(5, rel=0.05)


def test_raw_pixels_are_means_of_equal_areas():
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, (2, 24, 24, 3), np.uint8)
    expected = image.reshape(2, 8, 3, 8, 3, 3).mean((2, 4)).reshape(2, -1)
    np.testing.assert_allclose(raw_pixels(image), expected, rtol=1e-5)
    flat = np.full((1, 20, 20, 1), 7, np.uint8)
    np.testing.assert_allclose(raw_pixels(flat), np.full((1, 64), 7.0), rtol=1e-5)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: LinearProbe(labelled=1), "LinearProbe.labelled = 1 must be at least 2"),
        (lambda: KNearestNeighbours(neighbours=0), "KNearestNeighbours.neighbours = 0"),
    ],
)
def test_an_evaluator_that_contradicts_itself(made, words):
    with pytest.raises(UserError, match=words):
        made()


def test_evaluators_answer_by_the_features_that_they_are_given():
    draw = np.random.default_rng(0)
    labels = np.arange(90) % 3
    x = (np.eye(3)[labels] + 0.1 * draw.normal(size=(90, 3))).astype(np.float32)
    for evaluator in (KNearestNeighbours(), LinearProbe()):
        assert (evaluator.answers(x[:60], labels[:60], 3, x[60:]) == labels[60:]).all()
