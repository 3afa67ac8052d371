"""Pictures that come inside of packages: whole, labelled, held out by class; what is missing is named."""

import importlib.util
from collections import Counter

import numpy as np
import pytest

from data_pipelines.errors import DataError
from data_pipelines.images import packaged
from data_pipelines.images.images import images
from data_pipelines.images.sources import PictureSource


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return images("package:digits", size=8, mode="L", augment=[], cache_dir=str(cache))


def test_digits_are_those_of_scikit_learn(digits):
    from sklearn.datasets import load_digits

    wanted = load_digits()
    pictures = digits.pictures
    assert len(pictures) == 1797 and pictures.classes == [f"digit {n}" for n in range(10)]
    names = [pictures.name(place) for place in range(0, 1797, 400)]
    for place, name in zip(range(0, 1797, 400), names, strict=True):
        number = int(name[-8:-4])
        pixels = pictures.pixels(place)[..., 0].astype(int)
        np.testing.assert_array_equal((pixels + 1) // 16, wanted.images[number])
        assert pictures.label_N[place] == wanted.target[number]


def test_a_tenth_of_each_class_is_held_out(digits):
    held_out = Counter(digits.pictures.label_N[digits.pictures.places(True)].tolist())
    assert set(held_out) == set(range(10)) and all(15 <= count <= 21 for count in held_out.values())


def test_photos_are_tiles_of_one_photo_each():
    found = Counter()
    for picture in PictureSource("package:photos").pictures():
        found[picture.label] += 1
    assert len(found) == len(packaged.PHOTOS) and min(found.values()) >= 40
    assert max(found.values()) <= packaged.MOST


@pytest.mark.parametrize(
    ("path", "words"),
    [("package:dogs", "there is no package:dogs: package:digits, package:photos, package:all")],
)
def test_a_name_that_there_is_not(path, words, tmp_path):
    with pytest.raises(DataError, match=words):
        _ = images(path, cache_dir=str(tmp_path)).prepared


def test_a_package_that_is_missing_is_named(monkeypatch, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "skimage" else found(name, *rest)
    )
    with pytest.raises(DataError, match=r"scikit-image, which is not installed: pip install 'pangu-jax\[pic"):
        _ = images("package:all", cache_dir=str(tmp_path)).prepared
