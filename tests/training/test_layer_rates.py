"""Layer-wise rates: the lower, the slower; whatever else there is learns at the full rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.errors import UserError
from pangu_jax.training.layer_rates import layerwise_rates
from pangu_jax.training.optimizers import adamw
from pangu_jax.training.schedules import constant_schedule

PARAMS = {
    "trunk": {"stem": jnp.ones((2, 3))},
    "main": {"up": jnp.ones((3, 2, 2)), "bias": jnp.ones((3, 2))},
    "head": {"kernel": jnp.ones((2, 4))},
}


def updates(optimizer, params):
    gradients = jax.tree.map(jnp.ones_like, params)
    transformation = optimizer.transformation
    return transformation.update(gradients, transformation.init(params), params)[0]


def test_updates_are_those_of_the_optimizer_times_the_decay_of_the_layers_above():
    inner = adamw(schedule=constant_schedule(learning_rate=0.1), weight_decay=0.5)
    plain, found = updates(inner, PARAMS), updates(layerwise_rates(inner, 0.5), PARAMS)
    np.testing.assert_allclose(found["head"]["kernel"], plain["head"]["kernel"])
    np.testing.assert_allclose(found["trunk"]["stem"], plain["trunk"]["stem"] / 16)
    for name in ("up", "bias"):
        for layer, factor in enumerate((1 / 8, 1 / 4, 1 / 2)):
            np.testing.assert_allclose(found["main"][name][layer], plain["main"][name][layer] * factor)


def test_a_head_alone_learns_at_the_full_rate():
    inner, head = adamw(), {"head": PARAMS["head"]}
    jax.tree.map(np.testing.assert_array_equal, updates(layerwise_rates(inner), head), updates(inner, head))


@pytest.mark.parametrize("decay", [0.0, 1.1])
def test_a_decay_that_cannot_be(decay):
    with pytest.raises(UserError, match=r"layerwise_rates\.decay"):
        layerwise_rates(decay=decay)
