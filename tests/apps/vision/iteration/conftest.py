"""Digits of scikit-learn as a pool, seen as their own pixels: no trunk is needed to ask and learn."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.images.images import images
from pangu_jax.apps.vision.iteration.pool import Pool, of_images
from pangu_jax.apps.vision.iteration.pool_features import PoolFeatures


def write_labels(path: Path, labels: Sequence[tuple[str, str]]) -> None:
    """The file that `pool.read_labels` reads."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("id", "label"), *labels])


@pytest.fixture(scope="session")
def labelled() -> Pool:
    """All labels known."""
    return of_images(images(path="package:digits", mode="L", size=8), 1.0, 0, 400)


@pytest.fixture(scope="session")
def pool() -> Pool:
    """Of every class a few labels."""
    return of_images(images(path="package:digits", mode="L", size=8), 0.05, 0, 400)


@pytest.fixture(scope="session")
def features(pool: Pool) -> PoolFeatures:
    """Pixels, and the same moved by a little noise."""
    rng = np.random.default_rng(0)

    def seen(places: np.ndarray) -> np.ndarray:
        pixels = np.stack([pool.images.pictures.pixels(int(place)).reshape(-1) for place in places])
        return pixels / 128 - 0.5

    plain = seen(pool.place_N)
    views = np.stack([plain, plain + rng.normal(scale=0.1, size=plain.shape)], axis=1)
    return PoolFeatures(views.astype(np.float16), seen(pool.held_place_M).astype(np.float16), 1e6)


@pytest.fixture(scope="session")
def truth(labelled: Pool) -> list[tuple[str, str]]:
    """Lines of an oracle's file."""
    return [(name, labelled.classes[c]) for name, c in zip(labelled.ids, labelled.start_N, strict=True)]


@pytest.fixture
def three(pool: Pool) -> Pool:
    """Pictures of a pool of three."""
    return dataclasses.replace(pool, place_N=pool.place_N[:3], start_N=np.full(3, -1))
