"""report.html and the closing table of a run: what they say, and that data cannot break them."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
from PIL import Image as PillowImage

from pangu_jax import train
from pangu_jax.errors import UserError
from pangu_jax.runs import charts, exhibit_files, inline_pictures, report, results, sessions, units
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.runs.sessions import Session
from pangu_jax.runs.summary import summary_table
from pangu_jax.workloads.exhibits import Image, Table

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
    """A language model's run as the loop leaves it: killed after step 20, resumed, validated twice."""
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
    (folder / "recipe.gin").write_text("train.workload = @LanguageModel()\ntrain.steps = %STEPS  # 40\n")
    directory = RunDirectory(folder)
    units.record(directory, units.of_trainer("nats per token", "tokens"))
    sessions.write(directory, [Session(step, 40) for step in (0, 20, 40)])
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


def words_of(run_dir) -> str:
    """The text of a run's report, written anew."""
    return " ".join(" ".join(Page(report.write(run_dir).read_text("utf-8")).words).split())


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
    assert "Task Train Held-out Perplexity Unigram Bigram causal 5.200 5.200 181.3 6.900 5.050" in words
    assert (
        "Loss in nats per token; train at the last logged step, held-out at step 40. Green: below both"
        in words
    )
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
    for name in ("baselines", "samples", "units", "environment"):
        (run_dir / f"{name}.json").unlink()
    (run_dir / "sessions.jsonl").unlink()
    (run_dir / "recipe.gin").unlink()
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
    (run_dir / "samples.json").unlink()
    (run_dir / "sessions.jsonl").write_text('{"from_step": 0}\n{"from')
    with pytest.raises(UserError, match=r"sessions.jsonl, line 2 is not a session"):
        report.write(run_dir)
    (run_dir / "sessions.jsonl").unlink()
    (run_dir / "exhibits.json").write_text('{"tables": [{"title": "a"}]}')
    with pytest.raises(UserError, match=r"exhibits.json is damaged"):
        report.write(run_dir)


def test_a_long_run_is_thinned_without_losing_its_mean():
    many = results.Series(np.arange(1, 100_001), np.random.default_rng(0).normal(size=100_000))
    few = charts._thinned(many)
    assert len(few.steps_N) <= charts.POINTS and few.steps_N[-1] == 100_000
    assert few.values_N.mean() == pytest.approx(many.values_N.mean(), abs=1e-9)
    assert charts.moving_mean(np.array([1.0, 2.0, 3.0, 10.0])) == pytest.approx([1.5, 2.0, 5.0, 6.5])


def test_a_directory_of_version_0_1_has_the_same_report(run_dir):
    """It says its sessions in run.log, its steps in recipe.gin, and its unit nowhere."""
    now = words_of(run_dir)
    for name in ("units.json", "sessions.jsonl"):
        (run_dir / name).unlink()
    assert words_of(run_dir) != now
    (run_dir / "run.log").write_text(
        "2026-01-01 00:00:00,000 INFO pangu_jax.training.train: resuming /runs/a from step 20\n"
        "2026-01-01 00:00:01,000 INFO pangu_jax.training.train: resuming /runs/a from step 40\n"
    )
    tokens = {task: losses | {"tokens": 3625} for task, losses in BASELINES.items()}
    (run_dir / "baselines.json").write_text(json.dumps(tokens))
    assert words_of(run_dir) == now
    assert results.read(run_dir).sessions == [Session(0), Session(20), Session(40, steps=40)]


def test_a_session_that_resumes_from_before_another_takes_its_place():
    assert sessions.resumes([Session(step) for step in (0, 12, 18)]) == [12, 18]
    assert sessions.resumes([Session(step) for step in (0, 12, 18, 12)]) == [12]
    assert sessions.resumes([Session(step) for step in (0, 12, 6, 0)]) == []


def test_metrics_of_other_evaluators(run_dir):
    """They have a line and a curve each, with their unit, and are held out without saying so."""
    with (run_dir / "metrics.jsonl").open("a") as stream:
        for step in (20, 40):
            stream.write(json.dumps({"step": step, "knn/accuracy": 0.125 * step, "fid": 30.123456}) + "\n")
        stream.write(json.dumps({"step": 40, "validation_accuracy": 0.25}) + "\n")
    units.record(RunDirectory(run_dir), {"knn/accuracy": "percent", "fid": ""})
    words = words_of(run_dir)
    assert "Metric Train Held-out Unit accuracy 0.1 0.25 knn/accuracy – 5 percent fid – 30.12" in words
    assert "knn/accuracy held-out 5 percent" in words and "accuracy train 0.1, held-out 0.25" in words
    run = results.read(run_dir)
    train, held_out = run.curves("knn/accuracy")
    assert not len(train.steps_N) and held_out.values_N.tolist() == [2.5, 5.0]
    assert [len(series.steps_N) for series in run.curves("accuracy")] == [20, 1]
    table = summary_table({}, run, width=100)
    assert re.search(r"^knn/accuracy +– +5 +percent$", table, re.MULTILINE)


def test_units_are_written_when_one_is_new(tmp_path):
    directory = RunDirectory(tmp_path)
    units.record(directory, {"loss": "nats per token", "mfu": ""})
    assert units.read(directory) == {"loss": "nats per token"}
    written = directory.units.stat().st_ino
    units.record(directory, {"loss": "nats per token", "mfu": ""})
    assert directory.units.stat().st_ino == written
    units.record(directory, {"rmse/z500": "m", "loss": ""})
    assert units.read(directory) == {"rmse/z500": "m"}
    parts = {"loss": "nats", "rmse": "K"}
    assert units.unit_of("validation_loss/span", parts) == "nats"
    assert units.unit_of("validation_rmse", parts) == "K" and units.unit_of("lossless", parts) == ""


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
    assert 'width="160" height="160" alt="a/../&lt;b&gt;" class="enlarged"' in text
    table = summary_table({}, results.read(run_dir), width=100)
    assert (
        "T & [red]" in table and "and 494 more in the report" in table and "2 pictures in the report" in table
    )

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


def test_the_report_of_another_family(recipe, tmp_path):
    """Its loss has another unit and no perplexity; its baselines and exhibits are shown by kind."""
    bindings = ["train.workload=@ShownDigits()", "train.validate_every=10"]
    text = train.run([str(recipe)], bindings, tmp_path)["text"]
    page = Page(report.write(tmp_path).read_text("utf-8"))
    words = " ".join(" ".join(page.words).split())
    titles = ["Result by task", "Other metrics", "Generated", "Pictures", "Tables", "Optimisation and speed"]
    assert [word for word in page.words if word in titles] == titles
    assert "Loss, nats per example" in words and "Loss in nats per example; train at" in words
    assert re.search(r"Task Train Held-out Class frequencies digits \d\.\d{3} \d\.\d{3} 2\.\d{3} ", words)
    assert "The digits task is below its class frequencies baseline." in words
    assert re.search(r"accuracy train 0\.\d+, held-out 0\.\d+", words)
    assert "Pixels per second, median" in words and "Pixels seen" in words and "oken" not in words
    assert page.tags.count("img") == 6 and "unit 5 & more" in words
    assert re.search(r"recognised digit share <0> [01]\.?\d*", words) and "[bold]seven" in words
    assert re.search(r"\d pixels/s, .*\n\nloss, nats per example\n", text)
    assert re.search(r"^task +train +held-out +class frequencies$", text, re.MULTILINE)
    assert "below the baseline" in text and "6 pictures in the report" in text and "[bold]seven" in text
    kept = json.loads((tmp_path / "units.json").read_text())
    assert kept["loss"] == "nats per example" and kept["tokens_per_second"] == "pixels per second"
    [session] = results.read(tmp_path).sessions
    assert (session.from_step, session.steps) == (0, 20) and session.version and session.started


def test_the_closing_table(run_dir):
    summary = {"step": 400, "steps": 400, "seconds": 372.4, "loss": 4.8, "validation_loss": 4.9, "mfu": 0.631}
    summary["tokens_per_second"] = 2893.2
    (run_dir / "samples.json").write_text(json.dumps([SAMPLE] * 9))
    text = summary_table(summary, results.read(run_dir), run_dir / "report.html", width=100)
    first, *_ = text.splitlines()
    assert first == "step 400 of 400, 6 min 12 s, 2,893 tokens/s, MFU 63.1%, loss 4.800, held-out loss 4.900"
    assert re.search(
        r"^loss, nats per token\ntask +train +held-out +perplexity +unigram +bigram$", text, re.M
    )
    row = next(line for line in text.splitlines() if line.startswith("span"))
    assert row.split(maxsplit=6) == [
        "span",
        "4.500",
        "4.500",
        "90.0",
        "6.900",
        "5.050",
        "below both baselines",
    ]
    assert text.count("[red]天气[/red]") == 4 and "今天<script>" in text
    assert text.endswith(f"report: {run_dir / 'report.html'}")
    early = "stopped early: the same command resumes it"
    assert summary_table({"step": 3, "steps": 10}) == f"step 3 of 10, {early}"
    unvalidated = {"step": 10, "steps": 10, "finished": False}
    assert summary_table(unvalidated) == f"step 10 of 10, {early}"
    alone = results.Results(RunDirectory(run_dir), units={"loss": "m"})
    assert summary_table({"step": 3, "loss": 0.5}, alone) == "step 3, loss 0.500 m"
