"""Titles of scientific abstracts (CSL): a base model tuned in two ways, beside the lead of the abstract.

Choosing: the title is one of the abstract's first clauses. The model weighs "place：clause" for each of them
and learns which is nearest to the true title (ROUGE-L), as a choice among candidates. Writing: the decoder
reads the abstract and writes the title, as `pangu tune` and `pangu eval` do with the pattern `close`.
Training is dev.tsv, the test is test.tsv (the published training file is not part of the data
folder). Nothing is chosen by the test: the steps are given.

    python -m benchmarks.titles --run_dir runs/fewclue [--seeds 3] [--write] [--data_dir ../shared/data]
"""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data_pipelines.text import benchmarks
from data_pipelines.text.benchmarks import Example
from pangu_jax.apps.language import loading
from pangu_jax.apps.language.benchmarks.metrics import rouge
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.apps.language.tuning.examples import Labelled, shape_of
from pangu_jax.apps.language.tuning.measuring import measure
from pangu_jax.apps.language.tuning.settings import Fit, Objective, OptimizerSpec, Tuning
from pangu_jax.apps.language.tuning.trials import Trials

DATA = Path(os.environ.get("PANGU_DATA_DIR") or Path(__file__).parents[1] / "../shared/data")
CLAUSES, SHORTEST, LONGEST = 8, 6, 24  # how many are weighed, and their characters
PLACES = "一二三四五六七八"
LEAD = 30  # characters, half of all titles have 15 to 22
# What a clause of an abstract begins with and a title does not.
OPENING = re.compile(
    r"^(本文|文章|该文|文中|并且?|同时|为此|因此|针对|为了?|首先|其次|然后|最后|通过|利用|采用|运用|应用|根据"
    r"|介绍了?|研究了?|分析了?|探讨了?|讨论了?|提出了?|给出了?|设计了?|建立了?|一种|一个|在|对|以|从|的|主要)+"
)
SAMPLES = 2000  # of the bootstrap


def clauses(text: str) -> list[str]:
    """The first clauses of an abstract without what opens them, at least one."""
    parts = (OPENING.sub("", part.strip())[:LONGEST] for part in re.split(r"[。；;，,：:？！]", text))
    found = list(dict.fromkeys(part for part in parts if len(part) >= SHORTEST))
    return found[:CLAUSES] or [text[:LONGEST]]


def common(first: str, second: str) -> float:
    """ROUGE-L F1 of two texts by characters, 0 to 1."""
    row = [0] * (len(second) + 1)
    for a in first:
        before = row[:]
        for place, b in enumerate(second):
            row[place + 1] = before[place] + 1 if a == b else max(before[place + 1], row[place])
    return 2 * row[-1] / (len(first) + len(second))


def nearest(example: Example) -> int:
    """Which clause is nearest to the title."""
    scores = [common(clause, example.references[0]) for clause in clauses(example.fields["text"])]
    return scores.index(max(scores))


def choosing(loaded: LoadedModel, examples: Sequence[Example]) -> list[Labelled]:
    """Clauses as candidates, each with its place."""
    inputs, prefix = loaded.encode_inputs(""), loaded.encode_target("标题")
    return [
        Labelled(
            Query(
                inputs,
                prefix,
                tuple(
                    loaded.encode_target(f"{place}：{clause}")
                    for place, clause in zip(PLACES, clauses(example.fields["text"]), strict=False)
                ),
            ),
            nearest(example),
        )
        for example in examples
    ]


def fit(steps: int) -> Fit:
    """Of both ways."""
    return Fit(OptimizerSpec(learning_rate=1e-3), steps, evaluate_every=50)


def chosen(
    loaded: LoadedModel, train: Sequence[Example], test: Sequence[Example], seed: int, steps: int
) -> list[str]:
    """The clause that a tuned model chooses for each test example."""
    learnt, asked = choosing(loaded, train), choosing(loaded, test)
    shape = shape_of([*learnt, *asked])
    tuning = Tuning(objective=Objective(normalised=True))  # clauses differ in length
    tuned = Trials(loaded.config, loaded.params, tuning, fit(steps), shape)(
        learnt, seed=seed, on_row=lambda row: print(f"  choosing, seed {seed}: {row}", flush=True)
    )
    scores_NxC = measure(loaded.config, tuned.params, asked, tuning, shape).scores
    return [
        clauses(example.fields["text"])[choice]
        for example, choice in zip(test, np.argmax(scores_NxC, axis=1), strict=True)
    ]


def written(
    loaded: LoadedModel, train: Sequence[Example], test: Sequence[Example], seed: int, steps: int
) -> list[str]:
    """The title that a tuned model writes."""
    from pangu_jax.apps.language.benchmarks import free_text
    from pangu_jax.apps.language.decoding.settings import Beam
    from pangu_jax.apps.language.tuning.tune import labelled

    pattern = benchmarks.get("csl/title").patterns["close"]
    short = [example for example in train if len(example.fields["text"]) <= 220]
    tuning = Tuning(objective=Objective(kind="answer"))
    tuned = Trials(loaded.config, loaded.params, tuning, fit(steps))(
        labelled(loaded, pattern, short),
        seed=seed,
        on_row=lambda row: print(f"  writing, seed {seed}: {row}", flush=True),
    )
    model = LoadedModel(loaded.config, tuned.params, loaded.vocabulary)
    texts = free_text.answer(model, pattern, test, Beam(beams=4, length_penalty=1.0), 32, 220, 220).texts
    return [texts[example.id] for example in test]


def table(predicted: Mapping[str, Sequence[Sequence[str]]], right: Sequence[str]) -> str:
    """Markdown: ROUGE of each way, mean over its seeds, and ROUGE-L against the lead, paired by abstract.

    Args:
      predicted: by the way's name, texts of each seed; the first is what the others are held against.
      right: the true titles.
    """
    draws = np.random.default_rng(0).integers(len(right), size=(SAMPLES, len(right)))
    lines = ["| | ROUGE-1 | ROUGE-2 | ROUGE-L | over the lead |", "|---|---|---|---|---|"]
    first_N = None
    for name, seeds in predicted.items():
        found = [rouge.evaluate(texts, right) for texts in seeds]
        means = [np.mean([of.scores[f"ROUGE-{kind}"].f1 for of in found]) for kind in ("1", "2", "L")]
        each_N = 100 * np.mean(
            [[common(a, b) for a, b in zip(texts, right, strict=True)] for texts in seeds], 0
        )
        first_N = each_N if first_N is None else first_N
        low, high = np.percentile(np.mean((each_N - first_N)[draws], axis=1), [2.5, 97.5])
        spread = (
            f" ({np.std([of.scores['ROUGE-L'].f1 for of in found], ddof=1):.1f})" if len(seeds) > 1 else ""
        )
        lines.append(
            f"| {name} | {means[0]:.1f} | {means[1]:.1f} | {means[2]:.1f}{spread} "
            f"| {np.mean(each_N - first_N):+.1f} [{low:+.1f}, {high:+.1f}] |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--run_dir", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--write", action="store_true", help="also tune a model that writes titles")
    parser.add_argument("--data_dir", type=Path, default=DATA)
    flags = parser.parse_args()
    task, loaded = benchmarks.get("csl/title"), loading.load(flags.run_dir)
    train, test = (task.examples(split, flags.data_dir) for split in ("dev", "test"))
    texts = [example.fields["text"] for example in test]
    predicted = {
        f"lead sentence, cut at {LEAD} characters": [[rouge.lead_sentence(text, LEAD) for text in texts]],
        "lead sentence, whole": [[rouge.lead_sentence(text) for text in texts]],
        "first clause without its opening": [[clauses(text)[0] for text in texts]],
        "clause chosen by the tuned model": [
            chosen(loaded, train, test, seed, flags.steps) for seed in range(flags.seeds)
        ],
        "nearest clause (what choosing could reach)": [[clauses(e.fields["text"])[nearest(e)] for e in test]],
    }
    if flags.write:
        predicted["written by the tuned model"] = [written(loaded, train, test, 0, flags.steps)]
    print(table(predicted, [example.references[0] for example in test]))


if __name__ == "__main__":
    main()
