"""Boxes: read as VOC and COCO mean them, none left out without being counted, carried along by views."""

import json
import shutil
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipelines.errors import DataError
from data_pipelines.images import box_files, box_views, boxes, joining, splitting
from data_pipelines.images.box_views import CropAround, FlipBoxes, PhotoPart
from data_pipelines.images.boxed_images import boxed_images
from data_pipelines.images.boxes import Boxes, RawBoxes
from data_pipelines.images.joining import FoundInViews
from tests.images import boxed_photos

VOC = """<annotation><size><width>64</width><height>48</height></size>
<object><name>red</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>10</xmax><ymax>20</ymax></bndbox></object>
<object><name>red</name><bndbox><xmin>a</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>
</annotation>"""


def test_corners_of_voc_are_counted_from_one_and_inside(tmp_path):
    (tmp_path / "a.xml").write_text(VOC)
    told = box_files.read(tmp_path)
    (own,) = box_files.matched(told, ["a.jpg"])
    with pytest.raises(DataError, match=r"one/a.jpg and two/a.jpg both fit the annotation of 'a'"):
        box_files.matched(told, ["one/a.jpg", "two/a.jpg"])
    counts: Counter[str] = Counter()
    found = boxes.usable(own, 128, 96, {"red": 0}, counts)  # the photo is twice as large as the file says
    assert found.edges_Nx4.tolist() == [[0, 0, 20, 40]]
    assert counts == {boxes.KEPT: 1, "not numbers": 1}


def test_xml_that_expands_itself_is_refused(tmp_path):
    bomb = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>'
    (tmp_path / "a.xml").write_text(bomb)
    with pytest.raises(DataError, match="cannot be read as VOC"):
        box_files.read(tmp_path)


def test_every_box_is_kept_or_counted_under_its_reason():
    edges = [[1, 1, 3, 2], [5, 5, 5, 9], [70, 0, 80, 9], [-6, 0, 8, 9], [0, 0, 9, 9], [0, 0, float("inf"), 9]]
    names = ["a", "a", "a", "a", "b", "a"]
    counts: Counter[str] = Counter()
    found = boxes.usable(RawBoxes(edges, names), 64, 48, {"a": 0}, counts)
    assert found.edges_Nx4.tolist() == [[1, 1, 3, 2], [0, 0, 8, 9]]
    reasons = {"of zero area": 1, "outside the picture": 1, "of an unknown class": 1, "not numbers": 1}
    assert counts == {boxes.KEPT: 1, boxes.CUT: 1, **reasons}


def test_boxes_that_are_no_four_numbers_or_have_no_class_are_counted():
    counts: Counter[str] = Counter()
    raw = RawBoxes([[1, 1, 3], [1, 1, 3, 2], [1, 1, 3, 2]], ["a", "a"], side=(32, 24))
    found = boxes.usable(raw, 64, 48, {"a": 0}, counts)
    assert found.edges_Nx4.tolist() == [[2, 2, 6, 4]] and counts == {boxes.KEPT: 1, "not numbers": 2}


def test_boxes_of_one_photo_in_two_files_are_refused(tmp_path):
    boxed_photos.write(tmp_path)
    shutil.copy(tmp_path / "boxes.json", tmp_path / "more.json")
    with pytest.raises(DataError, match=r"more.json: boxes of 'flight_0/0.png' are in another place too"):
        box_files.read(tmp_path)


def test_boxes_of_photos_that_are_not_there_are_counted(tmp_path):
    boxed_photos.write(tmp_path / "photos")
    (tmp_path / "photos" / "flight_0" / "0.png").unlink()
    data = boxed_images(path=str(tmp_path / "photos"), height=24, width=32, cache_dir=str(tmp_path / "c"))
    assert data.boxes.counts == {"read": 12, "kept": 11, boxes.LOST: 1}


def test_a_flight_in_a_column_of_any_name_is_whole_in_a_fold(tmp_path):
    told = boxed_photos.write(tmp_path / "photos", coco=False)
    files = {name: (tmp_path / "photos" / name).read_bytes() for name in told}
    table = {
        "image": [{"bytes": data, "path": name} for name, data in files.items()],
        "flight_id": [name.split("/")[0] for name in files],
        "boxes": [[list(map(float, told[name][0]))] for name in files],
        "labels": [[told[name][1]] for name in files],
    }
    pq.write_table(pa.table(table), tmp_path / "photos.parquet")
    data = boxed_images(
        path=str(tmp_path / "photos.parquet"), group_field="flight_id", height=24, width=32, folds=2,
        cache_dir=str(tmp_path / "c"),
    )  # fmt: skip
    sides = [{data.boxes.group_N[place] for place in data.places(side).tolist()} for side in (False, True)]
    assert sides[0].isdisjoint(sides[1]) and set().union(*sides) == {f"flight_{n}" for n in range(4)}


def test_a_folder_with_coco_boxes_is_split_by_flight(tmp_path):
    told = boxed_photos.write(tmp_path / "photos")
    data = boxed_images(
        path=str(tmp_path / "photos"), height=24, width=32, folds=2, cache_dir=str(tmp_path / "c")
    )
    assert data.classes == ["green", "red"] and data.boxes.counts == {"read": 12, "kept": 12}
    for place, name in enumerate(data.boxes.name_N.tolist()):
        own, (edges, kind) = data.boxes.of(place), told[name]
        assert own.edges_Nx4.tolist() == [edges] and data.classes[own.label_N[0]] == kind
    train, held_out = (set(data.boxes.group_N[data.places(side)]) for side in (False, True))
    assert not train & held_out and len(train | held_out) == 4
    assert data.notices()[0].endswith("12 read, 12 kept; none is left out for its size")
    batch = data.train_source(4, 0).batch(3)
    again = data.train_source(2, 0).batch(7)  # the stream hangs on nothing but the count of what was read
    assert all((batch[name][2:] == again[name]).all() for name in batch)


def test_boxes_of_no_photo_and_names_of_none_are_one_line(tmp_path):
    boxed_photos.write(tmp_path / "photos", coco=False)
    (tmp_path / "b.json").write_text(
        json.dumps({"images": [{"id": 1, "file_name": "x.png"}], "annotations": [], "categories": []})
    )
    of = {"path": str(tmp_path / "photos"), "cache_dir": str(tmp_path / "c")}
    with pytest.raises(
        DataError, match=r"names pictures such as 'x.png'.*there are such as 'flight_0/0.png'"
    ):
        _ = boxed_images(annotations=str(tmp_path / "b.json"), **of).boxes
    with pytest.raises(DataError, match="has no boxes"):
        _ = boxed_images(**of).boxes
    with pytest.raises(DataError, match="from 0 to below folds"):
        boxed_images(fold=5, **of)


@pytest.mark.parametrize("seed", range(20))
def test_a_view_shows_the_same_thing_that_its_box_says(seed):
    """The bright pixels of a view are those inside its box, whatever was done to it."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[20:40, 30:60] = 255
    view = box_views.whole(pixels, Boxes(np.array([[30, 20, 60, 40]], np.float32), np.zeros(1, np.int32)))
    steps = (CropAround(least=0.7, most=2.5, about=0.5, least_seen=0.0), FlipBoxes(0.5, 0.5))
    view = box_views.viewed(steps, view, 48, 64, rng)
    assert view.pixels_HxWxC.shape == (48, 64, 3)
    bright = np.argwhere(view.pixels_HxWxC[..., 0] > 160)
    if not len(view.boxes.label_N):
        assert len(bright) < 64
        return
    (top, left), (bottom, right) = bright.min(0), bright.max(0) + 1
    np.testing.assert_allclose(view.boxes.edges_Nx4[0], [left, top, right, bottom], atol=1.6)


def test_boxes_of_tiles_come_together_on_the_photo():
    """A thing in two tiles is one; one that a tile cuts is left to the tile that has all of it."""
    photo, view = (100, 100), (60, 60)
    pixels = np.zeros((*photo, 3), np.uint8)
    thing = np.array([[50, 50, 58, 56]], np.float32)  # in all four tiles
    cut = np.array([[10, 10, 90, 20]], np.float32)  # in none as a whole
    seen = box_views.whole(pixels, Boxes(np.concatenate([thing, cut]), np.array([0, 1], np.int32)))
    parts = box_views.parts(*photo, *view, (1.0, 100 / 60), 0.2)
    views = [box_views.part_of(seen, part, *view) for part in parts]
    assert len(parts) == 5 and parts[0] == PhotoPart(1.0, 0, 0)
    rows = np.zeros((5, 2, 4), np.float32), np.zeros((5, 2), np.float32), np.zeros((5, 2), np.int32)
    for number, own in enumerate(views):
        count = len(own.boxes.label_N)
        rows[0][number, :count], rows[2][number, :count] = own.boxes
        rows[1][number, :count] = 0.5 + number / 100
    places = [np.array([getattr(own, name) for own in views]) for name in ("scale", "shift")]
    found = joining.joined(FoundInViews(np.zeros(5, int), *places, *rows), view, {0: photo})[0]
    assert found.label_N.tolist() == [0, 1]
    np.testing.assert_allclose(found.edges_Nx4, np.concatenate([thing, cut]), atol=1e-3)


def test_folds_are_even_and_keep_groups_whole():
    rng = np.random.default_rng(0)
    group_N = rng.integers(0, 60, 400)
    counts_NxC = np.stack([rng.poisson(2, 400), rng.random(400) < 0.2], 1)
    fold_N = splitting.folds([f"g{group}" for group in group_N], counts_NxC, 5)
    assert all(len(set(fold_N[group_N == group])) == 1 for group in range(60))
    shares = np.array([counts_NxC[fold_N == fold].sum(0) for fold in range(5)]) / counts_NxC.sum(0)
    assert shares.min() > 0.16 and shares.max() < 0.24
