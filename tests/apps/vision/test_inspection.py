"""Inspection: the order of photos by hand, and a folder of flights from training to the pages."""

import json

import numpy as np
import pytest

from pangu_jax import cli
from pangu_jax.apps.vision.inspection import screening
from tests.images import boxed_photos


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


def run(capsys, *arguments):
    status = cli.main([str(argument) for argument in arguments])
    return status, capsys.readouterr()


def test_from_flights_to_pages(tmp_path, capsys):
    photos = tmp_path / "photos"
    boxed_photos.write(photos)
    of_data = {"path": photos, "height": 32, "width": 32, "folds": 2, "cache_dir": tmp_path / "cache"}
    own = [f"--gin.boxed_images.{name}={value}" for name, value in of_data.items()]
    small = ["--gin.ConvolutionalTrunk.level_widths=(16, 16)", "--gin.ConvolutionalTrunk.blocks=(1, 1)"]
    steps = [
        "--gin.STEPS=2",
        "--gin.train.batch_size=4",
        "--gin.train.evaluators=[]",
        "--gin.train.log_every=1",
    ]
    directory = tmp_path / "run"
    recipe = ["--gin_file", "vision/powerline.gin"]
    status, said = run(capsys, "train", *recipe, *own, *small, *steps, "--run_dir", directory)
    assert status == 0 and "boxes of" in said.err and "12 read, 12 kept" in said.err

    (photos / "flight_1" / "broken.jpg").write_bytes(b"no picture")
    out = tmp_path / "out"
    given = ["--run_dir", directory, "--photos", photos, "--out", out, "--annotations", photos / "boxes.json"]
    status, said = run(capsys, "inspect", *recipe, "--gin.inspect.zooms=(1.0, 2.0)", *given)
    assert status == 2 and "12 photos in" in said.out and "1 no picture of a known format" in said.out
    told = json.loads((out / "detections.json").read_text())
    assert sorted(photo["rank"] for photo in told["photos"]) == list(range(1, 13))
    assert told["screening"]["with_it"] == 6 and set(told["average_precision"]) >= {"ap50/red", "ap30/green"}
    assert len(list((out / "flights").glob("*.html"))) == 4 and len(list((out / "drawn").glob("*.jpg"))) == 12
    assert "flights/0000_flight_0.html" in (out / "index.html").read_text()

    status, said = run(capsys, "inspect", *recipe, "--gin.inspect.wanted=crack", *given)
    assert status == 2 and "the run finds green, red" in said.err
    status, said = run(capsys, "inspect", *recipe, "--gin.inspect.max_pixels=100", *given)
    assert status == 2 and "too many pixels" in said.err and len(said.err.strip().splitlines()) == 1
