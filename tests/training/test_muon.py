"""Muon of stacked layers is Muon of each matrix, as optax has it of arrays of two dimensions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

from pangu_jax.training import muon_steps
from pangu_jax.training.optimizers import adamw, muon
from pangu_jax.training.schedules import constant_schedule

RATE = 1e-2
AXES = {
    "embedding": ("vocab", "embed"),
    "encoder": {
        "qkv": ("layers", "embed", "heads", None, "kv"),
        "down": ("layers", "embed", "mlp"),
        "scale": ("layers", "norm"),
    },
}
SHAPES = {"embedding": (7, 4), "encoder": {"qkv": (2, 4, 2, 3, 5), "down": (2, 4, 6), "scale": (2, 4)}}


def drawn(seed: int):
    random = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: random.normal(size=shape).astype("f4"), SHAPES, is_leaf=lambda x: isinstance(x, tuple)
    )


def stepped(transformation, params, axes=None):
    """Parameters after two steps of other gradients."""
    transformation = optax.with_extra_args_support(transformation)
    state = transformation.init(params)
    for seed in (1, 2):
        gradients = drawn(seed) if axes else [drawn(seed)["encoder"]]
        gradients = gradients if axes else matrices(gradients[0])
        updates, state = transformation.update(gradients, state, params, axes=axes)
        params = optax.apply_updates(params, updates)
    return params


def matrices(encoder):
    """Each by itself: query, key and value of each layer, and what narrows."""
    layers = range(2)
    apart = {f"{i}/{part}": encoder["qkv"][i, :, :, part].reshape(4, 10) for i in layers for part in range(3)}
    return apart | {f"{i}/down": encoder["down"][i] for i in layers}


def test_each_matrix_of_a_stack_moves_as_by_itself():
    params = drawn(0)
    optimizer = muon(constant_schedule(RATE), weight_decay=0.1, clip=0.0)
    found = stepped(optimizer.transformation, params, AXES)
    alone = contrib.muon(RATE, weight_decay=0.1, consistent_rms=muon_steps.RMS)
    expected = stepped(alone, matrices(params["encoder"]))
    for name, matrix in matrices(found["encoder"]).items():
        np.testing.assert_allclose(matrix, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_tables_and_norms_are_adamws():
    params = drawn(0)
    settings = {"schedule": constant_schedule(RATE), "weight_decay": 0.1, "clip": 0.0}
    found = stepped(muon(**settings).transformation, params, AXES)
    theirs = stepped(adamw(**settings).transformation, params, AXES)
    np.testing.assert_array_equal(found["embedding"], theirs["embedding"])
    np.testing.assert_array_equal(found["encoder"]["scale"], theirs["encoder"]["scale"])


def test_a_matrix_has_one_moment():
    state = muon(constant_schedule(RATE)).transformation.init(drawn(0))
    sizes = sorted(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim > 1)
    assert sizes == sorted([7 * 4, 7 * 4, 2 * 4, 2 * 4, 2 * 4 * 2 * 3 * 5, 2 * 4 * 6])


@pytest.mark.parametrize(
    ("axes", "rows", "columns"),
    [
        (("embed", "mlp"), (0,), (1,)),
        (("layers", "embed", "heads", "kv"), (1,), (2, 3)),
        (("layers", "embed", "heads", None, "kv"), (1,), (2, 4)),
        (("layers", "expert", "mlp", "embed"), (3,), (2,)),
        ((None, None, None, "embed"), (3,), (0, 1, 2)),
        (("height", "width", "channels"), (2,), (0, 1)),
        ((None, None), (1,), (0,)),
    ],
)
def test_the_sides_of_a_matrix_are_read_from_its_axes(axes, rows, columns):
    assert muon_steps.sides(axes) == (rows, columns)


def test_updates_are_of_the_size_of_adamws():
    """Root mean square .2, within what five iterations leave of it, whatever the shape."""
    for shape in ((64, 64), (16, 256), (256, 16)):
        gradient = {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)}
        transformation = muon_steps.orthogonal_momentum(0.95)
        updates, _ = transformation.update(
            gradient, transformation.init(gradient), axes={"kernel": ("embed", "mlp")}
        )
        assert 0.15 < float(jnp.sqrt(jnp.mean(updates["kernel"] ** 2))) < 0.25
