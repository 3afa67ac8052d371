"""An index of pictures on disk: only what is new is embedded, and another run's is refused."""

import hashlib
import json
import os

import numpy as np
import pytest

from pangu_jax.apps.multimodal import picture_index
from pangu_jax.apps.multimodal.picture_index import IndexMaker, PictureMatch, default_place, open_index
from pangu_jax.errors import UserError

pytest.importorskip("faiss")
MAKER = IndexMaker("first", 10, 8)


class Embedder:
    """A vector by a file's bytes; b"broken" has none."""

    def __init__(self):
        self.seen = []

    def __call__(self, paths):
        self.seen += [path.name for path in paths]
        return np.stack([vector(path.read_bytes()) for path in paths])


def vector(data):
    if data == b"broken":
        return np.full(8, np.nan, np.float32)
    seed = int.from_bytes(hashlib.sha256(data).digest()[:4])
    return np.random.default_rng(seed).standard_normal(8).astype(np.float32)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "子").mkdir(parents=True)
    for name in ("a.jpg", "b.PNG", "子/c.webp", "d.jpg"):
        (folder / name).write_bytes(name.encode())
    (folder / "d.jpg").write_bytes(b"broken")
    for name in (".hidden.jpg", "notes.txt"):
        (folder / name).write_bytes(b"no picture")
    return folder


def test_only_what_is_new_is_embedded(pictures, tmp_path):
    place, embed = tmp_path / "index", Embedder()
    index = open_index(place, pictures, MAKER, embed, batch=3)
    assert sorted(embed.seen) == ["a.jpg", "b.PNG", "c.webp", "d.jpg"]
    assert (index.names, index.unusable, index.embedded) == (["a.jpg", "b.PNG", "子/c.webp"], ["d.jpg"], 4)
    [[first, *rest]] = index.search(vector("子/c.webp".encode())[None], 9)
    assert first == PictureMatch("子/c.webp", pytest.approx(1)) and len(rest) == 2

    embed.seen.clear()
    again = open_index(place, pictures, MAKER, embed)
    assert not embed.seen and (again.embedded, again.names, again.unusable) == (0, index.names, ["d.jpg"])
    assert again.search(vector(b"a.jpg")[None], 3) == index.search(vector(b"a.jpg")[None], 3)
    approximate = open_index(place, pictures, MAKER, embed, "approximate")
    assert not embed.seen and approximate.search(vector(b"a.jpg")[None], 1)[0][0].name == "a.jpg"

    (pictures / "a.jpg").unlink()
    (pictures / "b.PNG").write_bytes(b"other")
    os.utime(pictures / "b.PNG", ns=(1, 1))
    (pictures / "0.jpg").write_bytes(b"new")
    changed = open_index(place, pictures, MAKER, embed)
    assert sorted(embed.seen) == ["0.jpg", "b.PNG"] and (changed.embedded, changed.removed) == (2, 1)
    assert changed.names == ["0.jpg", "b.PNG", "子/c.webp"]
    for data, name in ((b"new", "0.jpg"), (b"other", "b.PNG"), ("子/c.webp".encode(), "子/c.webp")):
        assert changed.search(vector(data)[None], 1)[0][0].name == name
    assert sorted(path.name[:8] for path in place.iterdir()) == ["contents", "manifest"]


def test_an_interrupt_keeps_what_was_embedded(pictures, tmp_path):
    embed = Embedder()

    def interrupted(paths):
        if embed.seen:
            raise KeyboardInterrupt
        return embed(paths)

    with pytest.raises(KeyboardInterrupt):
        open_index(tmp_path / "index", pictures, MAKER, interrupted, batch=2)
    first = [*embed.seen]
    index = open_index(tmp_path / "index", pictures, MAKER, embed)
    assert len(first) == 2 and sorted(embed.seen) == ["a.jpg", "b.PNG", "c.webp", "d.jpg"]
    assert index.names == ["a.jpg", "b.PNG", "子/c.webp"]


def test_another_run_step_or_width_is_refused_in_one_line(pictures, tmp_path):
    place = tmp_path / "index"
    open_index(place, pictures, MAKER, Embedder())
    before = (place / "manifest.json").read_bytes()
    for other in (MAKER._replace(run="second"), MAKER._replace(step=11), MAKER._replace(width=4)):
        with pytest.raises(UserError, match="was made by run first, step 10, width 8") as refused:
            open_index(place, pictures, other, Embedder())
        assert "\n" not in str(refused.value) and str(other) in str(refused.value)
        assert default_place(pictures, other) != default_place(pictures, MAKER)
    assert (place / "manifest.json").read_bytes() == before


def _torn_vectors(place):
    file = next(place.glob("contents-*/vectors.npy"))
    file.write_bytes(file.read_bytes()[:-8])


def _torn_index(place):
    file = next(place.glob("contents-*/index.faiss"))
    file.write_bytes(file.read_bytes()[:40])


def _torn_manifest(place):
    (place / "manifest.json").write_text("{", "utf-8")


def _changed(**values):
    def change(place):
        manifest = json.loads((place / "manifest.json").read_text("utf-8"))
        (place / "manifest.json").write_text(json.dumps(manifest | values), "utf-8")

    return change


@pytest.mark.parametrize(
    "damage",
    [
        *(_torn_vectors, _torn_index, _torn_manifest),
        *(_changed(contents="../elsewhere"), _changed(kind="other"), _changed(pictures={"a.jpg": [1, 1, 7]})),
    ],
)
def test_damage_is_one_line(damage, pictures, tmp_path):
    open_index(tmp_path / "index", pictures, MAKER, Embedder())
    damage(tmp_path / "index")
    with pytest.raises(UserError, match="is damaged: remove that folder"):
        open_index(tmp_path / "index", pictures, MAKER, Embedder())


def test_what_cannot_become_an_index_is_refused(pictures, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        open_index(tmp_path / "index", tmp_path / "nowhere", MAKER, Embedder())
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no picture in it"):
        open_index(tmp_path / "index", tmp_path / "empty", MAKER, Embedder())
    with pytest.raises(UserError, match="holds other things"):
        open_index(pictures, pictures, MAKER, Embedder())
    with pytest.raises(UserError, match=r"\(4, 3\) for 4 pictures, and the index is of width 8"):
        open_index(tmp_path / "index", pictures, MAKER, lambda paths: np.ones((len(paths), 3)))
    with pytest.raises(UserError, match="none of its 4 files"):
        open_index(tmp_path / "index", pictures, MAKER, lambda paths: np.full((len(paths), 8), np.nan))
    _changed_format = tmp_path / "old"
    open_index(_changed_format, pictures, MAKER, Embedder())
    _changed(format=0)(_changed_format)
    with pytest.raises(UserError, match="format 0, and this version reads 1"):
        open_index(_changed_format, pictures, MAKER, Embedder())
    assert picture_index.FORMAT == 1
