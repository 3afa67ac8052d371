"""Inspection: the order of photos by hand, and a folder of flights from training to the pages."""

import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from pangu_jax import cli
from pangu_jax.apps.vision.inspection import screening
from pangu_jax.models.placement import OneDevice
from pangu_jax.runs import opening
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.vision import PictureDetector
from pangu_jax.workloads.vision.boxed_data import NoBoxes
from tests.images import boxed_photos
from tests.workloads.vision.test_detector import TRUNK


def test_copies_come_last_and_distance_breaks_ties():
    draw = np.random.default_rng(0)
    hash_N = draw.integers(0, 2**63, 5).astype(np.uint64)
    hash_N[3] = hash_N[1] ^ np.uint64(1)
    embedding_NxF = np.array([[0.0, 0], [0, 1], [0, 1.1], [0, 1], [9, 9]])
    found = screening.screened(embedding_NxF, np.array([0.9, 0.5, 0.5, 0.5, 0.5]), hash_N)
    assert found.order_N.tolist()[:2] == [0, 4]  # the unsure one, then the one that is far from it
    assert found.order_N[-1] in (1, 3) and found.copy_of_N[found.order_N[-1]] in (1, 3)


def test_figures_of_an_order_are_counts():
    wanted_N = np.array([True, False, True, False, False, False])
    rows = screening.precision_at(np.array([2, 1, 0, 3, 4, 5]), wanted_N, (1, 2, 4, 100))
    assert [row["precision"] for row in rows] == [1, 0.5, 0.5] and rows[0]["random"] == pytest.approx(1 / 3)
    assert screening.looks_needed(np.array([2, 1, 0, 3, 4, 5]), wanted_N, 1.0) == (3, pytest.approx(14 / 3))


RECIPE = ("--gin_file", "vision/powerline.gin")


@pytest.fixture(scope="module")
def flights(tmp_path_factory):
    """A folder of flights, and boxes beside it."""
    photos = tmp_path_factory.mktemp("photos")
    boxed_photos.write(photos)
    return photos


@pytest.fixture
def pangu(capsys):
    """Runs `pangu`; gives status, output and errors."""

    def call(*arguments):
        status = cli.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


@pytest.fixture
def opened(monkeypatch):
    """A run of fresh parameters in place of every other."""
    workload = PictureDetector(NoBoxes(32, 32, 3, ("green", "red")), TRUNK)
    run = SimpleNamespace(
        workload=workload,
        variables=workload.init(jax.random.key(0)),
        spread=SimpleNamespace(run=RunContext(OneDevice())),
        directory=SimpleNamespace(path="r"),
    )
    monkeypatch.setattr(opening, "open_run", lambda *arguments, **named: run)


def test_a_folder_of_flights_becomes_pages(flights, opened, pangu, tmp_path):
    (flights / "flight_1" / "broken.jpg").write_bytes(b"no picture")
    out = tmp_path / "out"
    given = ["--run_dir", "r", "--photos", flights, "--out", out, "--annotations", flights / "boxes.json"]
    status, text, said = pangu("inspect", *RECIPE, "--gin.inspect.zooms=(1.0, 2.0)", *given)
    assert status == 2 and "12 photos in" in text and "1 no picture of a known format" in text, said
    told = json.loads((out / "detections.json").read_text())
    assert sorted(photo["rank"] for photo in told["photos"]) == list(range(1, 13))
    assert told["screening"] is None  # no class was asked for
    assert set(told["average_precision"]) >= {"ap50/red", "ap30/green"}
    assert {photo["flight"] for photo in told["photos"]} == {f"flight_{number}" for number in range(4)}
    assert len(list((out / "flights").glob("*.html"))) == 4 and len(list((out / "drawn").glob("*.jpg"))) == 12
    assert "flights/0000_flight_0.html" in (out / "index.html").read_text()
    (flights / "flight_1" / "broken.jpg").unlink()
    status, _, said = pangu("inspect", *RECIPE, *given)
    assert status == 2 and "holds an inspection already" in said


def test_what_cannot_be_is_one_line(flights, opened, pangu, tmp_path):
    given = ["--run_dir", "r", "--photos", flights, "--out", tmp_path / "out"]
    for binding, line in (
        ("wanted=crack", "the run finds green, red"),
        ("max_pixels=100", "no photo that can be inspected: too many pixels"),
        ("zooms=()", "must be above 0"),
    ):
        status, _, said = pangu("inspect", *RECIPE, f"--gin.inspect.{binding}", *given)
        assert status == 2 and line in said and len(said.strip().splitlines()) == 1


@pytest.mark.prove
def test_from_flights_to_pages(flights, pangu, tmp_path):
    of_data = {"path": flights, "height": 32, "width": 32, "folds": 2, "cache_dir": tmp_path / "cache"}
    own = [f"--gin.boxed_images.{name}={value}" for name, value in of_data.items()]
    own += ["--gin.ConvolutionalTrunk.level_widths=(16, 16)", "--gin.ConvolutionalTrunk.blocks=(1, 1)"]
    few = {"STEPS": 400, "cosine_schedule.warmup": 10, "train.batch_size": 8}  # 60 of 4 find nothing yet
    own += [f"--gin.{name}={value}" for name, value in few.items()]
    run = ["--run_dir", tmp_path / "run", "--backend", "cpu:1"]
    status, text, said = pangu("train", *RECIPE, *own, *run)
    assert status == 0 and "12 read, 12 kept" in said and "ap50/red" in text, said
    given = ["--photos", flights, "--out", tmp_path / "out", "--annotations", flights / "boxes.json"]
    status, text, said = pangu("inspect", *RECIPE, *run, *given)
    found = json.loads((tmp_path / "out" / "detections.json").read_text())["average_precision"]
    assert status == 0 and found["ap30/green"] > 50, found
