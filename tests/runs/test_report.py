"""report.html and the closing table of a run: what they say, and that data cannot break them."""

import json
import re

import matplotlib
import numpy as np
import pytest

from pangu_jax.errors import UserError
from pangu_jax.runs import charts, notices, report, results, units
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.runs.sessions import Session
from pangu_jax.runs.summary import summary_table
from tests.runs.reported import BASELINES, SAMPLE, Page, words_of


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


def test_what_a_person_must_be_told_is_told_everywhere(run_dir, caplog):
    """In the log, in the report and in the closing table; and no more when it no longer holds."""
    line = "the text of DIR: passed over: 2 files of kinds not known (.pdf 2) <b>[bold]"
    notices.write(RunDirectory(run_dir), [line])
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [line]
    run = results.read(run_dir)
    assert line in " ".join(" ".join(Page(report.render(run, run_dir)).words).split())
    assert line in summary_table({}, run, width=200).splitlines()
    notices.write(RunDirectory(run_dir), [])
    assert results.read(run_dir).notices == []


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


def test_a_value_that_is_not_finite_is_no_older_one(run_dir):
    with (run_dir / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 41, "loss": 4.0, "loss/span": null, "tokens_per_second": null}\n')
    run = results.read(run_dir)
    assert [task.train is None for task in run.tasks] == [False, False, True]
    assert run.newest["tokens_per_second"] == 1500.0 and "step" not in run.newest
    assert "span – 4.500 90.0" in words_of(run_dir)


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
