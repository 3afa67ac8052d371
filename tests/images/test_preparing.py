"""A source is looked at once: what can be used is kept as it is, what cannot is counted, copies are told."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data_pipelines.batches import Mixture, ValidationBatches
from data_pipelines.errors import DataError
from data_pipelines.images import augment, preparing
from data_pipelines.images.augment import Flip, RandomResizedCrop, Resize
from data_pipelines.images.batches import Pictures, PictureTask
from data_pipelines.images.decoding import MAX_PIXELS, decode
from data_pipelines.images.picture import Fields
from tests.images.test_copies_and_splits import photo
from tests.images.test_decoding import animated, saved


def settings_of(path, fraction=0.25):
    return preparing.Settings(str(path), Fields(), fraction, MAX_PIXELS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of eight photos each, and what is wrong with real folders."""
    top = tmp_path_factory.mktemp("photos")
    for number in range(16):
        path = top / ("cat", "dog")[number % 2] / f"{number:02}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(saved(photo(number), "JPEG", quality=90))
    (top / "cat" / "again.jpg").write_bytes((top / "cat" / "02.jpg").read_bytes())
    (top / "cat" / "cut.jpg").write_bytes((top / "cat" / "04.jpg").read_bytes()[:-700])
    (top / "dog" / "moves.gif").write_bytes(animated())
    (top / "dog" / "page.jpg").write_bytes(b"<html>404</html>")
    (top / "readme.txt").write_bytes(b"photos")
    return top


@pytest.fixture(scope="module")
def cache(folder, tmp_path_factory):
    return preparing.prepare(settings_of(folder), tmp_path_factory.mktemp("cache"))


def test_what_is_used_held_out_and_set_aside(cache):
    manifest = cache.manifest
    assert manifest["classes"] == ["cat", "dog"]
    assert manifest["pictures"] == {"train": 12, "validation": 4}
    aside = {"animated": 1, "exact copies": 1, "no picture of a known format": 1, "truncated": 1}
    assert manifest["set_aside"] == aside and manifest["skipped_files"] == {".txt": 1}
    assert manifest["near_copies"] == 0 and not manifest["split_by_source"]


def test_the_bytes_are_those_of_the_source(cache, folder):
    pictures = Pictures(cache)
    for place in range(len(pictures)):
        label = pictures.classes[pictures.label_N[place]]
        assert pictures.name(place).startswith(f"{label}/")
        expected = decode((folder / pictures.name(place)).read_bytes())
        np.testing.assert_array_equal(pictures.pixels(place), expected)
    held_out = pictures.label_N[pictures.places(held_out=True)]
    assert sorted(held_out.tolist()) == [0, 0, 1, 1]


def test_a_dataset_of_tfds_reads_it(cache):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(cache.root / "pictures" / "1.0.0")
    rows = builder.as_data_source()["kept"]
    assert len(rows) == 16 and rows[0]["image"].shape == (120, 160, 3) and rows[0]["label"] == b"cat"


def test_a_prepared_dataset_of_tfds_is_a_source(cache):
    """In a process of its own: TFDS looks once where datasets are."""
    program = (
        "from data_pipelines.images.sources import PictureSource\n"
        "found = list(PictureSource('tfds:pictures').pictures())\n"
        "print(len(found), found[0].label, found[0].name, found[0].data[:4])"
    )
    environment = os.environ | {"TFDS_DATA_DIR": str(cache.root)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "16 cat pictures:kept:0 b'\\x89PNG'\n"


def test_it_is_made_once_and_again_when_a_file_changes(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(4):
        (tmp_path / "in" / f"{number}.png").write_bytes(saved(photo(number)))
    first, second = (preparing.prepare(settings_of(tmp_path / "in"), tmp_path).root for _ in range(2))
    assert first == second
    (tmp_path / "in" / "4.png").write_bytes(saved(photo(4)))
    changed = preparing.prepare(settings_of(tmp_path / "in"), tmp_path)
    assert changed.root != first and sum(changed.manifest["pictures"].values()) == 5


def test_a_side_of_the_source_stays_and_copies_across_are_told(tmp_path):
    for number in range(6):
        for side, pixels in (("train", photo(number)), ("test", photo(number + (number > 1) * 50))):
            path = tmp_path / "photos" / side / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(saved(Image.fromarray(pixels).resize((80 if side == "test" else 160, 60))))
    manifest = preparing.prepare(settings_of(tmp_path / "photos"), tmp_path).manifest
    assert manifest["split_by_source"] and manifest["pictures"] == {"train": 6, "validation": 6}
    assert manifest["near_copies"] == 2
    assert ["train/0.png", "test/0.png"] in manifest["near_copies_such_as"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "has no picture that can be used"),
        ({"a.txt": b"?"}, r"has no picture that can be used \(1 .txt\)"),
        ({"a.png": b"?", "b.gif": animated()}, r"\(1 no picture of a known format, 1 animated\)"),
    ],
)
def test_nothing_to_use_is_one_line(files, words, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with pytest.raises(DataError, match=words):
        preparing.prepare(settings_of(folder), tmp_path)
    assert not list(tmp_path.glob("pictures-*/manifest.json"))


STEPS = (RandomResizedCrop(24), Flip())


def task_of(pictures, views=2):
    places = pictures.places(held_out=False).tolist()
    return PictureTask("photos", 0, pictures, places, STEPS, 24, views)


def test_a_batch_is_a_function_of_seed_and_count(cache):
    """Whatever was read before, by how many hosts."""
    pictures = Pictures(cache)
    first = Mixture({"photos": (task_of(pictures), 1.0)}, 8, seed=3)
    batches = [first.batch(step) for step in range(4)]
    assert batches[0]["image"].shape == (8, 2, 24, 24, 3) and batches[0]["image"].dtype == np.uint8
    again = Mixture({"photos": (task_of(Pictures(cache)), 1.0)}, 8, seed=3)
    halves = [again.batch(2, rows) for rows in (slice(0, 4), slice(4, 8))]
    for name, expected in batches[2].items():
        np.testing.assert_array_equal(np.concatenate([half[name] for half in halves]), expected)
    ahead = Mixture({"photos": (task_of(pictures), 1.0)}, 8, seed=3).iterator(1)
    np.testing.assert_array_equal(next(ahead)["image"], batches[1]["image"])
    smaller = Mixture({"photos": (task_of(pictures), 1.0)}, 4, seed=3)
    np.testing.assert_array_equal(smaller.batch(5)["image"], batches[2]["image"][4:])
    views = batches[0]["image"]
    assert (views[:, 0] != views[:, 1]).any() and not np.array_equal(batches[0]["image"], batches[1]["image"])


def test_an_epoch_holds_every_picture_once(cache):
    pictures = Pictures(cache)
    stream = Mixture({"photos": (task_of(pictures), 1.0)}, 4, seed=0)
    seen = np.concatenate([stream.batch(step)["place"] for step in range(6)])
    for epoch in (seen[:12], seen[12:]):
        assert sorted(epoch.tolist()) == pictures.places(held_out=False).tolist()
    assert stream.identity(0)[0] == f"photos: {pictures.name(int(seen[0]))}"


def test_validation_ends_with_rows_without_weight(cache):
    pictures = Pictures(cache)
    places = pictures.places(held_out=True).tolist()
    task = PictureTask("photos", 0, pictures, places, (Resize(24, square=True),), 24)
    found = [ValidationBatches(task, 3).batch(step) for step in range(2)]
    assert [batch["weight"].tolist() for batch in found] == [[1, 1, 1], [1, 0, 0]]
    assert found[1]["label"].tolist()[1:] == [-1, -1]


def test_steps_that_do_not_end_at_the_size_are_said(cache):
    task = dataclasses.replace(task_of(Pictures(cache)), augment=(Resize(24),))
    with pytest.raises(DataError, match=r"leaves a picture of 24 x 32 where images.size is 24"):
        task.window(0, np.random.default_rng(0))


def test_a_large_jpeg_is_decoded_smaller_where_the_part_is_large(tmp_path):
    for number in range(3):
        pixels = augment.resized(photo(number), 360, 480)
        (tmp_path / f"{number}.jpg").write_bytes(saved(pixels, "JPEG", quality=95))
    found = preparing.prepare(settings_of(tmp_path, 0.4), tmp_path / "cache")
    kept, unkept = Pictures(found), Pictures(found)
    unkept._kept = None
    asked = []
    unkept.pixels = lambda place, at_least: asked.append(at_least) or Pictures.pixels(unkept, place, at_least)
    for seed in range(40):
        one, other = (
            PictureTask("photos", 0, pictures, [0, 1], (RandomResizedCrop(64),), 64).window(
                0, np.random.default_rng(seed)
            )["image"].astype(int)
            for pictures in (kept, unkept)
        )  # fmt: skip
        assert np.abs(one - other).mean() < 3
    assert min(asked) < 90 < 180 > max(asked)
