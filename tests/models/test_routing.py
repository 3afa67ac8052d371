"""Routers and what balances them: the papers' sums by hand, and that a split of a batch changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.models import routing

EXPERTS, GROUPS = 12, 3
LOGITS = jax.random.normal(jax.random.key(0), (4, 5, EXPERTS)) * 2
SCALE = jnp.linspace(0.5, 1.5, EXPERTS)
BIAS = jax.random.normal(jax.random.key(1), (EXPERTS,))


def grouped(logits, scale=SCALE):
    return routing.one_of_each_group(logits, scale, GROUPS)


def test_the_likeliest_of_each_group_by_its_probability_among_all():
    choice = grouped(LOGITS)
    for token in np.ndindex(4, 5):
        logits = np.asarray(LOGITS[token], np.float64)
        probability = np.exp(logits) / np.exp(logits).sum()
        expected = [g * 4 + int(np.argmax(probability[g * 4 : g * 4 + 4])) for g in range(GROUPS)]
        assert choice.expert_BxTxK[token].tolist() == expected
        np.testing.assert_allclose(
            choice.weight_BxTxK[token], probability[expected] * np.asarray(SCALE)[expected], rtol=1e-5
        )
    ones = jnp.ones(EXPERTS)
    assert float(jnp.max(jnp.sum(grouped(LOGITS, ones).weight_BxTxK, -1))) < 1  # not renormalised


def test_the_bias_is_for_the_choice_alone():
    choice = routing.top_of_all(LOGITS, BIAS, 4, 2.5)
    scores = np.asarray(jax.nn.sigmoid(LOGITS))
    expected = np.sort(np.argsort(-(scores + np.asarray(BIAS)), axis=-1)[..., :4])
    np.testing.assert_array_equal(np.sort(choice.expert_BxTxK), expected)
    without = np.sort(np.argsort(-scores, axis=-1)[..., :4])
    assert (expected != without).any()  # or the bias was not tried
    chosen = np.take_along_axis(scores, np.asarray(choice.expert_BxTxK), -1)
    np.testing.assert_allclose(choice.weight_BxTxK, 2.5 * chosen / chosen.sum(-1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(choice.weight_BxTxK.sum(-1), 2.5, rtol=1e-5)


def test_padding_is_no_load_and_alike_loads_cost_one_a_token():
    choice = grouped(LOGITS)
    real = jnp.ones((4, 5)).at[0].set(0)
    load_BxE = routing.loads(choice.expert_BxTxK, EXPERTS, real)
    expected = np.bincount(np.asarray(choice.expert_BxTxK[1:]).reshape(-1), minlength=EXPERTS)
    np.testing.assert_array_equal(load_BxE.sum(0), expected)
    alike = jnp.full(EXPERTS, 1 / EXPERTS)
    assert routing.imbalance(choice.probability_BxTxE, alike, real) == pytest.approx(15, rel=1e-5)
    uneven = jnp.zeros(EXPERTS).at[3].set(1.0)
    mean = float(jnp.mean(choice.probability_BxTxE[1:, :, 3]))
    assert routing.imbalance(choice.probability_BxTxE, uneven, real) == pytest.approx(
        15 * EXPERTS * mean, rel=1e-5
    )


@pytest.mark.parametrize("over", ["batch", "sequence"])
def test_a_balance_loss_adds_up_over_any_split_of_a_batch(over):
    def loss(logits, weight):
        choice = grouped(logits)
        load_BxE = routing.loads(choice.expert_BxTxK, EXPERTS, weight)
        fraction = routing.fractions(BIAS**2 if over == "batch" else load_BxE)
        return routing.imbalance(choice.probability_BxTxE, fraction, weight)

    weight = jax.random.uniform(jax.random.key(2), (4, 5))
    whole = jax.value_and_grad(loss)(LOGITS, weight)
    parts = [jax.value_and_grad(loss)(LOGITS[i : i + 1], weight[i : i + 1]) for i in range(4)]
    assert float(sum(value for value, _ in parts)) == pytest.approx(float(whole[0]), rel=1e-6)
    np.testing.assert_allclose(jnp.concatenate([grad for _, grad in parts]), whole[1], atol=1e-6)
    assert float(jnp.max(jnp.abs(whole[1]))) > 0


def test_a_bias_falls_where_the_load_is_high_and_balances():
    """Logits that favour two experts: steps of the bias alone spread the choice over all."""
    logits = LOGITS.at[..., :2].add(3.0)
    bias = jnp.zeros(EXPERTS)

    def load(bias):
        return routing.loads(
            routing.top_of_all(logits, bias, 2, 1.0).expert_BxTxK, EXPERTS, jnp.ones((4, 5))
        ).sum(0)

    first = load(bias)
    np.testing.assert_allclose(routing.corrected(bias, first, 0.1), 0.1 * np.sign(first.mean() - first))
    for _ in range(60):
        bias = routing.corrected(bias, load(bias), 0.02)
    assert float(first.max()) > 15 and float(load(bias).max()) < 8
