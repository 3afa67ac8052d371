"""A run directory of a language model as the loop leaves it, and the text of its report."""

import json
from html.parser import HTMLParser

from pangu_jax.runs import report, sessions, units
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.runs.sessions import Session

TASKS = {"causal": 5.1, "prefix": 5.0, "span": 4.4}
BASELINES = {task: {"unigram": 6.9, "bigram": 5.05} for task in TASKS}
SAMPLE = {
    "task": "prefix",
    "prompt": "今天<script>alert(1)</script>",
    "output": "[red]天气[/red]",
    "reference": "",
}


def write(folder):
    """A language model's run as the loop leaves it: killed after step 20, resumed, validated twice."""
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
