"""Retrieval: does it find the passage, and does an answer profit from it?

On CMRC2018 dev (Cui et al. 2019; CC BY-SA 4.0; $PANGU_DATA_DIR/clue/cmrc2018), cut into passages:

1. Finding. Of each question, the rank of the first passage of its article: recall at 1 and 5, and MRR, by
   BM25 and by the mean-pooled encoder of a fresh model, of the reader, and of a run; each beside the same
   search against the articles of other questions.
2. Answering. A tiny reader (`_reader.py`) is trained on cloze questions, CMRC2018's trial set and the
   articles of half of dev; questions of the other half are answered with no passage (closed book), with what
   BM25 finds, with passages around the answer (oracle), with what it finds after the passages changed places
   (shuffled), and with what it finds when the article is taken away (removed). Measured: mean log p of the
   true answer, a token, and how often it is likeliest among itself and the answers of three other questions.
   Differences are paired by question; intervals resample articles.
3. Splitting several questions of one turn, on CrossWOZ (Zhu et al. 2020): its rules were made with val in
   view, never test.

    python -m benchmarks.retrieval [--steps 1000] [--questions 400] [--run_dir RUN] [--json FILE]
"""

import argparse
import gzip
import json
import os
import tempfile
import time
import zipfile
from collections import defaultdict
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import _reader
from benchmarks._reader import Asked
from data_pipelines.text import quickstart
from pangu_jax.apps.language.chat.questions import split
from pangu_jax.apps.language.retrieval import prompting
from pangu_jax.apps.language.retrieval.embeddings import Encoder
from pangu_jax.apps.language.retrieval.knowledge import Knowledge, Passage
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.model.forward import Forward

DATA = Path(os.environ.get("PANGU_DATA_DIR", "../shared/data"))
SIZE = 80  # characters of a passage
PASSAGES = 1  # in a prompt
CHOICES = 4
BATCH = 32


def questions(split_name: str) -> list[Asked]:
    """Questions of a split of CMRC2018 with their first answer."""
    file = DATA / f"clue/cmrc2018/squad-style-data/cmrc2018_{split_name}.json.gz"
    found = json.loads(gzip.decompress(file.read_bytes()))
    return [
        Asked(asked["question"], asked["answers"][0]["text"], paragraph["context"], article["title"])
        for article in found["data"]
        for paragraph in article["paragraphs"]
        for asked in paragraph["qas"]
    ]


def write_articles(asked: list[Asked], folder: Path) -> dict[str, str]:
    """A .txt an article, named by its number; gives back each article's number."""
    folder.mkdir(parents=True)
    texts: dict[str, dict[str, None]] = defaultdict(dict)
    for a in asked:
        texts[a.article][a.context] = None
    for number, parts in enumerate(texts.values()):
        (folder / f"{number}.txt").write_text("\n\n".join(parts), "utf-8")
    return {article: str(number) for number, article in enumerate(texts)}


def article_of(passage: Passage) -> str:
    """The number of a passage's article, by its source `number.txt:line`."""
    return passage.source.partition(".txt")[0]


def finding(knowledge: Knowledge, asked: list[Asked], number: dict[str, str]) -> dict[str, float]:
    """Recall and MRR over the passages found, by article; and against shuffled articles."""
    permuted = np.random.default_rng(0).permutation(len(number))
    ranks: dict[str, list[float]] = {"": [], "shuffled_": []}
    for a in asked:
        found = [article_of(passage) for passage in knowledge.search(a.question, 50)]
        right = number[a.article]
        for kind, article in (("", right), ("shuffled_", str(permuted[int(right)]))):
            ranks[kind].append(found.index(article) + 1 if article in found else np.inf)
    return {
        f"{kind}{name}": round(float(value), 4)
        for kind, values in ranks.items()
        for name, value in (
            ("recall@1", np.mean(np.array(values) <= 1)),
            ("recall@5", np.mean(np.array(values) <= 5)),
            ("mrr@50", np.mean(1 / np.array(values))),
        )
    }


def contexts(
    knowledge: Knowledge, asked: list[Asked], number: dict[str, str]
) -> dict[str, list[list[Passage]]]:
    """What each question is answered with, in each condition."""
    passages = list(knowledge.passages)
    articles = [article_of(passage) for passage in passages]
    order = derangement(articles, np.random.default_rng(1))
    moved = {(p.source, p.text): passages[order[i]] for i, p in enumerate(passages)}
    found: dict[str, list[list[Passage]]] = defaultdict(list)
    for a in asked:
        best = knowledge.search(a.question, 50)
        own = [p for p, article in zip(passages, articles, strict=True) if article == number[a.article]]
        inside = [p for p in own if a.answer in p.text] or [
            Passage(_reader.around(a.context, a.answer, SIZE), "")
        ]
        found["closed book"].append([])
        found["retrieved"].append(best[:PASSAGES])
        found["oracle"].append((inside[:1] + [p for p in best if p.text != inside[0].text])[:PASSAGES])
        found["shuffled"].append([moved[p.source, p.text] for p in best[:PASSAGES]])
        found["removed"].append([p for p in best if article_of(p) != number[a.article]][:PASSAGES])
    return found


def derangement(articles: list[str], rng: np.random.Generator) -> np.ndarray:
    """A permutation that moves every passage to a place of another article."""
    order = rng.permutation(len(articles))
    while clashes := [i for i in range(len(order)) if articles[i] == articles[order[i]]]:
        for i in clashes:
            j = int(rng.integers(len(order)))
            order[i], order[j] = order[j], order[i]
    return order


@partial(jax.jit, static_argnames="forward")
def log_p(forward: Forward, params, batch) -> jax.Array:
    """fp32 [B]: mean log p of a row's target tokens and end."""
    loss = forward.loss(params, batch)
    return -(loss.token_loss_BxT * loss.weights_BxT).sum(1) / loss.weights_BxT.sum(1)


def answering(forward: Forward, params, vocabulary, prompts, shown, choices: list[list[str]]) -> np.ndarray:
    """fp32 [questions, CHOICES]: mean log p of each choice, the true answer first; one shape, one program."""
    rows = [
        (prompts.prompt(question.question, passages), choice)
        for (question, passages), row in zip(shown, choices, strict=True)
        for choice in row
    ]
    found = []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        full = part + [part[-1]] * (BATCH - len(part))
        batch = _reader.windows(vocabulary, *zip(*full, strict=True))
        found.append(np.asarray(log_p(forward, params, batch))[: len(part)])
    return np.concatenate(found).reshape(-1, CHOICES)


def paired(a: np.ndarray, b: np.ndarray, articles: list[str]) -> dict[str, float | list[float]]:
    """Mean difference a - b, and its 95% interval over resampled articles."""
    groups = defaultdict(list)
    for difference, article in zip(a - b, articles, strict=True):
        groups[article].append(difference)
    sums = np.array([[sum(group), len(group)] for group in groups.values()])
    rng = np.random.default_rng(0)
    drawn = sums[rng.integers(len(sums), size=(2000, len(sums)))].sum(axis=1)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    return {
        "difference": round(float(np.mean(a - b)), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
    }


def compared(scores: dict[str, np.ndarray], articles: list[str]) -> dict[str, dict]:
    """Means of each condition, and paired differences of "retrieved" to the others."""
    log_p = {name: found[:, 0] for name, found in scores.items()}
    chosen = {name: 100.0 * (found.argmax(axis=1) == 0) for name, found in scores.items()}
    means = {
        name: {
            "log_p_per_token": round(float(log_p[name].mean()), 4),
            "choice_accuracy": round(float(chosen[name].mean()), 1),
        }
        for name in scores
    }
    differences = {
        f"retrieved - {name}": {
            "log_p_per_token": paired(log_p["retrieved"], log_p[name], articles),
            "choice_accuracy": paired(chosen["retrieved"], chosen[name], articles),
        }
        for name in scores
        if name != "retrieved"
    }
    return {"answering": means, "paired": differences}


def with_others(asked: list[Asked], others: list[Asked]) -> list[list[str]]:
    """Each question's answer, and those of questions about other articles."""
    rng = np.random.default_rng(2)
    choices = []
    for a in asked:
        wrong = [b.answer for b in others if b.article != a.article and b.answer != a.answer]
        picked = rng.choice(len(wrong), CHOICES - 1, replace=False)
        choices.append([a.answer, *(wrong[i] for i in picked)])
    return choices


def show(title: str, rows: dict[str, dict]) -> None:
    for name, row in rows.items():
        print(f"{title} {name:<24}", row, flush=True)


def splitting(name: str) -> dict[str, float]:
    """Turns of CrossWOZ that ask: are several questions told from one, and is their number right?"""
    with zipfile.ZipFile(DATA / f"dialogue/crosswoz/{name}.json.zip") as archive:
        dialogues = json.loads(archive.read(f"{name}.json"))
    asked = [
        (len({(act[1], act[2]) for act in message["dialog_act"] if act[0] == "Request"}), message["content"])
        for dialogue in dialogues.values()
        for message in dialogue["messages"]
        if message["role"] == "usr"
    ]
    pairs = np.array([(wanted, len(split(text))) for wanted, text in asked if wanted])
    wanted, given = pairs.T
    both = np.sum((wanted > 1) & (given > 1))
    return {
        "turns": len(pairs),
        "several": int(np.sum(wanted > 1)),
        "precision": round(float(both / max(1, np.sum(given > 1))), 4),
        "recall": round(float(both / np.sum(wanted > 1)), 4),
        "right_count": round(float(np.mean(wanted == given)), 4),
        "right_count_if_never_split": round(float(np.mean(wanted == 1)), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000, help="of the reader's training")
    parser.add_argument("--questions", type=int, default=400, help="that are answered; spread over articles")
    parser.add_argument("--run_dir", help="a trained model whose encoder embeds too")
    parser.add_argument("--reader", help="folder of the reader, to use it again")
    parser.add_argument("--json", help="write the figures there")
    flags = parser.parse_args()
    if not (DATA / "clue/cmrc2018").is_dir():
        print(f"skipped: {DATA}/clue/cmrc2018 is absent; set PANGU_DATA_DIR")
        return
    with tempfile.TemporaryDirectory() as folder:
        result = measured(flags, Path(folder))
    if flags.json:
        Path(flags.json).write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n", "utf-8")


def measured(flags: argparse.Namespace, folder: Path) -> dict[str, dict]:
    """Everything, shown as it comes."""
    result: dict[str, dict] = {"splitting": {name: splitting(name) for name in ("val", "test")}}
    show("splitting", result["splitting"])
    dev = questions("dev")
    number = write_articles(dev, folder / "articles")
    held_out = [a for a in dev if int(number[a.article]) % 2]
    practice = [a for a in dev if not int(number[a.article]) % 2] + questions("trial")
    tested = held_out[:: max(1, len(held_out) // flags.questions)][: flags.questions]
    opened = partial(
        Knowledge.open, [folder / "articles"], cache=folder / "cache", size=SIZE, overlap=SIZE // 5
    )
    words = opened()
    print(f"{len(number)} articles, {len(words.passages)} passages, {len(tested)} questions", flush=True)
    result["finding"] = {"bm25": finding(words, tested, number)}

    started, prompts = time.process_time(), prompting.load()
    texts = list(dict.fromkeys(a.context for a in practice))
    texts += [document.text for document in quickstart.documents() if len(document.text) > SIZE]
    reader = Path(flags.reader) if flags.reader else folder / "reader"
    config, params, vocabulary = _reader.trained(reader, practice, texts, prompts, SIZE, flags.steps)
    params, forward = jax.device_put(jax.device_get(params)), Forward(config, dtype=jnp.float32)
    result["reader"] = {"cpu_minutes": round((time.process_time() - started) / 60, 1), "steps": flags.steps}
    show("", {"reader": result["reader"]})
    choices = with_others(tested, held_out)
    scores = {
        name: answering(forward, params, vocabulary, prompts, list(zip(tested, shown, strict=True)), choices)
        for name, shown in contexts(words, tested, number).items()
    }
    result |= compared(scores, [a.article for a in tested])
    show("answering", result["answering"])
    show("", result["paired"])

    encoders = {
        "fresh": Encoder(forward, architecture.init(config, jax.random.key(1)), vocabulary.encode),
        "reader": Encoder(forward, params, vocabulary.encode),
    }
    if flags.run_dir:
        from pangu_jax.apps.language import loading

        run = loading.load(flags.run_dir)
        encoders["run"] = Encoder(Forward(run.config, dtype=jnp.float32), run.params, run.encode_inputs)
    for name, encoder in encoders.items():
        knowledge = opened("embeddings", encoder=encoder)
        result["finding"][f"embeddings, {name}"] = finding(knowledge, tested, number)
    show("finding", result["finding"])
    return result


if __name__ == "__main__":
    main()
