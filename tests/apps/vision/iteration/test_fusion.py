"""Models made one: the graph network begins as the mean of logits, and learns whom to believe."""

import dataclasses

import numpy as np
import pytest

from pangu_jax.apps.vision.iteration import fusion
from pangu_jax.errors import UserError


@pytest.fixture(scope="module")
def experts():
    """Three, of which the first is right where it is sure and the last knows nothing."""
    rng = np.random.default_rng(0)
    label = rng.integers(4, size=300)
    hot = np.eye(4)[label]
    sure = np.where(rng.random(300) < 0.7, 6.0, 0.0)[:, None] * hot + rng.normal(size=(300, 4)) * 0.3
    some = 1.0 * hot + rng.normal(size=(300, 4))
    nothing = 3.0 * rng.normal(size=(300, 4))
    return np.stack([sure, some, nothing]), label


def right(scores, label):
    return float((scores.argmax(1) == label).mean())


def test_before_it_learns_it_is_the_mean_of_logits(experts):
    logits, label = experts
    fused = dataclasses.replace(fusion.GraphFusion(), steps=0)(logits, label, logits)
    np.testing.assert_allclose(fused, fusion.mean_of_logits(logits), atol=1e-5)


def test_it_learns_whom_to_believe(experts):
    logits, label = experts
    probe, asked = logits[:, :150], logits[:, 150:]
    mean = right(fusion.mean_of_logits(asked), label[150:])
    for layers in (1, 2):
        assert right(fusion.GraphFusion(layers, steps=200)(probe, label[:150], asked), label[150:]) > mean
    assert right(fusion.Stacking(steps=200)(probe, label[:150], asked), label[150:]) > mean
    with pytest.raises(UserError, match="1 or 2"):
        fusion.GraphFusion(layers=3)


def test_the_graph_is_symmetric_and_joins_those_that_agree(experts):
    graph = fusion.normalised_graph(experts[0])
    np.testing.assert_allclose(graph, graph.T)
    assert graph[0, 1] > graph[0, 2] and np.linalg.eigvalsh(graph)[-1] == pytest.approx(1.0)


def test_a_soup_leaves_out_what_spoils_it():
    good = {"out": {"kernel": np.eye(3, dtype=np.float32), "bias": np.zeros(3, np.float32)}}
    bad = {"out": {"kernel": -5 * np.eye(3, dtype=np.float32), "bias": np.zeros(3, np.float32)}}
    x, label = np.eye(3, dtype=np.float16), np.arange(3)
    soup = fusion.greedy_soup([bad, good], x, label)
    np.testing.assert_array_equal(soup["out"]["kernel"], good["out"]["kernel"])
    np.testing.assert_array_equal(fusion.mean_of_weights([good, bad])["out"]["kernel"], -2 * np.eye(3))
