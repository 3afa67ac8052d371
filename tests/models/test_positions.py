"""Positions: rotary products depend on distance only; buckets are T5's."""

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.models import positions


def test_rotary_scores_depend_on_the_distance_alone():
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 8))

    def score(at, other):
        rotate = lambda x, p: positions.rotate(x, positions.rotation(jnp.array([[p]]), 8))  # noqa: E731
        return jnp.sum(rotate(q, at) * rotate(k, other))

    np.testing.assert_allclose(score(3, 1), score(45, 43), rtol=1e-4)
    assert abs(score(3, 1) - score(3, 2)) > 1e-3


def test_buckets_by_hand():
    """Raffel et al.: half of a direction's buckets are exact, the rest logarithmic, the last is shared."""
    both = positions.relative_buckets(200, 200, bidirectional=True, buckets=32, max_distance=128)
    one = positions.relative_buckets(200, 200, bidirectional=False, buckets=32, max_distance=128)
    assert both[0, 0] == one[0, 0] == 0
    assert (both[7, 0], both[0, 7]) == (7, 16 + 7)  # exact, behind and ahead
    assert both[150, 0] == 15 and both[0, 150] == 31  # beyond max_distance
    assert (one[15, 0], one[0, 15]) == (15, 0)  # a causal tower does not tell what is ahead apart
    assert one[199, 0] == 31
    # log(32 / 8) / log(128 / 8) * 8 = 4 buckets after the 8 exact ones
    assert both[32, 0] == 12
