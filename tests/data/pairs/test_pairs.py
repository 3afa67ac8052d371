"""`pairs` of a recipe: streams, sides, what is told of them, what cannot be."""

import base64
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.images.augment import Resize
from data_pipelines.images.decoding import decode
from data_pipelines.pairs import shapes
from data_pipelines.pairs.pairs import pairs
from data_pipelines.pairs.vocabulary import CharacterVocabulary
from tests.data.pairs import making
from tests.data.pairs.making import PHOTOS, SAID, written
from tests.images.test_copies_and_splits import photo
from tests.images.test_decoding import saved

DATA = Path(os.environ.get("PANGU_DATA_DIR") or Path(__file__).parents[3] / "../shared/data")
FLICKR8K = DATA / "multimodal/flickr8k_zh"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six photos with two captions each; the first is held out by a file."""
    return written(making.as_captions_file(tmp_path_factory.mktemp("pairs")), {"val.txt": "0\n4.jpg\n"})


@pytest.fixture(scope="module")
def found(folder, cache):
    return pairs(str(folder), size=16, length=8, validation="val.txt", least_count=1, cache_dir=cache)


@pytest.fixture(scope="module")
def drawn():
    return list(shapes.pairs())


def names_of(side):
    return {name.partition(".")[0] for name in side.picture_names}


def test_an_epoch_shows_every_picture_once_with_one_of_its_captions(found):
    assert names_of(found.trained) == set("1235") and names_of(found.held_out) == set("04")
    stream = found.train_source(4, seed=0)
    seen = set()
    for epoch in range(12):
        batch = stream.batch(epoch)
        assert sorted(batch["picture"].tolist()) == [0, 1, 2, 3]
        assert batch["image"].shape == (4, 1, 16, 16, 3) and batch["tokens"].shape == (4, 8)
        pair = list(zip(batch["text"].tolist(), batch["picture"].tolist(), strict=True))
        seen |= set(pair)
        for tokens, (text, _) in zip(batch["tokens"], pair, strict=True):
            assert found.vocabulary.decode(tokens) == found.trained.text[text][:7]
    assert seen == set(map(tuple, found.trained.links.tolist()))  # all captions come
    np.testing.assert_array_equal(stream.batch(3, slice(1, 3))["image"], stream.batch(3)["image"][1:3])


def test_what_is_held_out_comes_once_first_captions_first(found):
    (source,) = found.validation_sources(3).values()
    batches = [source.batch(step) for step in range(len(source))]
    assert [batch["picture"].tolist() for batch in batches] == [[0, 1, 0], [1, -1, -1]]
    assert [batch["text"].tolist() for batch in batches] == [[0, 2, 1], [3, -1, -1]]
    assert batches[1]["weight"].tolist() == [1, 0, 0] and not batches[1]["tokens"][1:].any()
    held_out = found.held_out
    (pictures,) = [held_out.pictures_once(3).batch(0)]
    assert pictures["picture"].tolist() == [0, 1, -1] and pictures["weight"].tolist() == [1, 1, 0]
    np.testing.assert_array_equal(pictures["image"][:2], batches[0]["image"][:2])
    captions = held_out.texts_once(5).batch(0)
    assert captions["text"].tolist() == [0, 1, 2, 3, -1] and captions["tokens"].shape == (5, 8)
    assert held_out.links.tolist() == [[0, 0], [1, 0], [2, 1], [3, 1]]
    assert list(held_out.text) == SAID[0] + SAID[4]


def test_shuffled_captions_are_all_of_other_pictures(folder, cache):
    control = pairs(str(folder), validation="val.txt", shuffled=True, cache_dir=cache)
    own = pairs(str(folder), validation="val.txt", cache_dir=cache)
    for picture in range(own.trained.picture_count):
        assert not set(control.trained.texts_of(picture)) & set(own.trained.texts_of(picture))
    assert sorted(control.trained.links[:, 1]) == sorted(own.trained.links[:, 1])
    np.testing.assert_array_equal(control.held_out.links, own.held_out.links)
    assert control.order() != own.order() and "control" in control.notices()[-1]


def test_a_vocabulary_is_of_what_is_learnt_from_or_given(found):
    assert set(found.vocabulary.characters) == set("".join(found.trained.text))
    other = found.with_vocabulary(CharacterVocabulary("红"))
    assert other.fingerprint() != found.fingerprint() and other.order() != found.order()
    assert other.train_source(4, 0).batch(0)["tokens"].max() == 3 and other.vocabulary.size == 4
    assert other.prepared.root == found.prepared.root


def test_what_is_left_out_is_counted(tmp_path, cache):
    pixels = photo(20)
    frames = [Image.fromarray(photo(seed)[::4, ::4]) for seed in (21, 22)]
    large = saved(np.zeros((80, 80), np.uint8))
    whole = saved(pixels[::3, ::3])
    files = {
        "deep.png": saved(np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16),
        "cmyk.jpg": saved(Image.fromarray(pixels[::2, ::2]).convert("CMYK"), "JPEG"),
        "moves.gif": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "large.png": large,
        "broken.png": whole[: len(whole) // 2],
        "none.png": b"no picture",
        "lone.png": saved(photo(23)[::3, ::3]),
        "copy_1.png": saved(photo(24)[::3, ::3]),
        "copy_2.png": saved(photo(24)[::3, ::3]),
    }
    said = {f"{name.partition('.')[0]}.txt": "一张图" for name in files if not name.startswith("lone")}
    said |= {"cmyk.txt": " \n", "without.txt": "没有图", "copy_2.txt": "\n 又一张图片 \n", "x.psd": "?"}
    read = pairs(
        str(written(tmp_path, {**files, **said})), size=64, length=4, max_pixels=6000, cache_dir=cache
    )
    lines = read.notices()
    assert sorted(read.index.text) == ["一张图", "一张图", "又一张图片"]
    assert lines[0].endswith(
        "left out pictures: 1 animated, 1 no picture of a known format, 1 too many pixels, 1 truncated, "
        "2 without a caption"
    )
    assert lines[1].endswith("left out captions: 2 empty, 5 without a picture that can be used")
    assert lines[2].endswith("left out files and lines: 1 .psd")
    assert lines[3].endswith("1 pictures are exact copies of others: each is one with the captions of all")
    assert any("1 of 3 captions are longer than pairs.length 4" in line for line in lines)
    # Sixteen bits are scaled; copies have the captions of both and are on one side.
    assert {read.trained.picture_count, read.held_out.picture_count} == {1}
    assert max(len(read.trained.text), len(read.held_out.text)) == 2


def test_splits_of_a_source(tmp_path, cache):
    making.as_id_tables(tmp_path, "train", (0, 1, 2))
    making.as_id_tables(tmp_path, "valid", (3, 0))
    making.as_id_tables(tmp_path, "test", (4, 5))
    read = pairs(str(tmp_path), cache_dir=cache)
    assert read.trained.picture_names == ["train/1", "train/2"]
    assert read.held_out.picture_count == 2 and len(read.held_out.text) == 6
    assert any("split test is left unread" in line for line in read.notices())
    assert any("1 pictures are on both sides, such as train/0 and valid/0" in line for line in read.notices())
    test = pairs(str(tmp_path), validation="test", cache_dir=cache)
    assert test.held_out.picture_names == ["test/4", "test/5"] and test.trained.picture_count == 3


def test_a_share_keeps_pictures_of_one_caption_together(tmp_path, cache):
    making.as_id_tables(tmp_path)
    with (tmp_path / "train_texts.jsonl").open("a") as file:
        file.write(json.dumps({"text": "两张", "image_ids": [0, 1, 2]}) + "\n")
        file.write(json.dumps({"text": "另两张", "image_ids": [2, 3]}) + "\n")
    read = pairs(str(tmp_path), validation_fraction=0.4, cache_dir=cache)
    sides = [set(side.picture_names) for side in (read.trained, read.held_out)]
    together = {f"train/{number}" for number in range(4)}
    assert all(sides) and any(together <= side for side in sides) and not sides[0] & sides[1]
    assert len(read.trained.links) + len(read.held_out.links) == 12 + 5
    assert not any("both sides" in line for line in read.notices())


def test_captions_and_pictures_of_both_sides_are_told(tmp_path, cache):
    making.as_id_tables(tmp_path)
    with (tmp_path / "train_texts.jsonl").open("a") as file:
        file.write('{"text": "两张", "image_ids": [0, 1]}\n{"text": "照片0，红色", "image_ids": [5]}\n')
    near = saved(photo(1)[::2, ::2], "JPEG", quality=40)
    with (tmp_path / "train_imgs.tsv").open("a") as file:
        file.write(f"6\t{base64.b64encode(near).decode()}\n")
    with (tmp_path / "train_texts.jsonl").open("a") as file:
        file.write('{"text": "像", "image_ids": [6]}\n')
    written(tmp_path, {"val.txt": "0\n5\n6\n7\n"})
    lines = pairs(str(tmp_path), validation="val.txt", cache_dir=cache).notices()
    assert any("1 captions are of pictures of both sides" in line for line in lines)
    assert any("1 of 4 names in val.txt are of no picture, such as '7'" in line for line in lines)
    assert any("1 of those held out (33.3%) look like one that is trained on" in line for line in lines)
    assert any("2 of 7 captions that are held out have the words of one of another" in line for line in lines)


def test_captions_of_the_same_words_can_be_counted_as_one(tmp_path, cache):
    files = {f"{n}.jpg": PHOTOS[n] for n in range(4)} | {f"{n}.txt": "同样\n" + f"第{n}张" for n in range(4)}
    read = pairs(
        str(written(tmp_path, {**files, "val.lst": "0\n1\n"})), validation="val.lst", cache_dir=cache
    )
    held_out = read.held_out
    assert held_out.sentence_T.tolist() == [0, 1, 0, 2]
    assert held_out.links_by_sentence.tolist() == [[0, 0], [0, 1], [1, 0], [2, 0], [2, 1], [3, 1]]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"path": None}, r"pairs\.path is not set"),
        ({"size": 0}, "must be at least 1"),
        ({"length": 1}, r"pairs\.length 1 must be at least 2"),
        ({"mode": "CMYK"}, "'CMYK': it is 'RGB', or 'L'"),
        ({"validation_fraction": 1.0}, "must be between 0 and 1"),
        ({"validation": "none.txt"}, r"there is no file none\.txt in"),
        ({"validation": "captions.txt"}, r"captions\.txt names no picture that is there"),
        ({"validation": "all.txt"}, "are held out: nothing is left"),
        (
            {"augment": [Resize(9, square=True)]},
            r"pairs\.augment leaves a picture of 9 x 9 where pairs\.size",
        ),
    ],
)
def test_what_cannot_be_is_one_line(settings, words, folder, cache):
    written(folder, {"all.txt": "\n".join(map(str, PHOTOS))})
    with pytest.raises(DataError, match=words) as raised:
        pairs(**{"path": str(folder), "cache_dir": cache, **settings}).train_source(2, 0).batch(0)
    assert "\n" not in str(raised.value).partition("\n  In call to configurable")[0]


def test_a_path_that_is_not_there_is_named_as_pairs(cache, tmp_path):
    with pytest.raises(DataError, match=r"^pairs\.path: there is no "):
        pairs(str(tmp_path / "nowhere"), cache_dir=cache).notices()


def test_a_source_without_a_caption_of_a_picture(folder, cache, tmp_path):
    with pytest.raises(DataError, match=r"no caption is of one \(pictures: 1 without a caption\)"):
        pairs(str(written(tmp_path / "a", {"1.jpg": PHOTOS[0]})), cache_dir=cache).notices()
    with pytest.raises(DataError, match=r"has no picture that can be used \(1 no picture of a known"):
        pairs(str(written(tmp_path / "b", {"1.jpg": b"?", "1.txt": "甲"})), cache_dir=cache).notices()


def test_drawn_shapes_are_the_same_each_time_and_no_description_is_on_both_sides(drawn):
    sides = {side: [one for one in drawn if one.picture.side == side] for side in ("train", "validation")}
    assert len(sides["validation"]) == shapes.HELD_OUT and len(drawn) == 3024 + 896
    train, held_out = ({text for one in of for text in one.captions} for of in sides.values())
    assert not train & held_out and len(train | held_out) == 2 * 3024 + 896 // shapes.ALONE
    assert set("".join(held_out)) == set("".join(train))  # no character is new
    other = next(shapes.pairs(seed=1))
    assert next(shapes.pairs()).picture.data == drawn[0].picture.data != other.picture.data
    assert other.captions == drawn[0].captions


def test_drawn_shapes_are_where_they_are_said_to_be(drawn):
    """By colour: of every picture the middles of the pixels that are nearest to each of its colours."""
    where = {name: (across, down) for both in shapes.PLACES for name, across, down in both}
    paints = np.array([*shapes.COLOURS.values(), (235, 235, 235)])
    for one in drawn[::61]:
        parts = [part.split("在") for part in one.captions[0].split("，")]
        said = [(list(shapes.COLOURS).index(thing[:2]), where[place]) for thing, place in parts]
        if len({colour for colour, _ in said}) < len(said):
            continue
        pixels = decode(one.picture.data).astype(int)
        nearest = np.square(pixels[:, :, None] - paints).sum(-1).argmin(-1)
        for colour, (across, down) in said:
            rows, columns = np.nonzero(nearest == colour)
            assert len(rows) > 40
            assert abs(np.median(columns) / 64 - across) < 0.12 and abs(np.median(rows) / 64 - down) < 0.12


@pytest.mark.skipif(not FLICKR8K.is_dir(), reason=f"no {FLICKR8K} (set PANGU_DATA_DIR)")
def test_flickr8k_in_chinese(cache):
    read = pairs(str(FLICKR8K), captions="captions.zhc.txt", validation="val.txt", cache_dir=cache)
    assert read.trained.picture_count == 762 and len(read.trained.text) == 3810
    assert read.held_out.picture_count == 113 and len(read.held_out.text) == 565
    assert 650 < read.vocabulary.size < 750
    assert max(map(len, read.index.text)) == 22 and not any("longer" in line for line in read.notices())
    assert any("have the words of one of another picture" in line for line in read.notices())
    assert (read.train_source(8, 0).batch(0)["tokens"] > 0).any(axis=1).all()
