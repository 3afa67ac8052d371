"""Pictures and tables of a run: kept in its directory, drawn in its report, and no way out of either."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image as PillowImage

from pangu_jax.errors import UserError
from pangu_jax.runs import exhibit_files, inline_pictures, report, results
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.runs.summary import summary_table
from pangu_jax.workloads.exhibits import Image, Table, Text
from tests.runs.reported import Page, words_of


def test_pictures_and_tables(run_dir):
    """They are in the page itself, escaped and bounded; a later finish replaces them."""
    directory, dots = RunDirectory(run_dir), np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    wide = np.zeros((4, 3000, 1), np.uint8)
    rows = [("<i>a</i>", np.float32(0.5), 1234), ("b", float("nan"), 2)] + [("more", 0.1, 1)] * 500
    shown = [Image("a/../<b>", dots), Image("天气", wide), Table("T & [red]", ("name", "[bold]x", "n"), rows)]
    exhibit_files.write(directory, shown)
    assert sorted(path.name for path in directory.pictures.iterdir()) == ["001-a-b.png", "002-天气.png"]
    page = Page(text := report.write(run_dir).read_text("utf-8"))
    words = " ".join(" ".join(page.words).split())
    assert (
        "T & [red] name [bold]x n <i>a</i> 0.5 1,234 b – 2 more" in words
        and "302 more rows in exhibits.json" in words
    )
    assert page.tags.count("img") == 2 and "<i>a<" not in text
    small, large = [
        base64.b64decode(link.partition(",")[2]) for link in page.links if link.startswith("data:")
    ]
    assert np.array_equal(np.asarray(PillowImage.open(io.BytesIO(small))), dots)
    assert PillowImage.open(io.BytesIO(large)).size[0] == exhibit_files.LARGEST_SIDE
    assert 'width="480" height="480" alt="a/../&lt;b&gt;" class="enlarged"' in text
    table = summary_table({}, results.read(run_dir), width=100)
    assert "T & [red]" in table and "and 494 more" in table and "2 pictures in the report" in table

    exhibit_files.write(directory, [])
    assert len(results.read(run_dir).exhibits.pictures) == 2
    exhibit_files.write(directory, [Image("", dots[..., :1])])
    assert [path.name for path in directory.pictures.iterdir()] == ["001.png"]
    assert results.read(run_dir).exhibits.tables == []


def test_a_page_shows_no_other_file_and_stays_small(run_dir, monkeypatch):
    directory = RunDirectory(run_dir)
    dots = np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype=np.uint8)
    exhibit_files.write(directory, [Image(str(number), dots) for number in range(3)])
    monkeypatch.setattr(inline_pictures, "ALL_FILES", 2 * (directory.pictures / "001-0.png").stat().st_size)
    assert "1 more in exhibits/, too large for this page." in words_of(run_dir)
    kept = json.loads(directory.exhibits.read_text())
    kept["pictures"][0]["file"] = "../samples.json"
    directory.exhibits.write_text(json.dumps(kept))
    assert [picture.title for picture in results.read(run_dir).exhibits.pictures] == ["1", "2"]
    (directory.pictures / "002-1.png").write_text("GIF89a")
    with pytest.raises(UserError, match=r"002-1.png is damaged: no PNG"):
        report.write(run_dir)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((96, 256), (192, 512)),  # three rows of eight pictures of 32 pixels
        ((24, 64), (264, 704)),
        ((192, 260), (384, 520)),  # six pictures of 32 pixels, and seven neighbours of each
        ((400, 20), (400, 20)),
        ((672, 1000), (672, 1000)),
    ],
)
def test_small_pictures_are_enlarged_by_a_whole_factor_to_about_the_page(size, shown):
    """The PNG stays as it is."""
    pixels = np.zeros((*size, 3), np.uint8)
    found = inline_pictures.inline_picture("a", exhibit_files.png(pixels))
    assert (found.height, found.width) == shown and found.enlarged == (size != shown)
    file = io.BytesIO(base64.b64decode(found.address.partition(",")[2]))
    assert PillowImage.open(file).size == size[::-1]


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (np.zeros((2, 2, 1)), r"picture 'a': its pixels are float64 \[2, 2, 1\]; give uint8"),
        (np.zeros((2, 2), np.uint8), r"are uint8 \[2, 2\]"),
        (np.zeros((2, 0, 3), np.uint8), r"are uint8 \[2, 0, 3\]"),
        (np.zeros((2, 2, 4), np.uint8), r"are uint8 \[2, 2, 4\]"),
    ],
)
def test_a_picture_that_is_none(pixels, why):
    with pytest.raises(UserError, match=why):
        Image("a", pixels)


def test_a_table_with_a_short_row():
    with pytest.raises(UserError, match="table 'a': row 2 has 1 cells and there are 2 headings"):
        Table("a", ("x", "y"), [(1, 2), (1,)])


def test_a_drawn_text_is_kept_and_shown_beside_the_likeliest(run_dir):
    exhibit_files.write(
        RunDirectory(run_dir), [Text("prefix", "今天", "，，，", "天气很好", "<b>天气</b>不错")]
    )
    (kept,) = results.read(run_dir).exhibits.texts
    assert (kept.output, kept.drawn, kept.reference) == ("，，，", "<b>天气</b>不错", "天气很好")
    shown = words_of(run_dir)
    assert "Output ，，， Output, drawn <b>天气</b>不错 Reference 天气很好" in " ".join(shown.split())
    lines = [line.split() for line in summary_table({}, results.read(run_dir), width=100).splitlines()]
    assert ["drawn", "<b>天气</b>不错"] in lines and ["output", "，，，"] in lines
