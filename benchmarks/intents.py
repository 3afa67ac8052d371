"""Several intents in one sentence: CrossWOZ user turns, with pairs of intents that training never shows.

Training is val.json without the held-out pairs (the published training file is not part of the data folder),
the test is test.json. Synthetic "A and B" sentences would leak the conjunction; these turns were typed by
people, and a turn of a held-out pair can only be right by composing what was learnt of each.

A model that `pangu tune --gin_file tuning/intents.gin` made writes the sorted list of intents:

    python -m benchmarks.intents [--run_dir runs/intents ...] [--data_dir ../shared/data]
"""

import argparse
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_pipelines.text import benchmarks
from data_pipelines.text.benchmarks import Example
from pangu_jax.apps.language.benchmarks.metrics import intents

DATA = Path(os.environ.get("PANGU_DATA_DIR") or Path(__file__).parents[1] / "../shared/data")
TASK = "dialogue/crosswoz"
TRAIN = "val_seen_pairs"
TOKENS, LENGTH = 48, 200  # of an answer, at most; characters of a turn
PARTS = {"all turns": "test", "seen pairs": "test_seen_pairs", "held-out pairs": "test_new_pairs"}


def majority(train: Sequence[Example], test: Sequence[Example]) -> list[frozenset[str]]:
    """The most frequent set of training, for every turn."""
    ((most, _),) = Counter(example.label for example in train).most_common(1)
    return [intents.parse(most)] * len(test)


def linear(
    train: Sequence[Example], test: Sequence[Example], longest: int, fields: Sequence[str] = ("text",)
) -> list[frozenset[str]]:
    """One logistic regression per intent on tf-idf of the character n-grams of each field, 1 to `longest`.

    Its C of 100 is by the last fifth of val.json: exact set 72.0 at 3, 77.0 at 30, 78.1 at 300.
    """
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import MultiLabelBinarizer
    from threadpoolctl import threadpool_limits

    labels = MultiLabelBinarizer()
    seen, unseen = [], []
    for field in fields:
        weights = TfidfVectorizer(analyzer="char", ngram_range=(1, longest), sublinear_tf=True)
        seen.append(weights.fit_transform(example.fields[field] for example in train))
        unseen.append(weights.transform(example.fields[field] for example in test))
    model = OneVsRestClassifier(LogisticRegression(C=100, max_iter=1000))
    with threadpool_limits(1):  # products so small that a second thread of BLAS only waits
        model.fit(sparse.hstack(seen), labels.fit_transform([intents.parse(e.label) for e in train]))
        predicted = model.predict(sparse.hstack(unseen))
    return list(map(frozenset, labels.inverse_transform(predicted)))


def written(run_dir: str, test: Sequence[Example]) -> list[frozenset[str]]:
    """What a tuned model writes, greedily, under the pattern that it was tuned with."""
    from pangu_jax.apps.language import loading
    from pangu_jax.apps.language.benchmarks import free_text
    from pangu_jax.apps.language.decoding.settings import Greedy

    task, loaded = benchmarks.get(TASK), loading.load(run_dir)
    pattern = task.patterns[loaded.manifest["tuning"]["pattern"]]
    texts = free_text.answer(loaded, pattern, test, Greedy(), TOKENS, LENGTH, LENGTH).texts
    keys = {word: label for label, word in task.names.items()}
    return [frozenset(keys.get(w, w) for w in task.intents(texts[example.id])) for example in test]


def table(found: Mapping[str, Mapping[str, frozenset[str]]], parts: Mapping[str, Sequence[Example]]) -> str:
    """Markdown: exact-set accuracy and micro-F1 on every part.

    Args:
      found: of each method, the set it predicts by the example's id.
      parts: examples by the part's name.
    """
    lines = [
        "| |" + "".join(f" {name}, {len(part):,}: exact set | micro-F1 |" for name, part in parts.items()),
        "|---|" + "---|" * (2 * len(parts)),
    ]
    for method, predicted in found.items():
        scores = [
            intents.evaluate([predicted[e.id] for e in part], [intents.parse(e.label) for e in part])
            for part in parts.values()
        ]
        lines.append(f"| {method} |" + "".join(f" {of.exact_set:.1f} | {of.micro_f1:.1f} |" for of in scores))
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--run_dir", nargs="*", default=[], help="runs that `pangu tune` made")
    parser.add_argument("--data_dir", type=Path, default=DATA)
    flags = parser.parse_args()
    task, data_dir = benchmarks.get(TASK), flags.data_dir
    train = task.examples(TRAIN, data_dir)
    parts = {name: task.examples(split, data_dir) for name, split in PARTS.items()}
    test = parts["all turns"]
    known = {example.fields["text"] for example in train}
    repeated = sum(example.fields["text"] in known for example in test) / len(test)
    print(f"{len(train):,} training turns; {repeated:.1%} of test turns are there word for word\n")
    both = ("text", "previous")
    predictions = {
        "majority set": majority(train, test),
        "linear, characters": linear(train, test, longest=1),
        "linear, 1- to 3-grams": linear(train, test, longest=3),
        "the same, and of the turn before": linear(train, test, longest=3, fields=both),
        **{f"tuned model, {Path(run_dir).name}": written(run_dir, test) for run_dir in flags.run_dir},
    }
    by_id = {
        method: {example.id: guess for example, guess in zip(test, sets, strict=True)}
        for method, sets in predictions.items()
    }
    print(table(by_id, parts))


if __name__ == "__main__":
    main()
