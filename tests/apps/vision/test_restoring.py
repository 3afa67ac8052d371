"""A run's restorer: tiles without seams, colours, a trunk's squares, what it does not know; its figures."""

import os
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from data_pipelines.images import decoding
from pangu_jax.apps.vision import colours, restoration, restoration_quality, restoring
from pangu_jax.apps.vision.restoration import Protocol
from pangu_jax.apps.vision.restoration_quality import measure_restoration
from pangu_jax.apps.vision.restoring import RunRestorer
from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.vision import VisionModel
from pangu_jax.workloads.vision.data import NoPictures
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.masked import MaskedPixels
from pangu_jax.workloads.vision.model.restoring import Restoration

OBJECTIVE = Restoration(tasks=("denoise", "x2", "deblock"), width=8, blocks=1)
TRUNK = HierarchicalConfig(size=16, unit=8, channels=1, d_model=16, depths=(1, 1, 1), heads=2)


def opened(model=None, objective=OBJECTIVE, channels=1):
    """A run of fresh parameters, of which what comes out differs well from what goes in."""
    workload = VisionModel(model, NoPictures(16, channels, 1, False), [objective])
    variables = workload.init(jax.random.key(0))
    own = dict(variables.params[objective.name])
    if "tail" in own:
        own["tail"] = own["tail"] * 5.0
    variables = variables._replace(params=variables.params | {objective.name: own})
    spread = SimpleNamespace(run=RunContext(OneDevice()))
    directory = SimpleNamespace(path=Path("runs/x"))
    return SimpleNamespace(workload=workload, variables=variables, spread=spread, directory=directory)


@pytest.fixture(scope="module")
def run():
    return opened()


@pytest.fixture(scope="module")
def restorer(run):
    return RunRestorer(run, tile=32)


def picture(height, width, channels=1):
    """Of middling values: nothing that is made of it is cut off at 0 or 255."""
    return np.random.default_rng(0).integers(100, 150, (height, width, channels), np.uint8)


def test_tiles_leave_no_seams(run, restorer):
    """A picture of 70 x 45 in tiles of 32 and whole; and beyond its border its mirror image."""
    pixels = picture(70, 45)
    tiled, whole = restorer(pixels, "denoise"), RunRestorer(run, tile=512)(pixels, "denoise")
    assert tiled.shape == (70, 45, 1) and np.abs(tiled - pixels).mean() > 0.5
    np.testing.assert_allclose(tiled, whole, atol=1e-4 * 255)
    mirrored = np.concatenate([pixels[:, ::-1], pixels, pixels[:, ::-1]], axis=1)[:, 45 - 16 : 90 + 16]
    beside = RunRestorer(run, tile=512)(mirrored, "denoise")[:, 16:-16]
    # 45 + 2 x 16 columns begin as evenly as 45: the squares that are folded are the same.
    np.testing.assert_allclose(whole, beside, atol=1e-4 * 255)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 50), (33, 2)])
def test_any_size(restorer, height, width):
    assert restorer(picture(height, width), "x2").shape == (2 * height, 2 * width, 1)


def test_pictures_share_programs():
    """Sides of tiles are few, whatever those of pictures are."""
    find = RunRestorer(opened())._side
    assert {find(side) for side in range(1, 2000)} == {32 * number for number in range(1, 17)}


def test_noise_is_taken_from_each_colour_and_the_rest_from_luma(restorer):
    pixels = picture(20, 24, 3)
    denoised = restorer(pixels, "denoise")
    np.testing.assert_allclose(denoised[..., 1:2], restorer(pixels[..., 1:2], "denoise"), atol=1e-3)
    luma, differences = colours.split(pixels)
    deblocked = colours.split(restorer(pixels, "deblock"))
    np.testing.assert_allclose(deblocked[0], restorer(luma, "deblock"), atol=1e-2)
    np.testing.assert_allclose(deblocked[1], differences, atol=1e-2)


def test_luma_and_differences_come_back():
    pixels = picture(5, 6, 3)
    np.testing.assert_allclose(colours.joined(*colours.split(pixels)), pixels, atol=1e-3)
    np.testing.assert_allclose(colours.split(np.full((1, 1, 3), 77))[1], 0, atol=1e-4)


def test_a_model_of_colours_takes_a_grey_picture_for_one():
    restorer = RunRestorer(opened(channels=3))
    grey = picture(9, 9)
    as_colours = restorer(np.repeat(grey, 3, -1), "x2")
    assert as_colours.shape == (18, 18, 3)
    np.testing.assert_allclose(restorer(grey, "x2")[..., 0], as_colours.mean(-1), atol=1e-3)


def test_squares_of_a_trunk_are_blended():
    """One square is what the trunk makes of it; where it is the same everywhere no border is seen."""
    run = opened(TRUNK)
    restorer = RunRestorer(run)
    one = picture(16, 16)
    through = restorer._blended(
        one.astype(np.float32), lambda x: restorer._through(x, number=0, strength=0.25)
    )
    np.testing.assert_allclose(np.clip(through, 0, 255), restorer(one, "denoise"), atol=1e-3)
    identity = restorer._blended(picture(37, 21).astype(np.float32), lambda x: x)
    np.testing.assert_allclose(identity, picture(37, 21), atol=1e-3)
    assert restorer(picture(5, 40), "x2").shape == (10, 80, 1)


def test_the_bicubic_picture_is_the_one_that_is_compared_with():
    small = picture(9, 11, 3)
    rounded = restoring.to_bytes(restoring.enlarged(small.astype(np.float32), 2))
    assert np.abs(rounded.astype(int) - restoration.larger(small, 2)).max() <= 1


@pytest.mark.parametrize(
    ("task", "sigma", "words"),
    [
        ("x4", None, "runs/x was not trained for x4: it can denoise, x2, deblock"),
        ("x2", 25.0, "--sigma is of noise, and x2 takes none away"),
        ("denoise", 30.0, "--sigma 30: runs/x was trained for noise of 25"),
    ],
)
def test_what_a_run_was_not_trained_for(restorer, task, sigma, words):
    with pytest.raises(UserError, match=words):
        restorer(picture(4, 4), task, sigma)


def test_noise_of_a_range_must_be_said():
    restorer = RunRestorer(opened(objective=Restoration(sigma=(5.0, 50.0), width=8, blocks=1)))
    with pytest.raises(UserError, match="say how strong the noise is: --sigma from 5 to 50"):
        restorer(picture(4, 4), "denoise")
    weak, strong = (restorer(picture(8, 8), "denoise", sigma) for sigma in (5, 50))
    assert np.abs(weak - strong).max() > 1e-3  # the model is told


def test_a_run_without_restoration_is_named():
    masked = MaskedPixels(ratio=0.5, width=16, layers=1, heads=2)
    with pytest.raises(UserError, match="runs/x was not trained to restore pictures, but by: masked"):
        RunRestorer(opened(TRUNK, masked))


@pytest.fixture
def folder(tmp_path):
    rows, columns = np.mgrid[:26, :30]
    for number in range(2):
        values = 128 + 60 * np.sin(rows / (3 + number)) + 50 * np.cos(columns / 4)
        pixels = np.repeat(np.clip(values, 0, 255).astype(np.uint8)[..., None], 3, -1)
        (tmp_path / f"{number}.png").write_bytes(decoding.encode_png(pixels))
    (tmp_path / "2.png").write_bytes(b"no picture")
    return tmp_path


def test_figures_stand_beside_those_that_need_no_model(restorer, folder):
    rows = measure_restoration(restorer, folder, "denoise")
    methods = [row["method"] for row in rows]
    assert methods[:2] == ["restored", "noisy"] and methods[2].startswith("Gaussian blur, sigma ")
    assert len(rows) == 3 and all((row["pictures"], row["left_out"]) == (2, 1) for row in rows)
    assert rows[1]["psnr"] == pytest.approx(20.17, abs=0.3) and rows[2]["psnr"] > 22
    assert rows[0]["degraded"] == "Gaussian noise of 25, not clipped"
    restored, bicubic = measure_restoration(restorer, folder, "x2")
    assert restored["compared"] == "luma of BT.601, 16 to 235, 2 pixels shaved" and bicubic["psnr"] > 25
    original = decoding.decode((folder / "0.png").read_bytes())
    made = restorer(restoration.smaller(original, 2), "x2")
    found = restoration.psnr(restoring.to_bytes(made), original, Protocol("y", 2))
    other = decoding.decode((folder / "1.png").read_bytes())
    second = restoration.psnr(
        restoring.to_bytes(restorer(restoration.smaller(other, 2), "x2")), other, Protocol("y", 2)
    )
    assert restored["psnr"] == pytest.approx((found + second) / 2, abs=1e-3)
    with pytest.raises(UserError, match="none of its pictures can be used"):
        measure_restoration(restorer, folder / "2.png", "x2")


def test_a_blur_keeps_a_constant_and_is_its_formula():
    np.testing.assert_allclose(restoration_quality.blurred(np.full((7, 9, 1), 80), 1.2), 80)
    spike = np.zeros((21, 21, 1))
    spike[10, 10] = 1
    made = restoration_quality.blurred(spike, 1.0)[..., 0]
    assert made[10, 10] / made[10, 12] == pytest.approx(np.exp(2)) and made.sum() == pytest.approx(1)


DATA = Path(os.environ.get("PANGU_DATA_DIR") or Path(__file__).parents[3] / "../shared/data")
SETS = DATA / "vision" / "restoration"


@pytest.mark.skipif(not SETS.is_dir(), reason=f"there is no {SETS}")
def test_the_bicubic_row_of_set5_is_the_known_one(restorer):
    """vision.md, section 3: 33.67 dB at x2."""
    bicubic = measure_restoration(restorer, SETS / "set5.parquet", "x2")[1]
    assert bicubic["psnr"] == pytest.approx(33.67, abs=0.02) and bicubic["pictures"] == 5
