"""The three files of a sweep: every row and method is in them, and the page needs nothing else."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pangu_jax.apps.language.benchmarks.metrics import clue
from pangu_jax.apps.language.benchmarks.sweep import TOTALS
from pangu_jax.errors import UserError
from pangu_jax.evaluation import tables

VOID = {"meta", "br", "hr", "img", "input", "link"}
VALUES = {
    "prompt": (70, 75, 57, 71, 73),
    "majority": (50,) * 5,
    "head": (56, 61, 57.5, 60),
    "low": (3.25,) * 5,
}


class Nesting(HTMLParser):
    """Raises where a tag is closed that is not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def rows(tasks: tuple[str, ...]) -> list[dict]:
    return [
        dict(task=f"fewclue/{task}", method=method, split=split, seed=0, accuracy=value, examples=565)
        for task in tasks
        for method, values in VALUES.items()
        for split, value in enumerate(values)
    ]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tables.Written:
    known = rows(clue.FEWCLUE)
    known = [row for row in known if (row["task"], row["method"]) != ("fewclue/tnews", "prompt")]
    folder = tmp_path_factory.mktemp("tables") / "new"
    return tables.write(known, folder, "小样本 <5 splits>", 'sweep.tasks = ["<b>"]', "0123abc", totals=TOTALS)


def test_json_holds_all_rows(written: tables.Written) -> None:
    found = json.loads(written.json.read_text(encoding="utf-8"))
    assert found.keys() == {"title", "commit", "recipe", "rows"}
    assert found["commit"] == "0123abc" and len(found["rows"]) == 9 * 19 - 5
    assert found["rows"][0] == rows(("eprstmt",))[0]


def test_markdown_shows_every_method_and_every_gap(written: tables.Written) -> None:
    text = written.markdown.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines[:12]} == {7} and {line.count("|") for line in lines[12:]} == {
        10
    }
    assert "| task | metric | majority | prompt | head | low |" in text  # baselines first
    chid = (
        "| fewclue/chid | accuracy | 50.0 (0.0), n 5 | 69.2 (7.1), n 5 | 58.6 (2.3), n 4 | 3.2 (0.0), n 5 |"
    )
    assert chid in lines
    assert "| FewCLUE score | mean of tasks | 50.0 | – | 58.6 | 3.2 |" in text
    assert "\nFewCLUE score of prompt: FewCLUE: no mean without tnews" in text
    assert (
        "| fewclue/chid | head - prompt | -9.6 |" in text
        and "| fewclue/tnews | head - prompt | no pair |" in text
    )
    assert "fewclue/chid, head - prompt, without partner (method, split, seed): prompt 4 0" in text
    assert "fewclue/tnews, head - prompt, without partner" not in text  # its row says that there is no pair


def test_page_is_whole_and_stands_alone(written: tables.Written) -> None:
    text = written.html.read_text(encoding="utf-8")
    page = Nesting(text)
    assert "小样本 <5 splits>" in page.text and 'sweep.tasks = ["<b>"]' in page.text  # escaped, not markup
    assert not re.search(r"(?:src|href)=[\"'](?!#)|url\((?!#)|<script", text)
    assert "default-src 'none'" in text and "prefers-color-scheme: dark" in text
    # Plots take their colours from the page, and every one used is defined there, light and dark.
    assert text.count("<svg") == 1 + 6 and not re.search("#0000|#00010", text)
    for variable in set(re.findall(r"var\((--[\w-]+)\)", text)):
        assert text.count(f"{variable}:") == (1 if variable in ("--latin", "--han") else 2), variable
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"""(?:href="|url\()#([^")]+)""", text)) <= set(ids)


def test_the_same_rows_make_the_same_bytes(tmp_path: Path) -> None:
    one, other = (tables.write(rows(("chid",)), tmp_path / name, "one", "", "abc") for name in "ab")
    assert all(path.read_bytes() == same.read_bytes() for path, same in zip(one, other, strict=True))


def test_one_task_one_method(tmp_path: Path) -> None:
    written = tables.write(rows(("chid",))[:1], tmp_path, "one", "", "abc")
    assert "Paired" not in written.markdown.read_text(encoding="utf-8")
    assert written.html.read_text(encoding="utf-8").count("<svg") == 1


def test_chosen_comparisons_and_errors(tmp_path: Path) -> None:
    known = rows(("chid",))
    written = tables.write(known, tmp_path, "one", "", "abc", compare=[("prompt", "head")])
    assert written.html.read_text(encoding="utf-8").count("<svg") == 2
    with pytest.raises(UserError, match="no row of method 'tail'"):
        tables.write(known, tmp_path, "one", "", "abc", compare=[("prompt", "tail")])
    with pytest.raises(UserError, match="not one row"):
        tables.write([], tmp_path, "one", "", "abc")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="give another directory"):
        tables.write(known, tmp_path / "file", "one", "", "abc")


def test_methods_measured_on_a_part_say_so(tmp_path: Path) -> None:
    rows = [
        {"task": "fewclue/csl", "method": method, "split": "0", "seed": 0, "accuracy": 50.0, "examples": size}
        for method, size in (("zero_shot", 2838), ("head", 600), ("prompt", 600))
    ]
    written = tables.write(rows, tmp_path, "t", "", "")
    told = "fewclue/csl is measured everywhere: zero_shot on 2,838; head, prompt on 600 examples"
    assert told in written.markdown.read_text("utf-8") and told in written.html.read_text("utf-8")
