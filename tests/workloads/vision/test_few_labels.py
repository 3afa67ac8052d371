"""The table of few labels: its rows are whole and meet its bars, and docs say what it says."""

import json
from pathlib import Path
from statistics import fmean

import pytest

from benchmarks import _few_labels_results as results
from benchmarks import few_labels

FOUND = json.loads(few_labels.RESULTS.read_text())
ROWS = FOUND["rows"]
SEEDS = range(FOUND["arms"]["joint"]["seeds"])


def accuracy(arm, labels, how="probe", features="means"):
    own = "raw" if arm.startswith("raw") else features
    found = {
        (row["seed"], row["draw"]): row["accuracy"]
        for row in ROWS
        if (row["arm"], row["how"], row["features"], row["labels"]) == (arm, how, own, labels)
    }
    assert sorted(found) == [(seed, draw) for seed in SEEDS for draw in range(results.DRAWS)], (arm, labels)
    return fmean(found.values())


def psnr(arm):
    return fmean(row["psnr"] for row in ROWS if row["arm"] == arm and row["how"] == "denoised")


@pytest.mark.parametrize("labels", [500, 5000])
def test_joint_keeps_the_probe_of_contrast(labels):
    joint = accuracy("joint", labels)
    assert joint >= accuracy("contrast", labels) - 1.0
    assert joint >= accuracy("denoising", labels) + 5
    assert joint >= max(accuracy("raw pixels 8x8", labels), {500: 31.4, 5000: 38.8}[labels]) + 5
    assert joint > accuracy("random weights", labels)


def test_joint_restores():
    assert psnr("joint") >= psnr("denoising") - 0.5
    (blur,) = {row["arm"] for row in ROWS if row["arm"].startswith("Gaussian blur")}
    assert psnr("joint") >= max(psnr(blur), 25.54) + 2


@pytest.mark.parametrize("features", ["means", "units"])
def test_fine_tuning_is_worth_it(features):
    of = 500, "fine-tuned", features
    assert accuracy("joint", *of) >= accuracy("from scratch", *of) + 5


def test_differences_are_those_of_the_rows():
    for row in FOUND["differences"]:
        of = row["labels"], row["how"], row["features"]
        gain = accuracy(row["first"], *of) - accuracy(row["second"], *of)
        assert row["mean"] == pytest.approx(gain, abs=0.02)
        assert row["mean"] == pytest.approx(fmean(row["seeds"]), abs=0.02)
        assert row["bootstrap"][0] <= row["mean"] <= row["bootstrap"][1]


def test_four_arms_in_an_hour():
    assert set(FOUND["arms"]) == set(few_labels.ARMS)
    assert sum(arm["cpu_seconds"] for arm in FOUND["arms"].values()) <= 3600
    assert all(1e6 <= arm["parameters"] <= 3e6 for arm in FOUND["arms"].values())


def test_docs_hold_the_table():
    page = (Path(few_labels.ROOT) / "docs" / "images.md").read_text()
    for line in results.table(FOUND).splitlines():
        assert line in page
