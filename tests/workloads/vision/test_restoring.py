"""Restoration: pictures made worse as the protocol has it, a loss by hand, how far a restorer sees."""

import dataclasses
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from data_pipelines.images import decoding
from pangu_jax.apps.vision import restoration
from pangu_jax.apps.vision.restoration import Protocol
from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.vision import VisionModel
from pangu_jax.workloads.vision.model import convolutions, degrading
from pangu_jax.workloads.vision.model.convolutions import RestorerShape
from pangu_jax.workloads.vision.model.plain import PlainConfig
from pangu_jax.workloads.vision.model.restoring import Restoration

TRUNK = PlainConfig(size=16, patch=8, channels=1, d_model=16, layers=1, heads=2)
OBJECTIVE = Restoration(tasks=("denoise", "x3"), width=8, blocks=2)
BATCH = 2


class Pictures:
    """What the workload needs to know of pictures, without any."""

    size, channels, views, plain, task_names = 16, 1, 1, False, ("pictures",)


@pytest.fixture(scope="module")
def batch():
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, (BATCH, 1, 4, 4, 1), np.uint8).repeat(4, 2).repeat(4, 3)
    numbers = np.arange(BATCH, dtype=np.int32)
    weight = np.ones(BATCH, np.float32)
    return {"image": image, "label": numbers, "place": numbers, "weight": weight, "task_id": 0 * numbers}


def photo(side=48):
    """Smooth, with an edge."""
    row, column = np.mgrid[:side, :side]
    values = 120 + 60 * np.sin(row / 5) * np.cos(column / 7) + 40 * (row > column)
    return np.clip(values, 0, 255).astype(np.uint8)[..., None]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_enlarging_is_learnt_by_the_kernel_that_it_is_measured_by(scale):
    """Against Pillow's BICUBIC both ways, whose smaller picture is of 8 bits too."""
    original = photo()
    theirs = restoration.larger(restoration.smaller(original, scale), scale)
    ours = degrading.enlarged(jnp.asarray(original, jnp.float32)[None], scale).pixels_BxSxSxC[0]
    assert restoration.psnr(np.asarray(ours), theirs, Protocol()) > 48
    distance = [restoration.psnr(x, original, Protocol()) for x in (np.asarray(ours), theirs)]
    assert abs(distance[0] - distance[1]) < 0.15


def test_noise_is_neither_rounded_nor_clipped_and_of_the_sigma_that_is_told():
    pixels = jnp.full((64, 16, 16, 1), 250.0)
    keys = jax.random.split(jax.random.key(0), 64)
    made = degrading.noisy(pixels, (5.0, 50.0), keys)
    found = jnp.std(made.pixels_BxSxSxC - 250.0, axis=(1, 2, 3))
    np.testing.assert_allclose(found, made.strength_B * degrading.STRONG, rtol=0.25)
    assert float(made.pixels_BxSxSxC.max()) > 300 and float(made.strength_B.max()) > 0.4
    assert 0.05 <= float(made.strength_B.min()) < 0.1
    fixed = degrading.noisy(pixels, (25.0, 25.0), keys)
    assert set(np.asarray(fixed.strength_B).tolist()) == {0.25}


@pytest.mark.parametrize("quality", [10, 40, 90])
def test_blocks_are_those_of_a_jpeg(quality):
    original = photo()
    file = io.BytesIO()
    Image.fromarray(original[..., 0]).save(file, "JPEG", quality=quality)
    keys = jax.random.split(jax.random.key(0), 1)
    ours = degrading.blocked(jnp.asarray(original, jnp.float32)[None], (quality, quality), keys)
    theirs = decoding.decode(file.getvalue(), "L")
    difference = np.abs(np.asarray(ours.pixels_BxSxSxC[0]) - theirs)
    # Of equal coefficients libjpeg's integer transform rounds a level elsewhere; a few on the edge differ.
    assert np.mean(difference <= 1) > 0.97 and np.abs(original.astype(float) - theirs).max() > 1


def test_folding_and_its_inverse():
    pixels = jnp.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    folded = convolutions.space_to_depth(pixels, 2)
    np.testing.assert_array_equal(folded[1, 1, 2].reshape(2, 2, 3), pixels[1, 2:4, 4:6])
    np.testing.assert_array_equal(convolutions.depth_to_space(folded, 2), pixels)


def test_a_restored_pixel_sees_so_far_and_no_further():
    shape = RestorerShape(tasks=1, channels=1, fold=2, width=4, blocks=1)
    params = convolutions_params(shape)

    def square(pixels):
        restored = convolutions.restore(shape, params, pixels, jnp.zeros(1), 0)
        return restored[0, 12:14, 12:14, 0].sum()

    seen = np.argwhere(np.asarray(jax.jit(jax.grad(square))(jnp.ones((1, 28, 28, 1))))[0, ..., 0])
    assert seen.min() == 12 - shape.reach and seen.max() == 13 + shape.reach


def convolutions_params(shape):
    from flax import nnx

    from pangu_jax.models.parameters import arrays

    return arrays(convolutions.Restorer(shape, nnx.Rngs(params=jax.random.key(0))))


@pytest.mark.parametrize(
    ("model", "tasks"), [(None, ("denoise", "x3")), (TRUNK, ("x3",))], ids=["alone", "with a trunk"]
)
def test_the_loss_of_each_task_is_that_of_what_is_restored(batch, model, tasks):
    workload = VisionModel(model, Pictures(), [OBJECTIVE])
    variables = workload.init(jax.random.key(0))
    grads = {}
    for task in tasks:
        phase = OBJECTIVE.tasks.index(task)
        run = RunContext(OneDevice(), phase=workload.phase(phase))

        def loss(params, run=run, phase=phase):
            with_these = variables._replace(params=params)
            sums = workload.loss(with_these, batch, None, run)
            begun = workload.begin(OBJECTIVE, workload.pictures(batch, None), phase)
            shown = begun.kept.pixels_BxSxSxC
            features = (workload.features(params, shown, run),) if model else ()
            of = workload.pass_of(OBJECTIVE, with_these, run)
            made = OBJECTIVE.restore(params["restoration"], begun.kept, features, of)
            return sums.loss / sums.weight, (sums.metrics, made)

        graded = jax.jit(jax.value_and_grad(loss, has_aux=True))
        (value, (metrics, made)), grads[task] = graded(variables.params)
        inner = slice(0, 15 if task == "x3" else 16)
        difference = np.asarray(made - batch["image"][:, -1])[:, inner, inner] / 255
        assert float(value) == pytest.approx(np.abs(difference).mean(), rel=1e-4)
        psnr, count = metrics[f"restoration/psnr_{task}"]
        expected = np.mean(-10 * np.log10((difference**2).mean((1, 2, 3))))
        assert float(psnr / count) == pytest.approx(expected, rel=1e-4)
    # A task moves its own head and tail, the body, and the trunk.
    for task in tasks:
        of, own = grads[task]["restoration"], OBJECTIVE.tasks.index(task)
        other = 1 - own
        assert np.any(np.asarray(of["tail"][own])) and not np.any(np.asarray(of["tail"][other]))
        assert np.any(np.asarray(of["first"][0]))
        assert not model or any(np.any(leaf) for leaf in jax.tree.leaves(grads[task]["trunk"]))


def test_what_a_trunk_knows_lies_where_its_units_are():
    """The values of unit 1, the upper right one, reach no other."""
    shape = RestorerShape(1, 1, fold=2, width=4, blocks=1, unit=8, features=6)
    params = convolutions_params(shape)
    features = jnp.zeros((1, 4, 6)).at[0, 1].set(jnp.arange(6.0))
    laid = convolutions._laid_out(shape, params, features, jnp.zeros((1, 8, 8, 4)))
    assert np.all(np.any(np.asarray(laid[0, :4, 4:]), -1))
    assert not np.any(np.asarray(laid[0, 4:])) and not np.any(np.asarray(laid[0, :, :4]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tasks": ("x5",)}, "give some of denoise, x2, x3, x4, deblock"),
        ({"tasks": ()}, "give some of"),
        ({"tasks": ("x2", "x2")}, "each once"),
        ({"loss": "l3"}, "'l3' is unknown: l1 or mse"),
        ({"sigma": (30.0, 20.0)}, "the least and the most, above 0"),
        ({"quality": (0, 20)}, "of 1 to 100"),
        ({"blocks": 0}, "blocks and fold must be at least 1"),
    ],
)
def test_settings_that_contradict_themselves(change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(OBJECTIVE, **change)


def test_a_fold_that_does_not_divide_is_named(batch):
    with pytest.raises(ValueError, match="unit of 8 pixels is not divisible by fold 3"):
        dataclasses.replace(OBJECTIVE, fold=3).shape(TRUNK, 1)
    odd = dataclasses.replace(OBJECTIVE, fold=3)
    workload = VisionModel(None, Pictures(), [odd])
    with pytest.raises(ValueError, match=r"16 pixels are not divisible by Restoration.fold 3"):
        workload.loss(workload.init(jax.random.key(0)), batch, None, RunContext(OneDevice()))
