"""Features of pictures on disk, and the vocabulary of a run of language as captions take it."""

import shutil
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.errors import DataError
from data_pipelines.pairs import stored_features, vocabularies
from data_pipelines.pairs.piece_vocabulary import FILE, PieceVocabulary
from data_pipelines.pairs.vocabulary import fitted
from data_pipelines.text import vocabulary

SHAPES = {"units": (2, 3), "pooled": (3,)}
RNG = np.random.default_rng(0)


def made(count=5):
    """Places in two parts, and not in their order."""
    for place_B in (np.array([3, 0, 4]), np.array([1, 2])):
        yield place_B, {name: np.ones((len(place_B), *shape)) * place_B.reshape(-1, *[1] * len(shape))
                        for name, shape in SHAPES.items()}  # fmt: skip


def opened(root, key="tower", make=made):
    return stored_features.open_or_make(root, {"tower": key}, 5, SHAPES, make)


def test_each_picture_has_its_row_and_is_computed_once(tmp_path):
    found = opened(tmp_path)
    for place in range(5):
        shown = found.shown(place, RNG)
        assert {name: x.shape for name, x in shown.items()} == SHAPES
        assert all(x.dtype == np.float32 and (x == place).all() for x in shown.values())
    assert all(not x.any() and x.shape == SHAPES[name] for name, x in found.nothing().items())
    again = opened(tmp_path, make=lambda: pytest.fail("computed again"))
    np.testing.assert_array_equal(again.rows["units"], found.rows["units"])
    with pytest.raises(ZeroDivisionError):
        opened(tmp_path, "another tower", lambda: 1 // 0)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1  # nothing half-made is left


@pytest.mark.parametrize("contents", [b"", b"\x93NUMPY", b"cos\nsystem\n(S'true'\ntR."])
def test_a_damaged_file_is_named(tmp_path, contents):
    opened(tmp_path)
    (file,) = tmp_path.glob("features-*/pooled.npy")
    file.write_bytes(contents)
    with pytest.raises(DataError, match="delete the folder to make them anew"):
        opened(tmp_path)


def test_a_disk_without_room(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    with pytest.raises(
        DataError, match=r"features of 5 pictures need .* set pairs.cache_dir to a larger disk"
    ):
        opened(tmp_path)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    path = tmp_path_factory.mktemp("pieces") / FILE
    vocabulary.train(["红色的圆在左边，蓝色的十字在右边。"] * 50, 400, path)
    return vocabularies.opened(path)


@given(text=st.text("红色的圆在左边，龘a é\n"), length=st.integers(2, 12))
def test_captions_of_pieces_fit_and_are_cut_at_a_character(pieces, text, length):
    ids, cut = fitted(text, pieces, length)
    assert len(ids) <= length and ids[-1] == pieces.end == 1 and ids.count(1) == 1
    assert 0 not in ids and all(id < pieces.size for id in ids)
    whole = pieces.decode(pieces.encode(text))
    said = pieces.decode([*ids, 0, 0, 5])
    assert whole.startswith(said.rstrip()) and "\N{REPLACEMENT CHARACTER}" not in said
    assert cut or said == whole


def test_the_vocabulary_is_made_again_of_its_file(pieces, tmp_path):
    name, contents = pieces.file()
    (tmp_path / name).write_bytes(contents)
    again = vocabularies.opened(tmp_path / name)
    assert isinstance(again, PieceVocabulary) and again.hash == pieces.hash and again.size == pieces.size
    assert again.encode("红色的圆") == pieces.encode("红色的圆") and again.file() == (name, contents)
    (tmp_path / name).write_bytes(b"no model")
    with pytest.raises(DataError, match="not a sentencepiece model"):
        vocabularies.opened(tmp_path / name)
    with pytest.raises(DataError, match="No such file"):
        vocabularies.opened(tmp_path / "away" / name)
