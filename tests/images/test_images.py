"""`images` of a recipe: defaults, what is told of the pictures, what cannot be."""

import gin
import numpy as np
import pytest

from data_pipelines.errors import DataError
from data_pipelines.images.augment import CenterCrop, ColorJitter, Flip, RandomResizedCrop, Resize
from data_pipelines.images.images import images
from tests.images.test_copies_and_splits import photo
from tests.images.test_decoding import saved


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Already split; one of those held out is a smaller copy; one file is no picture."""
    top = tmp_path_factory.mktemp("photos")
    for side, numbers in (("train", range(6)), ("val", (0, 7, 8, 9))):
        for number in numbers:
            path = top / side / ("cat", "dog")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = photo(number)
            path.write_bytes(saved(pixels[::2, ::2] if side == "val" else pixels))
    (top / "train" / "cat" / "x.png").write_bytes(b"no picture")
    return top


def made(folder, tmp_path, **more):
    return images(path=str(folder), cache_dir=str(tmp_path), **more)


def test_its_streams(folder, tmp_path):
    found = made(folder, tmp_path, size=16, views=2)
    batch = found.train_source(4, seed=0).batch(0)
    assert batch["image"].shape == (4, 2, 16, 16, 3) and set(batch["label"].tolist()) <= {0, 1}
    (held_out,) = found.validation_sources(3).values()
    assert len(held_out) == 2
    views = held_out.batch(0)["image"]
    np.testing.assert_array_equal(views[:, 0], views[:, 1])  # nothing is drawn
    assert list(found.pictures.classes) == ["cat", "dog"] and found.channels == 3
    assert made(folder, tmp_path, mode="L").train_source(2, 0).batch(0)["image"].shape == (2, 1, 32, 32, 1)


def test_a_plain_view_is_the_last_and_changes_no_other(folder, tmp_path):
    """Its steps draw after those of the others; all hosts have their rows of one batch."""
    augmented = {"size": 16, "views": 2, "augment": [RandomResizedCrop(16), ColorJitter()]}
    without = made(folder, tmp_path, **augmented).train_source(4, seed=3)
    plain = made(folder, tmp_path, **augmented, plain_augment=[Resize(16), CenterCrop(16)])
    stream = plain.train_source(4, seed=3)
    batch = stream.batch(2)["image"]
    assert plain.plain and batch.shape == (4, 3, 16, 16, 3)
    np.testing.assert_array_equal(batch[:, :2], without.batch(2)["image"])
    for hosts in (2, 4):
        parts = [slice(4 // hosts * host, 4 // hosts * (host + 1)) for host in range(hosts)]
        rows = [stream.batch(2, part)["image"] for part in parts]
        np.testing.assert_array_equal(np.concatenate(rows), batch)
        read_ahead = [next(stream.iterator(2, part))["image"] for part in parts]
        np.testing.assert_array_equal(np.concatenate(read_ahead), batch)
    (held_out,) = plain.validation_sources(3).values()
    assert held_out.batch(0)["image"].shape == (3, 3, 16, 16, 3)
    (last,) = [held_out.batch(1)]  # filled up
    assert last["image"].shape == (3, 3, 16, 16, 3) and last["weight"].sum() < 3


def test_a_plain_view_of_another_size_is_refused(folder, tmp_path):
    found = made(folder, tmp_path, size=16, plain_augment=[Flip()])
    with pytest.raises(
        DataError, match=r"images\.plain_augment leaves a picture of .* where images\.size is 16"
    ):
        found.train_source(2, 0).batch(0)


def test_what_is_held_out_is_of_every_class(folder, tmp_path):
    (one,) = made(folder, tmp_path, validation_pictures=3).validation_sources(3).values()
    (again,) = made(folder, tmp_path, validation_pictures=3).validation_sources(3).values()
    batch = one.batch(0)
    assert len(one) == 1 and set(batch["label"].tolist()) == {0, 1}
    np.testing.assert_array_equal(batch["place"], again.batch(0)["place"])


def test_what_is_told(folder, tmp_path):
    left_out, copies = made(folder, tmp_path).notices()
    assert left_out.endswith("left out 1 no picture of a known format")
    assert "1 of those held out (25.0%) look like one that is trained on" in copies
    assert "such as val/cat/0.png and train/cat/0.png" in copies


def test_what_a_checkpoint_keeps(folder, tmp_path):
    one, other = made(folder, tmp_path), made(folder, tmp_path, views=2)
    assert one.order() != other.order()
    assert one.order()["pictures"] == other.order()["pictures"]


def test_in_a_recipe(folder, tmp_path):
    gin.parse_config(
        f"""
        images.path = '{folder}'
        images.cache_dir = '{tmp_path}'
        images.size = 20
        images.augment = [@RandomResizedCrop(), @Flip(), @ColorJitter()]
        RandomResizedCrop.size = 20
        """
    )
    assert images().train_source(2, 0).batch(0)["image"].shape == (2, 1, 20, 20, 3)


def test_a_path_must_be_given():
    with pytest.raises(DataError, match=r"images\.path is not set: say where the pictures are"):
        images()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"size": 0}, "images.size 0"),
        ({"validation_fraction": 1.0}, "must be between 0 and 1"),
        ({"mode": "CMYK"}, "it is 'RGB', or 'L'"),
    ],
)
def test_what_cannot_be(more, words, tmp_path):
    with pytest.raises(DataError, match=words):
        made(tmp_path, tmp_path, **more)
