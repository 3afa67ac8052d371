"""Masked pixels: what is left out, the loss by hand, what is shown; and every layout as one device."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training import step
from pangu_jax.training.optimizers import adamw
from pangu_jax.training.schedules import constant_schedule
from pangu_jax.workloads import RunContext, Variables
from pangu_jax.workloads.vision import VisionModel
from pangu_jax.workloads.vision.model import hierarchical, masked
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig, TrunkForward
from pangu_jax.workloads.vision.model.masked import MaskedPixels
from pangu_jax.workloads.vision.workload import centred, to_bytes

TRUNK = HierarchicalConfig(size=32, unit=8, d_model=32, depths=(1, 1, 2), heads=4)
OBJECTIVE = MaskedPixels(ratio=0.7, width=32, layers=1, heads=4)
BATCH = 8


class Pictures:
    """What the workload needs to know of pictures, without any."""

    size, channels, views, task_names = 32, 3, 1, ("pictures",)


WORKLOAD = VisionModel(TRUNK, Pictures(), OBJECTIVE)


@pytest.fixture(scope="module")
def batch():
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 256, (BATCH, 1, 8, 8, 3), np.uint8)
    weight = np.ones(BATCH, np.float32)
    weight[-1] = 0
    numbers = np.arange(BATCH, dtype=np.int32)
    image = coarse.repeat(4, 2).repeat(4, 3)
    return {"image": image, "label": numbers, "place": numbers, "weight": weight, "task_id": 0 * numbers}


@pytest.fixture(scope="module")
def made(batch):
    params = masked.init(TRUNK, OBJECTIVE, jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), BATCH)
    pixels = centred(jnp.asarray(batch["image"][:, 0]))
    return masked.paint(TrunkForward(TRUNK), OBJECTIVE, params, pixels, keys), params, pixels, keys


def test_so_many_are_left_out_and_others_of_each_picture(made):
    left_out = np.asarray(made[0].left_out_BxU)
    assert (left_out.sum(1) == 16 - int(16 * 0.3)).all() and len(
        {tuple(row) for row in left_out.tolist()}
    ) > 4


def test_what_is_left_out_is_not_seen(made):
    """Other pixels there change no painted unit."""
    painted, params, pixels, keys = made
    values = hierarchical.patches(TRUNK, pixels)
    hidden = painted.left_out_BxU[:, :, None, None, None] > 0
    other = hierarchical.pixels(TRUNK, jnp.where(hidden, values + 3.0, values))
    again = masked.paint(TrunkForward(TRUNK), OBJECTIVE, params, other, keys)
    np.testing.assert_allclose(again.painted_BxUxV, painted.painted_BxUxV, atol=1e-6)


def test_the_loss_is_that_of_the_units_left_out(made):
    painted, _, pixels, _ = made
    values = np.asarray(hierarchical.patches(TRUNK, pixels)).reshape(BATCH, 16, -1)
    expected = []
    for picture in range(BATCH):
        of_units = []
        for unit in range(16):
            if painted.left_out_BxU[picture, unit]:
                own = values[picture, unit]
                target = (own - own.mean()) / np.sqrt(own.var(ddof=1) + 1e-6)
                of_units.append(np.mean((np.asarray(painted.painted_BxUxV[picture, unit]) - target) ** 2))
        expected.append(np.mean(of_units))
    np.testing.assert_allclose(painted.loss_B, expected, rtol=1e-4)


def test_a_perfect_painter_gives_the_picture_back(made):
    painted, _, pixels, _ = made
    perfect = painted._replace(painted_BxUxV=painted.targets_BxUxV)
    found = masked.reconstructed(TRUNK, OBJECTIVE, perfect, pixels)
    np.testing.assert_allclose(found, pixels, atol=1e-4)
    np.testing.assert_array_equal(to_bytes(np.asarray(found)), to_bytes(np.asarray(pixels)))


def test_the_baseline_paints_the_mean_of_what_is_seen(made):
    _, _, pixels, keys = made
    plain = dataclasses.replace(OBJECTIVE, normalised=False)
    found = masked.mean_painted(TRUNK, plain, pixels, keys)
    np.testing.assert_array_equal(found.left_out_BxU, made[0].left_out_BxU)
    values = np.asarray(hierarchical.patches(TRUNK, pixels)).reshape(BATCH, 16, 64, 3)
    for picture in range(BATCH):
        seen = values[picture][np.asarray(found.left_out_BxU[picture]) == 0].reshape(-1, 3).mean(0)
        hidden = values[picture][np.asarray(found.left_out_BxU[picture]) == 1]
        np.testing.assert_allclose(found.loss_B[picture], np.mean((hidden - seen) ** 2), rtol=1e-4)
    normalised = masked.mean_painted(TRUNK, OBJECTIVE, pixels, keys)
    assert np.all(np.asarray(normalised.painted_BxUxV) == 0)


def test_a_row_without_weight_counts_nothing(batch):
    params = masked.init(TRUNK, OBJECTIVE, jax.random.key(0))
    run = RunContext(OneDevice())
    sums = WORKLOAD.loss(Variables(params), batch, None, run)
    other = {**batch, "image": batch["image"].copy()}
    other["image"][-1] = 0
    again = WORKLOAD.loss(Variables(params), other, None, run)
    assert float(sums.weight) == BATCH - 1 and float(sums.loss) == pytest.approx(float(again.loss), rel=1e-6)


FAST = {
    "fsdp 8": Layout(data=1, fsdp=8),
    "data 2 x fsdp 2 x model 2, accumulated": Layout(data=2, fsdp=2, model=2, microbatches=2),
}
OTHERS = {"data 8": Layout(data=8), "model 4 x data 2": Layout(model=4, data=2)}


def three_steps(layout, batch):
    """Losses of three steps, and the parameters after them."""
    # A bias on keys changes no softmax: its gradient is rounding, which Adam would blow up to whole steps.
    optimizer = adamw(constant_schedule(1e-3), epsilon=1e-4)
    mesh = make_mesh(layout, jax.devices()[: int(np.prod(list(layout.axis_sizes().values())))])
    run = RunContext(OneDevice(), layout.remat)
    train_step = step.make_train_step(WORKLOAD, optimizer, run, layout, mesh, batch_size=BATCH, seed=0)
    state = step.init_state(WORKLOAD, optimizer, mesh, 0)
    losses = []
    for _ in range(3):
        state, metrics = train_step(state, batch)
        losses.append(float(metrics["loss"]))
    return losses, jax.device_get(state.params)


@pytest.fixture(scope="module")
def one_device(batch):
    return three_steps(Layout(data=1), batch)


@pytest.mark.parametrize("name", FAST)
def test_a_layout_is_as_one_device(name, batch, one_device):
    assert_same(three_steps(FAST[name], batch), one_device)


@pytest.mark.prove
@pytest.mark.parametrize("name", OTHERS)
def test_more_layouts_of_masked_pixels(name, batch, one_device):
    assert_same(three_steps(OTHERS[name], batch), one_device)


def assert_same(actual, expected):
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-5)
    leaves = zip(jax.tree.leaves_with_path(actual[1]), jax.tree.leaves(expected[1]), strict=True)
    for (path, found), wanted in leaves:
        difference = np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), 1e-3)
        assert difference <= 1e-5, f"{jax.tree_util.keystr(path)}: {difference:.1e}"


def test_flops_are_those_of_the_compiled_step(batch):
    """Within what norms, softmax and the optimizer add."""
    params = masked.init(TRUNK, OBJECTIVE, jax.random.key(0))
    forward = TrunkForward(TRUNK)
    pixels = centred(jnp.asarray(batch["image"][:, 0]))
    keys = jax.random.split(jax.random.key(1), BATCH)
    jaxpr = jax.make_jaxpr(lambda p: masked.paint(forward, OBJECTIVE, p, pixels, keys).painted_BxUxV)(params)

    def count(jaxpr):
        total = 0.0
        for equation in jaxpr.eqns:
            inner = [v.jaxpr for v in equation.params.values() if hasattr(v, "jaxpr")]
            times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
            total += times * sum(map(count, inner))
            if equation.primitive.name == "dot_general":
                (contracted, _), _ = equation.params["dimension_numbers"]
                left = equation.invars[0].aval.shape
                total += 2 * np.prod(equation.outvars[0].aval.shape) * np.prod([left[i] for i in contracted])
        return total

    products = count(jaxpr.jaxpr)
    assert 3 * products == pytest.approx(WORKLOAD.flops_per_step(BATCH), rel=0.01)


def test_views_that_nothing_is_learnt_from_are_refused():
    class Two(Pictures):
        views = 2

    with pytest.raises(UserError, match="views = 2: masked pixels learn from one view"):
        VisionModel(TRUNK, Two(), OBJECTIVE)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ratio": 1.0}, "ratio 1.0 must be between 0 and 1"),
        ({"heads": 5}, "width 32 is not divisible by heads 5"),
    ],
)
def test_an_objective_that_contradicts_itself(change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(OBJECTIVE, **change)
