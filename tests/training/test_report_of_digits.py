"""A family that is no language: its report has its own unit, baselines and exhibits, and no word of text."""

import json
import re

from pangu_jax import train
from pangu_jax.runs import report, results
from tests.runs.reported import Page


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
    assert re.search(r"\d pixels/s, [^\0]*\n\nloss, nats per example\n", text)
    assert re.search(r"^task +train +held-out +class frequencies$", text, re.MULTILINE)
    assert "below the baseline" in text and "6 pictures in the report" in text and "[bold]seven" in text
    kept = json.loads((tmp_path / "units.json").read_text())
    assert kept["loss"] == "nats per example" and kept["tokens_per_second"] == "pixels per second"
    [session] = results.read(tmp_path).sessions
    assert (session.from_step, session.steps) == (0, 20) and session.version and session.started
