"""Of the pairs of tokens and experts, those that a device has."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pangu_jax.models import slots

CHOSEN = 4


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99), st.sampled_from([1, 2, 4]))
def test_every_pair_is_kept_by_the_device_that_has_its_expert(seed, devices):
    rng = np.random.default_rng(seed)
    expert_NxK = np.stack([rng.permutation(8)[:CHOSEN] for _ in range(5)]).astype(np.int32)
    weight_NxK = rng.random((5, CHOSEN)).astype(np.float32)
    here = 8 // devices
    found = set()
    for device in range(devices):
        most = min(CHOSEN, here)
        own = jnp.asarray(expert_NxK - device * here)
        expert_NxM, weight_NxM = map(np.asarray, slots.of_here(own, jnp.asarray(weight_NxK), here, most))
        assert expert_NxM.shape == weight_NxM.shape == (5, most)
        for row, place in np.argwhere((expert_NxM >= 0) & (expert_NxM < here)):
            found.add((int(row), int(expert_NxM[row, place]) + device * here, float(weight_NxM[row, place])))
    rows = np.arange(5)[:, None].repeat(CHOSEN, 1)
    assert found == set(zip(rows.flat, map(int, expert_NxK.flat), map(float, weight_NxK.flat), strict=True))
