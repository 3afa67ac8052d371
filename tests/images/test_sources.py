"""Every kind of source gives the same pictures and what it knows of each; what it passes over is counted."""

import csv
import gzip
import io
import json
import os
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipelines.errors import DataError
from data_pipelines.images import picture_tables
from data_pipelines.images.decoding import encode_png
from data_pipelines.images.picture import Fields
from data_pipelines.images.preparing import listing
from data_pipelines.images.sources import PictureSource

DATA = {
    f"{label}/{number}.png": encode_png(np.full((4, 4, 3), 20 * i + number, np.uint8))
    for i, label in enumerate(("cat", "dog"))
    for number in range(3)
}
LABELLED = [(data, name.split("/")[0]) for name, data in sorted(DATA.items())]


def read(path, fields=Fields()):  # noqa: B008
    source = PictureSource(str(path), fields)
    return list(source.pictures()), source.skipped


def in_folder(folder):
    return in_files(folder, DATA)


def in_files(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def in_zip(folder, files=DATA):
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return folder / "a.zip"


def in_tar(folder, files=DATA, name="a.tar.gz"):
    with tarfile.open(folder / name, "w:gz") as archive:
        for member, data in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return folder / name


def in_web_dataset(folder):
    files = {}
    for number, (name, data) in enumerate(sorted(DATA.items())):
        files[f"{number:04}.png"] = data
        files[f"{number:04}.cls"] = name.split("/")[0].encode()
    return in_tar(folder, files)


def in_web_dataset_with_json(folder):
    files = {}
    for number, (name, data) in enumerate(sorted(DATA.items())):
        files[f"{number:04}.json"] = json.dumps({"label": name.split("/")[0], "group": number}).encode()
        files[f"{number:04}.png"] = data
    return in_zip(folder, files)


def in_parquet(folder):
    """As the library `datasets` writes it."""
    rows = [
        {"image": {"bytes": data, "path": None}, "label": int(label == "dog")} for data, label in LABELLED
    ]
    features = {"info": {"features": {"label": {"names": ["cat", "dog"]}, "image": {"_type": "Image"}}}}
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, folder / "a.parquet")
    return folder / "a.parquet"


def in_csv(folder):
    in_folder(folder)
    with (folder / "a.csv").open("w", encoding="utf-8-sig", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["file_name", "class"])
        rows.writerows([[name, name.split("/")[0]] for name in sorted(DATA)])
    return folder / "a.csv"


@pytest.mark.parametrize(
    "made",
    [in_folder, in_zip, in_tar, in_web_dataset, in_web_dataset_with_json, in_parquet, in_csv],
)
def test_every_kind_gives_the_same_pictures_and_labels(made, tmp_path):
    pictures, skipped = read(made(tmp_path))
    assert [(picture.data, picture.label) for picture in pictures] == LABELLED
    assert len({picture.name for picture in pictures}) == len(LABELLED) and not skipped
    if made is in_web_dataset_with_json:
        assert [picture.group for picture in pictures] == list("012345")


def test_pictures_at_the_top_of_a_folder_have_no_class(tmp_path):
    (in_folder(tmp_path) / "top.png").write_bytes(LABELLED[0][0])
    assert {picture.label for picture in read(tmp_path)[0]} == {None}


def test_a_folder_holds_archives_and_what_is_passed_over_is_counted(tmp_path):
    in_zip(tmp_path)
    in_tar(tmp_path, {"bird/1.png": LABELLED[0][0], "readme": b"?"})
    for name in ("notes.txt", "b.MD", ".DS_Store", "cover.psd"):
        (tmp_path / name).write_bytes(b"?")
    pictures, skipped = read(tmp_path)
    assert {picture.label for picture in pictures} == {"bird", "cat", "dog"}
    assert pictures[0].name == "a.tar.gz:bird/1.png" and len(pictures) == 7
    assert skipped == {".txt": 1, ".md": 1, ".psd": 1, "no suffix": 1}


def moved(side_of):
    return {f"{side_of(number)}/{name}": DATA[name] for number, name in enumerate(sorted(DATA))}


@pytest.mark.parametrize("made", [in_zip, in_files])
def test_folders_of_a_split_are_sides_and_not_classes(made, tmp_path):
    files = moved(lambda number: "val" if number % 3 == 0 else "train")
    pictures, _ = read(made(tmp_path, files))
    assert {(picture.data, picture.label, picture.side) for picture in pictures} == {
        (data, name.split("/")[1], "validation" if name.startswith("val") else "train")
        for name, data in files.items()
    }


@pytest.mark.parametrize("made", [in_zip, in_files])
def test_a_class_called_train_is_a_class(made, tmp_path):
    files = {f"{('train', 'bus', 'test')[i % 3]}/{i}.png": data for i, (data, _) in enumerate(LABELLED)}
    pictures, _ = read(made(tmp_path, files))
    assert {picture.label for picture in pictures} == {"train", "bus", "test"}
    assert {picture.side for picture in pictures} == {None}


def test_tables_of_a_split(tmp_path):
    in_parquet(tmp_path).rename(tmp_path / "train-00000-of-00001.parquet")
    in_parquet(tmp_path).rename(tmp_path / "test.parquet")
    pictures, _ = read(tmp_path)
    assert [picture.side for picture in pictures] == ["validation"] * 6 + ["train"] * 6


def test_a_table_names_its_columns_or_they_are_asked_for(tmp_path):
    pq.write_table(pa.table({"x": [LABELLED[0][0]], "y": ["cat"], "flight": [7]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"none of its columns is called image or alike \(x, y, flight\)"):
        read(tmp_path / "b.parquet")
    (picture,) = read(tmp_path / "b.parquet", Fields("x", "y", "flight"))[0]
    assert picture.label == "cat" and picture.group == "7"
    with pytest.raises(DataError, match=r"has no column 'z' \(images.label_field\)"):
        read(tmp_path / "b.parquet", Fields("x", "z"))


def test_a_link_or_a_table_does_not_lead_out_of_the_folder(tmp_path):
    outside = tmp_path / "outside.png"
    outside.write_bytes(LABELLED[0][0])
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "1.png").symlink_to(outside)
    pictures, skipped = read(inside)
    assert not pictures and skipped == {"links that lead out of the folder": 1}
    (inside / "a.csv").write_text("path\n../outside.png\n")
    with pytest.raises(DataError, match=r"'\.\./outside.png', which is not under its folder"):
        read(inside / "a.csv")


def test_names_of_a_zip_that_chinese_windows_made(tmp_path):
    """In GBK and not marked, which zipfile takes for cp437."""
    path = in_zip(tmp_path, {"AB/1.png": LABELLED[0][0]})
    path.write_bytes(path.read_bytes().replace(b"AB/1.png", "狗/1.png".encode("gbk")))
    (picture,) = read(path)[0]
    assert (picture.name, picture.label) == ("狗/1.png", "狗")


def test_names_of_files_and_of_tars_that_chinese_windows_made(tmp_path):
    """In GBK; and one that is neither UTF-8 nor GBK."""
    for raw in ("狗".encode("gbk"), b"\xff\xff"):
        folder = tmp_path / "a" / os.fsdecode(raw)
        folder.mkdir(parents=True)
        (folder / "1.png").write_bytes(LABELLED[0][0])
    with tarfile.open(tmp_path / "a" / "b.tar", "w", encoding="gbk", format=tarfile.GNU_FORMAT) as archive:
        archive.add(tmp_path / "a" / os.fsdecode("狗".encode("gbk")), arcname="狗")
    pictures, _ = read(tmp_path / "a")
    assert {(one.name, one.label) for one in pictures} == {
        ("狗/1.png", "狗"),
        ("\\udcff\\udcff/1.png", "\\udcff\\udcff"),
        ("b.tar:狗/1.png", "狗"),
    }
    assert len(listing(str(tmp_path / "a"))) == 64


def test_links_in_an_archive_are_counted(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("x.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    assert read(tmp_path / "a.tar") == ([], {"links and devices in archives": 1})


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.zip", b"PK nothing", "is broken, or no archive"),
        ("a.tar", b"x" * 2000, "is broken, or no archive"),
        ("a.parquet", b"PAR1", "cannot be read as Parquet"),
        ("a.csv", b"path\nmissing.png\n", "row 2: there is no"),
        ("a.csv", b"path\n\xff\xfe\xff\n", "cannot be read as a table"),
        ("a.txt", b"hello", "is no picture, archive or table"),
    ],
)
def test_what_cannot_be_read_is_one_line(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words) as raised:
        read(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_a_broken_one_of_many_costs_itself(tmp_path, caplog):
    """And of a tar that breaks off what was read before stays."""
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "1.png").write_bytes(LABELLED[0][0])
    (tmp_path / "a.zip").write_bytes(b"PK nothing")
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    whole = gzip.decompress(in_tar(tmp_path).read_bytes())
    (tmp_path / "a.tar.gz").unlink()
    (tmp_path / "c.tar").write_bytes(whole[: 3 * 1024 + 512 + 100])  # a picture takes two blocks of 512
    pictures, skipped = read(tmp_path)
    names = [picture.name for picture in pictures]
    assert "cats/1.png" in names and 1 < len(names) < 1 + len(LABELLED)
    assert skipped["rests of broken archives and tables"] == 3
    assert "a.zip is broken" in caplog.text and "b.parquet cannot be read" in caplog.text


def test_a_json_that_is_none_costs_its_picture(tmp_path):
    files = {"1.jpg": LABELLED[0][0], "1.json": b"{", "2.jpg": LABELLED[1][0], "2.json": b'{"label": "dog"}'}
    pictures, skipped = read(in_zip(tmp_path, files))
    assert [(picture.name.split(":")[-1], picture.label) for picture in pictures] == [("2.jpg", "dog")]
    assert skipped == {"pictures beside a .json that is none": 1}


def test_a_file_that_a_table_names_is_no_larger_than_others(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_tables, "LARGEST", 10)
    (tmp_path / "1.png").write_bytes(LABELLED[0][0])
    (tmp_path / "a.csv").write_text("path\n1.png\n")
    assert read(tmp_path / "a.csv") == ([], {"files too large": 1})


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="there is no"):
        read(tmp_path / "missing")


def test_the_order_is_that_of_the_names(tmp_path):
    files = dict(reversed(list(DATA.items())))
    assert [p.name for p in read(in_zip(tmp_path, files))[0]] == [p.name for p in read(in_zip(tmp_path))[0]]
