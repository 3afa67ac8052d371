"""Masked pixels: what is left out, the loss by hand, what is shown."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.recipes.functions import TRAIN
from pangu_jax.workloads import RunContext, Variables
from pangu_jax.workloads.vision import VisionModel
from pangu_jax.workloads.vision.data import NoPictures
from pangu_jax.workloads.vision.model import trunk as trunks
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.masked import MaskedPixels
from pangu_jax.workloads.vision.model.objective import PictureBatch
from pangu_jax.workloads.vision.model.pixels import centred, to_bytes

TRUNK = HierarchicalConfig(size=32, unit=8, d_model=32, depths=(1, 1, 2), heads=4)
OBJECTIVE = MaskedPixels(ratio=0.7, width=32, layers=1, heads=4)
BATCH = 8
WORKLOAD = VisionModel(TRUNK, NoPictures(32, 3, 1, False), [OBJECTIVE])
RUN = RunContext(OneDevice())


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
def params():
    return WORKLOAD.init(jax.random.key(0)).params


@pytest.fixture(scope="module")
def painter(params):
    """image -> what is shown of it and what was painted, by the same keys."""
    keys = jax.random.split(jax.random.key(1), BATCH)

    @jax.jit
    def paint(image):
        begun = OBJECTIVE.begin(TRUNK, PictureBatch(image, jnp.zeros(BATCH, jnp.int32), keys))
        seen = tuple(trunks.features(WORKLOAD.forward(RUN), params, stream) for stream in begun.streams)
        run = WORKLOAD.pass_of(OBJECTIVE, Variables(params), RUN)
        return OBJECTIVE.paint(params["masked"], begun, seen, run), begun

    return paint


@pytest.fixture(scope="module")
def made(batch, painter):
    return painter(batch["image"])


def test_so_many_are_left_out_and_others_of_each_picture(made):
    left_out = np.asarray(made[0].left_out_BxU)
    assert (left_out.sum(1) == 16 - int(16 * 0.3)).all() and len(
        {tuple(row) for row in left_out.tolist()}
    ) > 4


def test_what_is_left_out_is_not_seen(batch, made, painter):
    """Other pixels there change no painted unit."""
    painted, begun = made
    hidden = painted.left_out_BxU[:, :, None] > 0
    values = begun.kept.values_BxUxV
    other = to_bytes(np.asarray(TRUNK.joined(jnp.where(hidden, -values, values))))
    assert np.any(other != batch["image"][:, 0])
    again, _ = painter(other[:, None])
    np.testing.assert_allclose(again.painted_BxUxV, painted.painted_BxUxV, atol=1e-6)


def test_the_loss_is_that_of_the_units_left_out(batch, made):
    painted, _ = made
    values = np.asarray(TRUNK.cut(centred(batch["image"][:, 0])))
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


def test_a_perfect_painter_gives_the_picture_back(batch, made):
    painted, begun = made
    perfect = painted._replace(painted_BxUxV=painted.targets_BxUxV)
    found = OBJECTIVE.reconstructed(TRUNK, perfect, begun)
    np.testing.assert_array_equal(to_bytes(np.asarray(found)), batch["image"][:, 0])


def test_the_baseline_paints_the_mean_of_what_is_seen(batch, made):
    _, begun = made
    plain = dataclasses.replace(OBJECTIVE, normalised=False)
    found = plain.mean_painted(TRUNK, begun)
    np.testing.assert_array_equal(found.left_out_BxU, made[0].left_out_BxU)
    values = np.asarray(begun.kept.values_BxUxV).reshape(BATCH, 16, 64, 3)
    for picture in range(BATCH):
        seen = values[picture][np.asarray(found.left_out_BxU[picture]) == 0].reshape(-1, 3).mean(0)
        hidden = values[picture][np.asarray(found.left_out_BxU[picture]) == 1]
        np.testing.assert_allclose(found.loss_B[picture], np.mean((hidden - seen) ** 2), rtol=1e-4)
    normalised = OBJECTIVE.mean_painted(TRUNK, begun)
    assert np.all(np.asarray(normalised.painted_BxUxV) == 0)


def test_a_row_without_weight_counts_nothing(batch, params):
    loss = jax.jit(lambda batch: WORKLOAD.loss(Variables(params), batch, None, RUN))
    sums = loss(batch)
    other = {**batch, "image": batch["image"].copy()}
    other["image"][-1] = 0
    again = loss(other)
    assert float(sums.weight) == BATCH - 1 and float(sums.loss) == pytest.approx(float(again.loss), rel=1e-6)


def products(function, *arguments):
    """FLOPs of the products in a function's program, as JAX traces it."""

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

    return count(jax.make_jaxpr(function)(*arguments).jaxpr)


def test_flops_are_those_of_the_program(batch, params):
    """Within what norms and softmax add, which are no products."""
    found = products(lambda p: WORKLOAD.loss(Variables(p), batch, None, RUN).loss, params)
    assert 3 * found == pytest.approx(WORKLOAD.flops_per_step(BATCH), rel=0.01)


def test_views_that_nothing_is_learnt_from_are_refused():
    with pytest.raises(UserError, match="views = 2: masked learns from 1"):
        VisionModel(TRUNK, NoPictures(32, 3, 2, False), [OBJECTIVE])

    with pytest.raises(
        UserError, match="plain_augment makes a second view, and nothing learns from the first"
    ):
        VisionModel(TRUNK, NoPictures(32, 3, 1, True), [OBJECTIVE])


def test_a_recipe_is_checked_before_anything_is_made(tmp_path):
    """By `pangu config check`: a layout that does not divide the trunk, a trunk that contradicts itself."""
    from pangu_jax import recipes

    def said(*bindings):
        recipe = recipes.load(["vision/masked.gin"], bindings, function=TRAIN)
        return " ".join(map(str, recipes.check(recipe)))

    assert "heads 4 is not divisible by model 3" in said("Layout.model=3")
    assert "size 32 is not divisible by unit 12" in said("HierarchicalTransformer.unit=12")


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
