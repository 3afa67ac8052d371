"""The table of few labels: its rows are whole and meet its bars, and docs say what it says."""

import json
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from benchmarks import few_labels
from benchmarks._few_labels_probe import RIDGES, ridge

FOUND = json.loads(few_labels.RESULTS.read_text())
ROWS = FOUND["rows"]
DRAWS = range(5)


def accuracy(arm, labels, how="probe"):
    found = {
        r["draw"]: r["accuracy"] for r in ROWS if (r["arm"], r["how"], r["labels"]) == (arm, how, labels)
    }
    assert sorted(found) == list(DRAWS), (arm, labels, how)
    return fmean(found.values())


def psnr(arm):
    (found,) = {row["psnr"] for row in ROWS if row["arm"] == arm and row["psnr"] is not None}
    return found


@pytest.mark.parametrize("labels", [500, 5000])
def test_joint_keeps_the_probe_of_contrast(labels):
    joint = accuracy("joint", labels)
    assert joint >= accuracy("contrast", labels) - 1.0
    assert joint >= accuracy("denoising", labels) + 5
    assert joint >= max(accuracy("raw pixels 8x8", labels), {500: 31.4, 5000: 38.8}[labels]) + 5
    assert joint > accuracy("random weights", labels)


def test_joint_restores():
    assert psnr("joint") >= psnr("denoising") - 0.5
    best_blur = max(psnr(row["arm"]) for row in ROWS if row["arm"].startswith("blur"))
    assert psnr("joint") >= max(best_blur, 25.54) + 2


def test_fine_tuning_is_worth_it():
    assert accuracy("joint", 500, "fine-tuned") >= accuracy("from scratch", 500, "fine-tuned") + 5


def test_differences_are_those_of_the_rows():
    for row in FOUND["differences"]:
        of = row["labels"], row["how"]
        assert row["mean"] == pytest.approx(
            accuracy(row["first"], *of) - accuracy(row["second"], *of), abs=0.02
        )
        assert row["bootstrap"][0] <= row["mean"] <= row["bootstrap"][1]


def test_four_arms_in_an_hour():
    assert set(FOUND["arms"]) == set(few_labels.ARMS)
    assert sum(arm["cpu_seconds"] for arm in FOUND["arms"].values()) <= 3600
    assert all(1e6 <= arm["parameters"] <= 3e6 for arm in FOUND["arms"].values())


def test_docs_hold_the_table():
    page = (Path(few_labels.ROOT) / "docs" / "images.md").read_text()
    for line in few_labels.table(FOUND).splitlines():
        assert line in page


@pytest.mark.parametrize("width", [4, 40])
def test_ridge_is_the_best_by_leaving_one_out(width):
    rng = np.random.default_rng(width)
    x, label = rng.normal(size=(20, width)), np.arange(20) % 3
    x[:, 0] += label
    x = (x - x.mean(0)) / x.std(0)

    def left_out(strength):
        missed = []
        for one in range(20):
            rest = np.arange(20) != one
            # The mean of features is that of all, as in the probe; that of classes is fitted anew.
            ones = np.concatenate([x, np.ones((20, 1))], 1)
            penalty = strength * np.diag([*np.ones(width), 0.0])
            weight = np.linalg.solve(
                ones[rest].T @ ones[rest] + penalty, ones[rest].T @ np.eye(3)[label[rest]]
            )
            missed.append(np.eye(3)[label[one]] - ones[one] @ weight)
        return np.mean(np.square(missed))

    assert ridge(x, label, 3).ridge == min(RIDGES, key=left_out)
