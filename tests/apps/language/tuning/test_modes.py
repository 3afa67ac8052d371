"""Modes of freezing do what their papers define, to the updates and not to the gradients alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pangu_jax.apps.language.tuning.freezing import DepthAndSteps, Freezing, FreezingContext, wrap
from pangu_jax.apps.language.tuning.modes import (
    ChildTuningD,
    ChildTuningF,
    FreezeOut,
    GradualUnfreezing,
    LayerDrop,
    Mixout,
    RecAdam,
)
from pangu_jax.errors import UserError
from pangu_jax.training.optimizers import Optimizer
from pangu_jax.workloads import Variables

EXTENT = DepthAndSteps(encoder=2, decoder=3, steps=60)
KEY = jax.random.key(0)
CONTEXT = FreezingContext(EXTENT, KEY)
WEIGHTS = {
    "embedding": jnp.ones((50, 4)),
    "encoder": {"attention": {"qkv": jnp.ones((2, 4, 5)), "out": jnp.ones((2, 4, 5))}},
    "decoder": {"feed_forward": {"down": jnp.ones((3, 4, 6)), "up": jnp.ones((3, 4, 6))}},
    "decoder_norm": {"scale": jnp.ones(4)},
    "classifier": {"kernel": jnp.ones((4, 2))},
}
PATHS = {tuple(k.key for k in path): leaf for path, leaf in jax.tree.leaves_with_path(WEIGHTS)}


def by_height(mode: Freezing, step: int) -> np.ndarray:
    """The mask at each height, 0 to the top."""
    out = np.full(EXTENT.top + 1, np.nan)
    for path, leaf in PATHS.items():
        mask = np.broadcast_to(mode.freeze_mask(step, path, leaf, CONTEXT), leaf.shape)
        layers = EXTENT.height(path)
        if isinstance(layers, np.ndarray):
            assert all(len(np.unique(mask[i])) == 1 for i in range(len(mask)))
            out[layers] = mask.reshape(len(mask), -1)[:, 0]
        else:
            out[layers] = mask.flat[0]
    assert not np.isnan(out).any()
    return out


@given(st.integers(0, 59), st.floats(0.05, 1.0))
def test_gradual_unfreezing_begins_at_the_top_and_never_freezes_again(step, until):
    mode = GradualUnfreezing(until)
    now, then = by_height(mode, step), by_height(mode, step + 1)
    assert now[-1] == 1
    assert (np.diff(now) >= 0).all()
    assert (then >= now).all()
    assert 0 <= then.sum() - now.sum() <= 1
    assert GradualUnfreezing(until, cut=True).lowest(step, EXTENT) == np.argmax(now)
    assert mode.lowest(step, EXTENT) == 0


def test_gradual_unfreezing_ends_with_all_layers():
    assert by_height(GradualUnfreezing(0.5), 0).sum() == 1
    assert by_height(GradualUnfreezing(0.5), 30).all()


@given(st.integers(0, 59), st.floats(0.05, 1.0))
@example(20, 0.2)  # its end is 20 in float32, and more in float64
def test_freeze_out_ends_at_the_bottom_first_and_takes_it_out_of_the_backward_pass(step, first):
    mode = FreezeOut(first)
    now = by_height(mode, step)
    assert (np.diff(now) >= 0).all()
    assert now[-1] == 1
    lowest = mode.lowest(step, EXTENT)
    assert not now[:lowest].any()
    assert now[lowest:].all()


def test_freeze_out_falls_by_a_cosine_and_scaled_layers_travel_as_far():
    steps = range(EXTENT.steps)
    travelled = {}
    for scaled in (False, True):
        mode = FreezeOut(0.5, scaled)
        rates = np.stack([mode.rate(step, ("encoder", "attention", "qkv"), CONTEXT) for step in steps])
        assert rates.shape == (EXTENT.steps, 2)
        assert (np.diff(rates, axis=0) <= 1e-6).all()
        travelled[scaled] = [
            *rates.sum(axis=0),
            sum(float(mode.rate(s, ("classifier",), CONTEXT)) for s in steps),
        ]
    np.testing.assert_allclose(travelled[True], 30, atol=1.5)
    assert travelled[False][0] < travelled[False][1] < travelled[False][2]


def test_child_tuning_f_moves_another_random_share_each_step():
    leaf, mode = jnp.ones((100, 100)), ChildTuningF(0.3)
    masks = [np.asarray(mode.freeze_mask(step, ("embedding",), leaf, CONTEXT)) for step in (0, 0, 1)]
    other = np.asarray(mode.freeze_mask(0, ("head",), leaf, CONTEXT))
    np.testing.assert_array_equal(masks[0], masks[1])
    for mask in (masks[2], other):
        assert abs(mask.mean() - 0.3) < 0.03
        assert abs((mask * masks[0]).mean() - 0.09) < 0.02  # drawn apart


def test_child_tuning_d_moves_the_share_with_the_largest_information():
    random = np.random.default_rng(0)
    fisher = jax.tree.map(lambda leaf: jnp.asarray(random.random(leaf.shape), jnp.float32), WEIGHTS)
    mode = ChildTuningD(0.2)
    chosen = jax.jit(mode.choose)(fisher)
    pairs = zip(jax.tree.leaves(fisher), jax.tree.leaves(chosen), strict=True)
    moving, still = zip(*((f[c], f[~c]) for f, c in pairs), strict=True)
    moving, still = np.concatenate(moving), np.concatenate(still)
    assert abs(len(moving) / (len(moving) + len(still)) - 0.2) < 0.01
    assert moving.min() > still.max()
    up, knows = WEIGHTS["decoder"]["feed_forward"]["up"], CONTEXT._replace(chosen=chosen)
    mask = mode.freeze_mask(3, ("decoder", "feed_forward", "up"), up, knows)
    np.testing.assert_array_equal(mask, chosen["decoder"]["feed_forward"]["up"])


def test_mixout_puts_weights_back_and_keeps_their_mean():
    start, now = {"w": jnp.full((200, 200), 2.0)}, {"w": jnp.full((200, 200), 5.0)}
    seen = np.asarray(Mixout(0.4).perturbed(now, 3, CONTEXT._replace(start=start))["w"])
    assert abs((seen == 2.0).mean() - 0.4) < 0.02
    np.testing.assert_allclose(np.unique(seen), [2.0, 2.0 + 3.0 / 0.6], rtol=1e-6)
    assert abs(seen.mean() - 5.0) < 0.05
    again = Mixout(0.4).perturbed(now, 4, CONTEXT._replace(start=start))["w"]
    assert (np.asarray(again) != seen).any()


def test_rec_adam_holds_weights_first_and_lets_them_go():
    mode, weight, start = (
        RecAdam(strength=10.0, middle=0.5, steepness=100.0),
        jnp.array([3.0]),
        jnp.array([1.0]),
    )
    update = jnp.array([-0.5])
    pulls = [mode.pull(update, weight, start, step, 0.01, CONTEXT).item() for step in (0, 30, 60)]
    np.testing.assert_allclose(pulls, [-0.2, -0.35, -0.5], atol=1e-4)


def test_layer_drop_leaves_out_whole_layers_which_do_not_move():
    mode, dropped = LayerDrop(0.5), 0
    for step in range(20):
        left_in = mode.drop_layers(WEIGHTS, step, CONTEXT)
        for tower, block, name in (("encoder", "attention", "out"), ("decoder", "feed_forward", "down")):
            mask = mode.freeze_mask(step, (tower, block, name), WEIGHTS[tower][block][name], CONTEXT)
            left = np.asarray(left_in[tower][block][name]).reshape(mask.shape[0], -1)
            assert ((left == 0).all(axis=1) | (left == 1).all(axis=1)).all()
            np.testing.assert_array_equal(left[:, 0], np.ravel(mask))
            dropped += (left == 0).all(axis=1).sum()
        assert left_in["encoder"]["attention"]["qkv"] is WEIGHTS["encoder"]["attention"]["qkv"]
    assert 30 < dropped < 70  # of 100


def test_masks_stop_updates_with_decay_and_momentum():
    mode = GradualUnfreezing(1.0)
    plain = Optimizer(optax.adamw(0.1, weight_decay=0.5), lambda step: 0.1)
    optimizer = wrap(plain, mode, EXTENT).transformation
    weights, state = WEIGHTS, optimizer.init(WEIGHTS)
    assert jax.tree.structure(state) == jax.tree.structure(plain.transformation.init(WEIGHTS))

    @jax.jit
    def update(gradients, state, weights, step):
        return optimizer.update(gradients, state, weights, variables=Variables(weights), step=step)

    for step in range(11):  # the top, then the last layer of the decoder
        updates, state = update(jax.tree.map(jnp.ones_like, weights), state, weights, step)
        weights = optax.apply_updates(weights, updates)
    up = weights["decoder"]["feed_forward"]["up"]
    assert (up[:2] == 1).all()
    assert (up[2] != 1).all()
    assert (weights["classifier"]["kernel"] != 1).all()
    assert (weights["embedding"] == 1).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: GradualUnfreezing(0.0),
        lambda: ChildTuningF(1.5),
        lambda: Mixout(1.0),
        lambda: FreezeOut(float("nan")),
    ],
)
def test_a_share_out_of_range_is_refused(make):
    with pytest.raises(UserError, match="give a share above 0"):
        make()
