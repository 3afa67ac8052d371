"""Every form gives the same pairs; what is wrong in one is counted, and costs itself alone."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.errors import DataError
from data_pipelines.images.picture import PictureFile
from data_pipelines.pairs import id_tables, samples
from data_pipelines.pairs.sources import opened
from tests.data.pairs import making
from tests.data.pairs.making import PHOTOS, SAID, in_tar, written


def read(path, captions="captions.txt"):
    """What is said of each picture's bytes, the pictures, and what was passed over."""
    source = opened(str(path), captions)
    pictures = {picture.name: picture for picture in source.pictures()}
    said: dict[bytes, list[str]] = {picture.data: [] for picture in pictures.values()}
    lost = []
    for caption in source.captions():
        for name in caption.pictures:
            said[pictures[name].data].append(caption.text)
        if not caption.pictures:
            lost.append(caption.text)
    return said, list(pictures.values()), dict(source.skipped), lost


@pytest.mark.parametrize("form", making.FORMS)
def test_every_form_gives_the_same_pairs(form, tmp_path):
    said, pictures, skipped, lost = read(form(tmp_path))
    assert said == {PHOTOS[number]: SAID[number] for number in PHOTOS}
    assert len(pictures) == len(PHOTOS) and not skipped and not lost


def test_a_text_has_several_pictures_and_ids_are_of_their_split(tmp_path):
    making.as_id_tables(tmp_path, "train", (0, 1, 2))
    making.as_id_tables(tmp_path, "valid", (0, 3))
    with (tmp_path / "train_texts.jsonl").open("a") as file:
        file.write(json.dumps({"text_id": 9, "text": "几张", "image_ids": [0, "2", 77]}) + "\n")
        file.write(json.dumps({"text_id": 10, "text": "不说"}) + "\n{\n" + '{"text": 3}\n')
    source = opened(str(tmp_path))
    pictures = list(source.pictures())
    assert [(one.name, one.side) for one in pictures[-2:]] == [("valid/0", "valid"), ("valid/3", "valid")]
    captions = {caption.text: caption.pictures for caption in source.captions()}
    assert captions["几张"] == ("train/0", "train/2") and "不说" not in captions
    assert source.skipped == {
        "picture ids of captions that no picture has": 1,
        "captions that name no picture": 1,
        "lines that hold no text": 2,
    }


def test_base64_of_either_alphabet_and_none(tmp_path):
    data = b"\xfb\xff\xfe" * 5
    rows = {
        "1": base64.urlsafe_b64encode(data),
        "2": base64.b64encode(data) + b"\r",
        "3": b"no base64!",
        "1 ": base64.b64encode(b"again"),
        "": base64.b64encode(data),
    }
    table = b"\n".join(key.encode() + b"\t" + packed for key, packed in rows.items())
    written(tmp_path, {"train_imgs.tsv": table + b"\n\n", "train_texts.jsonl": b""})
    source = opened(str(tmp_path))
    assert list(source.pictures()) == [PictureFile(f"train/{n}", data, side="train") for n in "12"]
    assert source.skipped == {"pictures that are not in base64": 2, "repeated picture ids": 1}


def test_a_line_that_is_too_long_is_counted_and_the_next_one_read(tmp_path, monkeypatch):
    monkeypatch.setattr(id_tables, "LARGEST", 30)  # lines of 40 bytes
    table = b"1\t" + b"A" * 200 + b"\n2\t" + base64.b64encode(b"short") + b"\n"
    written(tmp_path, {"train_imgs.tsv": table, "train_texts.jsonl": b""})
    source = opened(str(tmp_path))
    assert [picture.data for picture in source.pictures()] == [b"short"]
    assert source.skipped == {"files too large": 1}


def test_a_split_with_one_file_alone_is_refused(tmp_path):
    written(tmp_path, {"train_imgs.tsv": b""})
    with pytest.raises(DataError, match=r"has train_imgs\.tsv and no train_texts\.jsonl"):
        opened(str(tmp_path))


def test_captions_without_pictures_of_broken_shards_and_of_no_json(tmp_path, caplog):
    making.as_shards(tmp_path)
    in_tar(
        tmp_path / "odd.tar",
        {
            "1.jpg": PHOTOS[0],
            "1.json": "{",
            "2.txt": "没有图片",
            "3.jpg": PHOTOS[1],
            "3.mask.png": PHOTOS[2],
            "3.txt": b"\x00\xff\xfe\x01\x02" * 9,
            "4.json": "[1]",
            "5.json": json.dumps({"caption": [1, None]}),
            "6.mp4": b"?",
        },
    )
    (tmp_path / "broken.tar").write_bytes(b"x" * 2000)
    _, pictures, skipped, lost = read(tmp_path)
    assert len(pictures) == len(PHOTOS) + 2 and lost == ["没有图片"]
    assert skipped == {
        "rests of broken archives": 1,
        samples.NO_JSON: 1,
        samples.NO_TEXT: 1,
        samples.SEVERAL: 1,
        ".mp4": 1,
    }
    assert "broken.tar is broken" in caplog.text


def test_shards_of_a_split_and_folders_of_one(tmp_path):
    in_tar(tmp_path / "a" / "train-000.tar", {"1.jpg": PHOTOS[0], "1.txt": "甲"})
    in_tar(tmp_path / "a" / "val-000.tar", {"1.jpg": PHOTOS[1], "1.txt": "乙"})
    said, pictures, _, _ = read(tmp_path / "a")
    assert [(one.name, one.side) for one in pictures] == [
        ("train-000.tar:1.jpg", "train"),
        ("val-000.tar:1.jpg", "val"),
    ]
    assert said == {PHOTOS[0]: ["甲"], PHOTOS[1]: ["乙"]}
    files = {f"{side}/{n}.{kind}": PHOTOS[n] if kind == "jpg" else "丙" for n, side in enumerate(
        ("train", "test", "dev")) for kind in ("jpg", "txt")}  # fmt: skip
    _, pictures, _, _ = read(written(tmp_path / "b", files))
    assert {one.side for one in pictures} == {"train", "test", "dev"}


def test_links_and_large_texts_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "LARGEST_TEXT", 10)
    secret = written(tmp_path / "outside", {"1.txt": "秘密"}) / "1.txt"
    inside = written(tmp_path / "inside", {"1.jpg": PHOTOS[0], "2.jpg": PHOTOS[1], "2.txt": "太" * 9})
    (inside / "1.txt").symlink_to(secret)
    said, _, skipped, _ = read(inside)
    assert not any(said.values())
    assert skipped == {"links that lead out of the folder": 1, "files too large": 1}


def test_a_folder_of_several_files_of_captions_asks_for_one(tmp_path):
    making.as_captions_file(tmp_path)
    (tmp_path / "captions.txt").rename(tmp_path / "captions.zhc.txt")
    with pytest.raises(DataError, match=r"it has captions\.zhc\.txt; choose by --gin\.pairs\.captions=FILE"):
        opened(str(tmp_path))
    assert read(tmp_path, "captions.zhc.txt")[0][PHOTOS[3]] == SAID[3]


def test_a_table_of_captions_beside_its_pictures(tmp_path):
    """It names pictures, and is no table of them."""
    rows = [f'{number}.jpg,"{text}"' for number in PHOTOS for text in SAID[number]]
    files = {f"{number}.jpg": data for number, data in PHOTOS.items()}
    written(tmp_path, {**files, "captions.csv": "\n".join(["image,caption", *rows]), "a.psd": "?"})
    said, pictures, skipped, _ = read(tmp_path, "captions.csv")
    assert said == {PHOTOS[number]: SAID[number] for number in PHOTOS}
    assert len(pictures) == len(PHOTOS) and skipped == {".psd": 1}


@pytest.mark.parametrize("name", ["missing", "a.pdf"])
def test_a_path_that_holds_no_pairs(name, tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"?")
    with pytest.raises(
        DataError, match=r"pairs\.path: .*is (not there|no folder or archive): give"
    ) as raised:
        opened(str(tmp_path / name))
    assert "\n" not in str(raised.value)


def test_a_file_of_captions_in_no_encoding_or_of_no_picture(tmp_path):
    making.as_captions_file(tmp_path)
    (tmp_path / "captions.txt").write_bytes("1.jpg 狗\n9.jpg 猫\n没有名字\n\n".encode("gb18030"))
    said, _, skipped, lost = read(tmp_path)
    assert said[PHOTOS[1]] == ["狗"] and lost == ["猫"] and skipped == {"lines that name no picture": 1}
    (tmp_path / "captions.txt").write_bytes(bytes(range(256)) * 3)
    with pytest.raises(DataError, match=r"captions\.txt is no text in a known encoding"):
        read(tmp_path)


LINES = st.lists(
    st.sampled_from(
        [
            b"1\t" + base64.b64encode(b"one"),
            b'{"text": "a", "image_ids": [1, "1", null, true, 1e999, {}]}',
            b'{"text": "\\ud800", "image_ids": [1]}',
            b'{"text": "a", "image_ids": {"1": 2}}',
            b"[" * 5000,
            b"9" * 5000,
        ]
    )
    | st.binary(max_size=30),
    max_size=6,
).map(b"\n".join)


@settings(max_examples=80)
@given(LINES, LINES)
def test_no_bytes_break_tables_and_whatever_is_read_is_of_a_picture(tmp_path_factory, table, texts):
    folder = written(
        tmp_path_factory.getbasetemp() / "any", {"train_imgs.tsv": table, "train_texts.jsonl": texts}
    )
    source = opened(str(folder))
    names = {picture.name for picture in source.pictures()}
    assert all(set(caption.pictures) <= names for caption in source.captions())
    lines = [line for of in (table, texts) for line in of.split(b"\n") if line.strip(b"\r")]
    assert len(names) <= len(lines) and all(count > 0 for count in source.skipped.values())


@settings(max_examples=40)
@given(st.integers(0, 20_000))
def test_a_tar_that_breaks_off_keeps_what_was_before(tmp_path_factory, length):
    files: dict[str, bytes | str] = {}
    for number, data in PHOTOS.items():
        files |= {f"{number}.jpg": data, f"{number}.txt": SAID[number][0]}
    whole = in_tar(tmp_path_factory.getbasetemp() / "whole.tar", files).read_bytes()
    folder = written(tmp_path_factory.getbasetemp() / "cut", {"a.tar": whole[:length]})
    said, pictures, skipped, lost = read(folder)
    assert all(picture.data in PHOTOS.values() for picture in pictures) and not lost
    assert len(pictures) == len(PHOTOS) or length < len(whole)
    assert set(skipped) <= {"rests of broken archives"}
    assert all(texts in ([], SAID[list(PHOTOS.values()).index(data)][:1]) for data, texts in said.items())
