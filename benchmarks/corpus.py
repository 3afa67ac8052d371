"""The corpus factory: MB of UTF-8 text a CPU-second by stage, two workers against one, and its peers.

    python -m benchmarks.corpus --data DIR            # DIR: corpus_zh, or any folder of .jsonl.xz and HTML
    pip install datatrove==0.10.1 jieba ...           # see benchmarks/corpus_peers.py
    python -m benchmarks.corpus --data DIR --peers    # the same rules by datatrove, on a sample of the text

CPU-seconds are user and system time of the worker processes. Evaluation sets come from $PANGU_DATA_DIR;
their index is made once for a user and cached. A round is a build with an empty cache (cold), then one by one
worker and one by two with what that left (warm).
"""

import argparse
import contextlib
import io
import lzma
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

NEAR = ("sign", "join", "gather", "verify", "cluster", "repeats", "deduplicate")
PASSES = 7  # over the HTML pages
GOALS = {"clean": 5.0, "sign": 40.0, "near-duplicates, whole": 15.0, "end to end": 4.1}


def unpack(data: Path, to: Path) -> None:
    """Plain JSON lines of every .jsonl.xz: what is measured starts from text, not from xz."""
    for path in sorted(data.glob("*.jsonl.xz")):
        with lzma.open(path) as packed, (to / path.stem).open("wb") as plain:
            shutil.copyfileobj(packed, plain, 2**20)


def built(raw: Path, output: Path, workers: int) -> tuple[dict, float]:
    """(report, wall seconds) of a build."""
    from data_pipelines.corpus.build import build

    shutil.rmtree(output, ignore_errors=True)
    begin = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):
        report = build([str(raw)], str(output), workers=workers)
    return report, time.perf_counter() - begin


def rates(report: dict) -> dict[str, float]:
    """MB per CPU-second, of text as it was read."""
    stages = {stage["name"]: stage for stage in report["stages"]}
    text = stages["read"]["bytes_out"] / 1e6
    cost = {name: stage["cpu_seconds"] for name, stage in stages.items()}
    return {
        **{name: text / seconds if seconds else float("inf") for name, seconds in cost.items()},
        "near-duplicates, whole": text / sum(cost[name] for name in NEAR),
        "end to end": text / sum(cost.values()),
    }


def pages(data: Path) -> tuple[int, int, list[float]]:
    """(pages, pages with text, CPU-seconds of each of `PASSES`): the main text of every page in the .tar.xz.

    A pass takes about a second, and the first also loads the parsers.
    """
    import tarfile

    from data_pipelines.corpus import extraction

    found = []
    for path in sorted(data.glob("*html*.tar.xz")):
        with tarfile.open(path) as archive:
            members = [m for m in archive if m.isfile() and m.name.endswith((".html", ".htm"))]
            found += [archive.extractfile(m).read() for m in members]
    pages = [page.decode("utf-8", "replace") for page in found]
    seconds = []
    for _ in range(PASSES):
        begin = time.process_time()
        texts = [text for i in range(0, len(pages), 400) for text in extraction.texts_of(pages[i : i + 400])]
        seconds.append(time.process_time() - begin)
    return len(found), sum(map(bool, texts)), seconds


def segmentation(raw: Path) -> float:
    """MB per CPU-second of `rjieba.cut` alone: how fast this machine is today."""
    import rjieba

    from benchmarks.corpus_peers import sample

    texts = sample(raw, 5.0)
    rjieba.cut(texts[0])
    begin = time.process_time()
    for text in texts:
        rjieba.cut(text)
    return sum(len(text.encode()) for text in texts) / 1e6 / (time.process_time() - begin)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--peers", action="store_true", help="measure datatrove too, on a sample")
    parser.add_argument("--rounds", type=int, default=1, help="of one worker and two, in turn")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        raw = Path(scratch, "raw")
        raw.mkdir()
        unpack(flags.data, raw)
        for _ in range(flags.rounds):
            os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(dir=scratch)
            cold, _ = built(raw, Path(scratch, "one"), 1)
            before = segmentation(raw)
            report, one = built(raw, Path(scratch, "one"), 1)
            after = segmentation(raw)
            _, two = built(raw, Path(scratch, "two"), 2)
            warm, first = rates(report), rates(cold)
            print("| stage | MB per CPU-second | cold | goal |\n| --- | --- | --- | --- |")
            for name, rate in warm.items():
                print(f"| {name} | {rate:,.1f} | {first[name]:,.1f} | {GOALS.get(name, '')} |")
            print(f"\nworkers: 1 in {one:.1f} s, 2 in {two:.1f} s, {one / two:.2f} times as fast (goal 1.7)")
            print(
                f"rjieba.cut alone: {before:.1f} MB per CPU-second before the build by one worker, "
                f"{after:.1f} after it"
            )
            print(
                f"peak memory of a worker: {max(s['peak_bytes'] for s in report['stages']) / 1e6:,.0f} MB\n"
            )
            sys.stdout.flush()
        count, full, seconds = pages(flags.data)
        if count:
            slow, middle, fast = (count / of(seconds) for of in (max, statistics.median, min))
            print(
                f"HTML: {count:,} pages, {full:,} with text, {middle:,.0f} per CPU-second (goal 3,000), "
                f"{slow:,.0f} to {fast:,.0f} in {PASSES} passes"
            )
        if flags.peers:
            from benchmarks import corpus_peers

            corpus_peers.compare(raw)


if __name__ == "__main__":
    main()
