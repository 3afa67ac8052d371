"""What datatrove makes of the same Chinese text by the same rules, for `benchmarks/corpus.py`.

It may have an environment of its own, `pip install datatrove==0.10.1 jieba spacy regex tokenizers xxhash`,
whose Python is named by $PEER_PYTHON; so what runs there, `python -m benchmarks.corpus_peers TEXTS.jsonl`,
needs nothing of this library.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

STOP_WORDS = list("的年在月是和日了於·為有被人中为他與後也而由")


def datatrove_filter() -> Callable[[str], str | None]:
    """FineWeb-2's filters for cmn_Hani, as its pipeline sets them: None keeps a text, else the rule that
    rejects it.

    Words by spaCy with jieba. Without the language filter, whose model is downloaded.
    """
    from datatrove.data import Document
    from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter

    filters = (
        GopherRepetitionFilter(
            language="cmn_Hani",
            dup_para_frac=0,
            dup_line_char_frac=0,
            dup_para_char_frac=0,
            dup_line_frac=0.287,
            top_n_grams=((2, 0.256), (3, 0.201), (4, 0.171)),
            dup_n_grams=((5, 0.198), (6, 0.182), (7, 0.167), (8, 0.154), (9, 0.14), (10, 0.127)),
        ),
        FineWebQualityFilter(
            language="cmn_Hani",
            short_line_thr=999,
            char_duplicates_ratio=0.1,
            line_punct_thr=0.106,
            new_line_ratio=0.178,
        ),
        GopherQualityFilter(
            language="cmn_Hani",
            min_avg_word_length=1,
            max_avg_word_length=5,
            max_non_alpha_words_ratio=0.735,
            stop_words=STOP_WORDS,
            min_stop_words=2,
        ),
    )

    def judge(text: str) -> str | None:
        document = Document(text=text, id="")
        for rule in filters:
            verdict = rule.filter(document)
            if verdict is not True:
                return verdict[1]
        return None

    return judge


def same_rules() -> tuple:
    """This library's rules with the same thresholds, on raw text: no edits, nothing before them."""
    from data_pipelines.corpus import cleaning

    return (
        cleaning.DuplicateLines(),
        *cleaning.repetition_rules(),
        cleaning.LineEnds(),
        cleaning.DuplicateLineCharacters(),
        cleaning.NewLines(),
        cleaning.WordLength(),
        cleaning.BulletLines(marks="•-"),
        cleaning.EllipsisLines(),
        cleaning.WordsWithLetters(),
        cleaning.StopWords(),
    )


def datatrove_near_duplicates(texts: Sequence[str]) -> float:
    """CPU-seconds of its MinHash, all four steps, with as many hashes as ours: 20 x 6, of word 5-grams."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import HashConfig, MinhashConfig

    hashed = HashConfig(hash_fc="sha1", precision=64)  # its default takes an older xxhash
    config = MinhashConfig(n_grams=5, num_buckets=20, hashes_per_bucket=6, hash_config=hashed)

    def documents(some: Sequence[str]) -> Iterator[Document]:
        return (Document(text=text, id=str(i)) for i, text in enumerate(some))

    with tempfile.TemporaryDirectory() as scratch:
        folders = [str(Path(scratch, name)) for name in ("warm", "signatures", "buckets", "remove")]
        MinhashDedupSignature(folders[0], config=config, language="zh").run(documents(texts[:5]), 0, 1)
        start = time.process_time()
        MinhashDedupSignature(folders[1], config=config, language="zh").run(documents(texts), 0, 1)
        for bucket in range(config.num_buckets):
            step = MinhashDedupBuckets(folders[1], folders[2], config=config)
            step.run(None, bucket, config.num_buckets)
        MinhashDedupCluster(folders[2], folders[3], config=config).run(None, 0, 1)
        list(MinhashDedupFilter(folders[3]).run(documents(texts), 0, 1))
        return time.process_time() - start


def our_near_duplicates(texts: Sequence[str]) -> float:
    """CPU-seconds of all our steps, files included, for as many texts."""
    import polars as pl

    from data_pipelines.corpus import dedup, frames, stages

    settings = dedup.Dedup()
    with tempfile.TemporaryDirectory() as scratch:

        def out(name: str) -> Path:
            folder = Path(scratch, name)
            folder.mkdir()
            return folder

        def steps(some: Sequence[str], run: str) -> None:
            rows = [(str(i), "", None, text) for i, text in enumerate(some)]
            documents = out(f"{run}documents") / frames.DOCUMENTS
            frames.write(pl.DataFrame(rows, schema=frames.SCHEMA, orient="row"), documents)
            signed, joined, gathered, verified, clustered, repeats, kept = (
                out(f"{run}{name}")
                for name in ("sign", "join", "gather", "verify", "cluster", "repeats", "kept")
            )
            dedup.sign(documents, 0, 1, settings, out=signed)
            dedup.join(0, [signed], settings, out=joined)
            dedup.gather(documents, 0, [joined], out=gathered)
            dedup.verify(0, [joined], [gathered], settings, out=verified)
            dedup.cluster([joined], [verified], out=clustered)
            dedup.find_repeats(0, [signed], clustered, out=repeats)
            stages.deduplicate(documents, 0, clustered, [repeats], out=kept)

        steps(texts[:5], "warm")
        start = time.process_time()
        steps(texts, "")
        return time.process_time() - start


def measured(texts: Sequence[str], judge: Callable[[Sequence[str]], list[str | None]]) -> dict:
    """Megabytes of UTF-8, CPU-seconds after dictionaries are loaded, and the fate of every text."""
    judge([text[:2000] for text in texts[:20]])
    start = time.process_time()
    fates = judge(texts)
    seconds = time.process_time() - start
    return {"megabytes": sum(len(text.encode()) for text in texts) / 1e6, "seconds": seconds, "fates": fates}


def ours(texts: Sequence[str]) -> list[str | None]:
    """As `datatrove_filter`, by `same_rules`."""
    import polars as pl

    from data_pipelines.corpus import frames
    from data_pipelines.corpus.cleaning import clean

    rows = [(str(i), "", None, text) for i, text in enumerate(texts)]
    rejected = clean(pl.DataFrame(rows, schema=frames.SCHEMA, orient="row"), same_rules()).rejected
    rules = dict(zip(rejected["id"], rejected["rule"], strict=True))
    return [rules.get(str(i)) for i in range(len(texts))]


def sample(raw: Path, megabytes: float) -> list[str]:
    """Lines from all .jsonl files of a folder, evenly, of so much text in all."""
    texts = [
        json.loads(line)["text"]
        for path in sorted(raw.glob("*.jsonl"))
        for line in path.open(encoding="utf-8")
    ]
    size = sum(len(text.encode()) for text in texts) / 1e6
    return texts[:: max(1, round(size / megabytes))]


def compare(raw: Path, megabytes: float = 5.0) -> None:
    """Prints the speed of both on a sample of `raw`'s .jsonl files, and on how many texts they agree."""
    texts = sample(raw, megabytes)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        file.flush()
        command = [os.environ.get("PEER_PYTHON", sys.executable), "-m", "benchmarks.corpus_peers", file.name]
        ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        print(f"datatrove does not run: {ran.stderr.strip().splitlines()[-1]}")
        return
    theirs, own = json.loads(ran.stdout.splitlines()[-1]), measured(texts, ours)
    speeds = [result["megabytes"] / result["seconds"] for result in (own, theirs)]
    agreed = sum((a is None) == (b is None) for a, b in zip(own["fates"], theirs["fates"], strict=True))
    print("| filters of FineWeb-2 for Chinese | MB per CPU-second |\n| --- | --- |")
    print(f"| ours | {speeds[0]:.2f} |\n| datatrove | {speeds[1]:.3f} |")
    print(
        f"\n{speeds[0] / speeds[1]:.0f} times as fast (goal 20); agreed on {agreed} of {len(texts)} texts\n"
    )
    speeds = [own["megabytes"] / our_near_duplicates(texts), own["megabytes"] / theirs["near_duplicates"]]
    print("| near duplicates, whole | MB per CPU-second |\n| --- | --- |")
    print(f"| ours | {speeds[0]:.1f} |\n| datatrove | {speeds[1]:.3f} |")
    print(f"\n{speeds[0] / speeds[1]:.0f} times as fast (goal 20)")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        texts = [json.loads(line)["text"] for line in Path(sys.argv[1]).read_text("utf-8").splitlines()]
        judge = datatrove_filter()
        result = measured(texts, lambda some: [judge(text) for text in some])
        print(json.dumps(result | {"near_duplicates": datatrove_near_duplicates(texts)}))
    else:
        print("run by benchmarks.corpus --peers")
