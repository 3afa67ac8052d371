"""report.html and the closing table of a run: what they say, and that data cannot break them."""

import json
import re
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest

from pangu_jax.errors import UserError
from pangu_jax.runs import charts, report, results
from pangu_jax.runs.summary import summary_table

TASKS = {"causal": 5.1, "prefix": 5.0, "span": 4.4}
BASELINES = {task: {"unigram": 6.9, "bigram": 5.05} for task in TASKS}
SAMPLE = {
    "task": "prefix",
    "prompt": "今天<script>alert(1)</script>",
    "output": "[red]天气[/red]",
    "reference": "",
}


@pytest.fixture
def run_dir(tmp_path):
    """A run as the loop leaves it: killed after step 20, resumed, validated twice."""
    folder = tmp_path / 'run <b>&"1'
    (folder / "checkpoints" / "40").mkdir(parents=True)
    rows = []
    for step in range(2, 41, 2):
        losses = {f"loss/{task}": 4 / step + end for task, end in TASKS.items()}
        seconds = 10.0 + step if step <= 20 else step + 5.0
        speed = {"tokens_per_second": 1500.0, "mfu": 0.5, "step_seconds": 2.0} if step > 2 else {"mfu": None}
        rows.append({"step": step, "loss": 4 / step + 4.8, "grad_norm": 1.0, "learning_rate": 1e-3} | losses)
        rows[-1] |= speed | {"seconds": seconds, "host_memory_gib": 1.5, "accuracy": 0.1}
        if step % 20 == 0:
            held_out = {f"validation_loss/{task}": end + 0.1 for task, end in TASKS.items()}
            rows.append({"step": step, "validation_loss": 4.9} | held_out)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "run.log").write_text(
        "2026-01-01 00:00:00,000 INFO pangu_jax.training.train: resuming /runs/a from step 20\n"
        "2026-01-01 00:00:01,000 INFO pangu_jax.training.train: resuming /runs/a from step 40\n"
    )
    (folder / "recipe.gin").write_text("STEPS = 40\ntrain.steps = %STEPS  # 40\n")
    (folder / "baselines.json").write_text(json.dumps(BASELINES))
    (folder / "samples.json").write_text(json.dumps([SAMPLE]))
    (folder / "environment.json").write_text(
        json.dumps({"devices": "1 x cpu", "libraries": {"jax": "0.10.2"}})
    )
    return folder


class Page(HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [
            v for k, v in attributes if k in ("src", "href", "xlink:href", "srcset", "action", "data")
        ]

    def handle_data(self, data):
        self.words.append(data)


def test_a_whole_report(run_dir):
    before = dict(matplotlib.rcParams)
    path = report.write(run_dir)
    text = path.read_text("utf-8")
    page = Page(text)
    words = " ".join(" ".join(page.words).split())

    assert path == run_dir / "report.html" and dict(matplotlib.rcParams) == before
    assert "40 steps in 1 min 15 s; held-out loss 4.900. Below the baselines: span; 2 not yet." in words
    assert page.tags.count("svg") == 4 + 1 + 5  # losses, accuracy, optimisation and speed
    assert "Resumed after step 20" in words and "Newest checkpoint step 40" in words
    assert "causal 5.200 5.200 181.3 6.900 5.050" in words
    assert "unigram 6.90" in words and "jax 0.10.2" in words and "train.steps = %STEPS # 40" in words
    # Nothing is fetched and nothing runs: the only addresses are markers and clip paths inside the page.
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    ids = re.findall(r' id="([^"]*)"', text)
    assert ids and len(ids) == len(set(ids))
    # Texts of the data are shown, not obeyed.
    assert SAMPLE["prompt"] in words and SAMPLE["output"] in words
    assert page.tags.count("b") == text.count("<figcaption>") and run_dir.name in words


def test_what_is_missing_is_left_out(run_dir):
    for name in ("baselines.json", "samples.json", "recipe.gin", "environment.json"):
        (run_dir / name).unlink()
    rows = [line for line in (run_dir / "metrics.jsonl").read_text().splitlines() if "validation" not in line]
    (run_dir / "metrics.jsonl").write_text("\n".join(rows[-2:]) + "\n")
    titles = re.findall("<h2>(.*?)</h2>", report.write(run_dir).read_text())
    assert titles == [
        "Loss",
        "Result by task",
        "Other metrics",
        "Optimisation and speed",
        "Repeat and resume",
    ]


def test_a_run_that_has_only_begun(run_dir):
    (run_dir / "metrics.jsonl").write_text("")
    assert "No step is on record yet" in report.write(run_dir).read_text()
    (run_dir / "metrics.jsonl").write_text(
        '{"step": 1, "loss": 9.0, "grad_norm": 0.0, "mfu": null}\n{"step": 2, "lo'
    )
    assert "At step 1 of 40; training loss 9.000" in report.write(run_dir).read_text()


def test_errors_name_the_place(run_dir, tmp_path):
    with pytest.raises(UserError, match="there is no run directory"):
        report.write(tmp_path / "absent")
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match="holds no run"):
        report.write(tmp_path / "photos")
    assert not list((tmp_path / "photos").iterdir())
    (run_dir / "samples.json").write_text("[{")
    with pytest.raises(UserError, match=r"samples.json is damaged"):
        report.write(run_dir)


def test_a_long_run_is_thinned_without_losing_its_mean():
    many = results.Series(np.arange(1, 100_001), np.random.default_rng(0).normal(size=100_000))
    few = charts._thinned(many)
    assert len(few.steps_N) <= charts.POINTS and few.steps_N[-1] == 100_000
    assert few.values_N.mean() == pytest.approx(many.values_N.mean(), abs=1e-9)
    assert charts.moving_mean(np.array([1.0, 2.0, 3.0, 10.0])) == pytest.approx([1.5, 2.0, 5.0, 6.5])


def test_the_closing_table(tmp_path):
    summary = {"step": 400, "steps": 400, "seconds": 372.4, "loss": 4.8, "validation_loss": 4.9, "mfu": 0.631}
    summary |= {"tokens_per_second": 2893.2} | {f"loss/{task}": end for task, end in TASKS.items()}
    summary |= {f"validation_loss/{task}": end + 0.1 for task, end in TASKS.items()}
    text = summary_table(summary, BASELINES, [SAMPLE] * 9, tmp_path / "report.html", width=100)
    first, *_ = text.splitlines()
    assert first == "step 400 of 400, 6 min 12 s, 2,893 tokens/s, MFU 63.1%, loss 4.800, held-out loss 4.900"
    row = next(line for line in text.splitlines() if line.startswith("span"))
    assert row.split(maxsplit=6) == [
        "span",
        "4.400",
        "4.500",
        "90.0",
        "6.900",
        "5.050",
        "below both baselines",
    ]
    assert text.count("[red]天气[/red]") == 4 and "今天<script>" in text
    assert text.endswith(f"report: {tmp_path / 'report.html'}")
    early = "stopped early: the same command goes on"
    assert summary_table({"step": 3, "steps": 10}, {}) == f"step 3 of 10, {early}"
    unvalidated = {"step": 10, "steps": 10, "finished": False}
    assert summary_table(unvalidated, {}) == f"step 10 of 10, {early}"
