"""`pangu restore`: a PNG of each picture's name, and one line for what cannot be."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from data_pipelines.images import decoding
from pangu_jax import cli
from pangu_jax.apps.vision.restoring import RunRestorer
from pangu_jax.runs import opening
from tests.apps.vision.test_restoring import opened


@pytest.fixture(scope="module")
def run():
    return opened()


@pytest.fixture
def pangu(run, monkeypatch, capsys, tmp_path):
    """Runs `pangu restore` in a folder of pictures; gives status, output and errors."""
    monkeypatch.setattr(opening, "open_run", lambda *arguments, **named: run)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        try:
            status = cli.main(["restore", "--run_dir", "r", *map(str, arguments)])
        except SystemExit as exit_:
            status = exit_.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def save(path, mode="RGB", size=(9, 7), **options):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), np.uint8)
    Image.fromarray(pixels, "RGBA").convert(mode).save(path, **options)
    return path


def test_pictures_of_all_kinds_and_sizes(pangu, run, tmp_path):
    names = [save(tmp_path / "a.jpg"), save(tmp_path / "b.png", "L", (5, 40)), save(tmp_path / "c.bmp", "P")]
    status, out, err = pangu(*names, "--task", "x2", "--out", "large")
    assert status == 0 and out == "3 of 3 pictures in large\n"
    assert [line.split(": ")[0] for line in err.splitlines()] == ["1 of 3", "2 of 3", "3 of 3"]
    assert "large/b.png, 40 x 5 to 80 x 10, " in err
    made = {path.name: decoding.decode(path.read_bytes(), "RGB") for path in (tmp_path / "large").iterdir()}
    assert {name: pixels.shape for name, pixels in made.items()} == {
        "a.png": (14, 18, 3), "b.png": (80, 10, 3), "c.png": (14, 18, 3)
    }  # fmt: skip
    assert Image.open(tmp_path / "large" / "b.png").mode == "L"
    expected = RunRestorer(run)(decoding.decode(names[0].read_bytes()), "x2")
    np.testing.assert_allclose(made["a.png"], expected, atol=0.51)


def test_what_cannot_be_decoded_is_a_line_and_the_others_are_written(pangu, tmp_path, monkeypatch):
    good = save(tmp_path / "good.png")
    (tmp_path / "cut.jpg").write_bytes(save(tmp_path / "whole.jpg", size=(90, 70)).read_bytes()[:900])
    (tmp_path / "text.png").write_text("no picture")
    see_through = save(tmp_path / "glass.png", "RGBA")
    large = save(tmp_path / "large.png", "L", (90, 71))
    monkeypatch.setattr(decoding, "MAX_PIXELS", 4 * 90 * 70)
    names = [tmp_path / "cut.jpg", tmp_path / "text.png", tmp_path / "nowhere.png", see_through, large, good]
    status, _, err = pangu(*names, "--task", "x2", "--out", "out", "--json", "rows.json")
    assert status == 2 and [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]
    lines = err.splitlines()
    assert len(lines) == 6 and "large.png: too many pixels: 90 x 71, 2 times as large" in lines[4]
    assert "cut.jpg: truncated" in lines[0] and "no picture of a known" in lines[1]
    assert "nowhere.png: cannot be read: No such file" in lines[2]
    assert "glass.png: transparent in places: lay it on a background first" in lines[3]
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [("refused" in row) for row in rows] == [True] * 5 + [False] and rows[-1]["to"] == [14, 18]


def test_alpha_that_hides_nothing_is_no_hindrance(pangu, tmp_path):
    opaque = Image.new("RGBA", (8, 8), (10, 200, 30, 255))
    opaque.save(tmp_path / "a.png")
    assert pangu(tmp_path / "a.png", "--task", "denoise", "--out", "out")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.png", "--task", "x3", "--out", "o"], "was not trained for x3: it can denoise, x2, deblock"),
        (["a.png", "--task", "x5", "--out", "o"], "argument --task: invalid choice: 'x5'"),
        (["a.png", "--task", "x2", "--sigma", "9", "--out", "o"], "--sigma is of noise"),
        (
            ["a.png", "--task", "denoise", "--sigma", "nan", "--out", "o"],
            "--sigma nan: give a number above 0",
        ),
        (["a.png", "b/a.jpg", "--task", "x2", "--out", "o"], "a.png and b/a.jpg would both be o/a.png"),
        (["a.png", "--task", "x2", "--out", "."], "a.png would be written over the picture itself"),
        (["a.png", "--task", "x2", "--out", "there"], "there/a.png is there already: give another folder"),
        (["a.png", "--task", "x2", "--out", "a.png"], "--out a.png is a file: give a folder"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_written(pangu, tmp_path, arguments, words):
    save(tmp_path / "a.png")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.png").write_bytes(b"kept")
    status, out, err = pangu(*arguments)
    assert status == 2 and out == "" and words in err and len(err.splitlines()) == 1
    assert (tmp_path / "there" / "a.png").read_bytes() == b"kept" and not (tmp_path / "o").exists()


def test_what_is_there_is_replaced_when_asked(pangu, tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "a.png").write_bytes(b"old")
    status, _, err = pangu("a.png", "--task", "denoise", "--out", "o", "--overwrite")
    assert status == 0 and "o/a.png, 7 x 9 to 7 x 9" in err
    assert Image.open(io.BytesIO((tmp_path / "o" / "a.png").read_bytes())).size == (9, 7)
