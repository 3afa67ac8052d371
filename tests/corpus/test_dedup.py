"""Deduplication from chunks to chunks: against plain Python, in any order, within memory; its recall."""

import hashlib
import itertools
import json
import lzma
import os
import random
import tracemalloc
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.corpus import dedup, frames, letters
from data_pipelines.corpus.dedup import Dedup, tables
from data_pipelines.corpus.dedup.clusters import leaders
from data_pipelines.corpus.spans import mixed

DATA = Path(os.environ.get("PANGU_DATA_DIR") or Path(__file__).parents[2] / "../shared/data") / "corpus_zh"
# Whatever is similar shares one of these bands; and all short lines count.
CERTAIN = Dedup(bands=60, rows=1, min_paragraph_characters=6)


class Result(NamedTuple):
    """What is left of each chunk, the statistics by stage, and the folder of all files."""

    chunks: list[pl.DataFrame]
    statistics: dict[str, list[dict]]
    folder: Path

    @property
    def kept(self) -> dict[str, tuple[str, int]]:
        """(text, cluster size) of what stays, by id."""
        rows = (chunk.select("id", "text", "cluster_size").rows() for chunk in self.chunks)
        return {name: (text, size) for name, text, size in itertools.chain(*rows)}

    def table(self, pattern: str) -> list[tuple]:
        found = [tables.read(path) for path in sorted(self.folder.glob(pattern))]
        return [row for table in found for row in zip(*(c.tolist() for c in table.values()), strict=True)]


def deduplicate(
    folder: Path, chunks: list[list[str]], config: Dedup, parts: int = 1, shuffle: int = 0
) -> Result:
    """All stages; `shuffle` seeds the order in which the tasks of a stage run."""
    order = random.Random(shuffle)
    statistics: dict[str, list[dict]] = {}

    def run(stage, function, calls):
        outs = [folder / stage / f"{i:05d}" for i in range(len(calls))]
        found: list[dict] = [{}] * len(calls)
        for i in order.sample(range(len(calls)), len(calls)):
            outs[i].mkdir(parents=True)
            found[i] = json.loads(json.dumps(function(*calls[i], out=outs[i])))
        statistics[stage] = found
        return outs

    folder.mkdir(exist_ok=True)
    paths = [folder / f"{i:05d}.arrow" for i in range(len(chunks))]
    for i, (texts, path) in enumerate(zip(chunks, paths, strict=True)):
        rows = [(f"{i}.{j}", "web" if j % 2 else "books", None, text) for j, text in enumerate(texts)]
        frames.write(pl.DataFrame(rows, frames.SCHEMA, orient="row"), path)
    signed = run("sign", dedup.sign, [(path, i, parts, config) for i, path in enumerate(paths)])
    joined = run("join", dedup.join, [(part, signed, config) for part in range(parts)])
    gathered = run("gather", dedup.gather, [(path, i, joined) for i, path in enumerate(paths)])
    verified = run("verify", dedup.verify, [(part, joined, gathered, config) for part in range(parts)])
    (clustered,) = run("cluster", dedup.cluster, [(joined, verified)])
    repeats = run("repeats", dedup.find_repeats, [(part, signed, clustered) for part in range(parts)])
    found = [dedup.apply(frames.read(path), i, clustered, repeats) for i, path in enumerate(paths)]
    statistics["apply"] = [numbers for _, numbers in found]
    return Result([frame for frame, _ in found], statistics, folder)


def own(text: str) -> str:
    return "".join(letters.of(line) for line in text.split("\n"))


def shingles(text: str, length: int = 5) -> set[str]:
    mine = own(text)
    return {mine[i : i + length] for i in range(len(mine) - length + 1)}


def jaccard(a: str, b: str) -> float:
    one, other = shingles(a), shingles(b)
    return len(one & other) / len(one | other) if one or other else 0.0


def reference(chunks: list[list[str]], config: Dedup) -> dict[str, tuple[str, int]]:
    """What should be kept, by comparing everything with everything."""
    named = [(f"{i}.{j}", text) for i, texts in enumerate(chunks) for j, text in enumerate(texts)]
    stands_for: dict[str, int] = {}
    leader_of: dict[str, str] = {}  # by letters
    for name, text in named:
        key = own(text) or f" {text}"
        if key not in leader_of:
            like = [kept for kept in stands_for if jaccard(dict(named)[kept], text) >= config.threshold]
            leader_of[key] = like[0] if like else name
        stands_for[leader_of[key]] = stands_for.get(leader_of[key], 0) + 1
    seen: set[str] = set()
    result = {}
    for name, text in named:
        if name in stands_for:
            rest = text
            lines = [(line, letters.of(line)) for line in text.split("\n")]
            long = [len(own_line) >= config.min_paragraph_characters for _, own_line in lines]
            keep = []
            for (line, own_line), counts in zip(lines, long, strict=True):
                if not (counts and own_line in seen):
                    keep.append(line)
                seen |= {own_line} if counts else set()
            if len(keep) < len(lines):
                rest = "\n".join(keep).strip("\n")
                while "\n\n\n" in rest:
                    rest = rest.replace("\n\n\n", "\n\n")
            if len(keep) == len(lines) or own(rest):
                result[name] = (rest, stands_for[name])
    return result


def mutated(text: str, changes: int, rng: random.Random) -> str:
    own_text = list(text)
    for _ in range(changes):
        own_text[rng.randrange(len(own_text))] = chr(rng.randrange(0x4E00, 0x9FA5))
    return "".join(own_text)


def sentence(rng: random.Random, length: int) -> str:
    return "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(length))


@st.composite
def corpora(draw) -> list[list[str]]:
    """Chunks of groups of up to three near duplicates, exact copies, shared lines, and next to nothing."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    lines = [sentence(rng, 12) for _ in range(3)]
    texts = []
    for _ in range(draw(st.integers(0, 5))):
        text = "\n".join(sentence(rng, rng.randrange(10, 40)) for _ in range(rng.randrange(1, 4)))
        group = [text, *(mutated(text, rng.randrange(1, 5), rng) for _ in range(draw(st.integers(0, 2))))]
        group += ["，".join(rng.choice(group)) for _ in range(draw(st.integers(0, 2)))]
        texts += [f"{t}\n\n{rng.choice(lines)}" if rng.random() < 0.3 else t for t in group]
    texts += draw(st.lists(st.sampled_from(["", "。。", "天", "天 地", "天地。", *lines]), max_size=4))
    rng.shuffle(texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(texts)), max_size=3)))
    return [texts[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(texts)])]


@settings(max_examples=25)
@given(corpora(), st.integers(1, 4))
def test_the_whole_is_that_of_plain_python(tmp_path_factory, chunks, parts):
    result = deduplicate(tmp_path_factory.mktemp("dedup"), chunks, CERTAIN, parts)
    assert result.kept == reference(chunks, CERTAIN)


def family(rng: random.Random, count: int) -> list[str]:
    """Texts each made from an earlier one."""
    texts = [sentence(rng, 120)]
    while len(texts) < count:
        texts.append(mutated(rng.choice(texts), rng.randrange(1, 6), rng))
    return texts


def test_what_goes_is_like_something_that_stays(tmp_path):
    """Chains of changes: their ends are not alike. Few buckets, so that all of the work is done by them."""
    rng = random.Random(0)
    texts = [text for _ in range(12) for text in family(rng, 15)]
    rng.shuffle(texts)
    texts += rng.sample(texts, 30)
    config = Dedup(min_paragraph_characters=0, hot_bucket=4)
    result = deduplicate(tmp_path, [texts[:100], texts[100:]], config, 3)
    by_number = dict(enumerate(texts[:100])) | {1 << 32 | i: text for i, text in enumerate(texts[100:])}
    kept = {int(name.split(".")[0]) << 32 | int(name.split(".")[1]) for name in result.kept}
    rows = result.table("cluster/*/clusters.arrow")
    dropped = {document for document, _, _, keep, _ in rows if not keep}
    assert kept | dropped == set(by_number) and not kept & dropped and len(dropped) > 100
    for document, representative, size, keep, _ in rows:
        assert representative in kept
        assert keep == (document == representative)
        assert jaccard(by_number[document], by_number[representative]) >= config.threshold
        assert size == sum(other == representative for _, other, *_ in rows)
    assert sum(size for _, size in result.kept.values()) == len(texts)


def test_leaders():
    """1 goes for 0; 2 is like 1 only, so it stays; 3 is like 1 and 2 and goes for 2; 9 goes for 5."""
    a = np.array([1, 0, 1, 2, 5], np.uint64)
    b = np.array([2, 1, 3, 3, 9], np.uint64)
    following, leader = leaders(a, b)
    assert dict(zip(following.tolist(), leader.tolist(), strict=True)) == {1: 0, 3: 2, 9: 5}
    assert [len(found) for found in leaders(a[:0], b[:0])] == [0, 0]


def files(folder: Path) -> dict[str, str]:
    found = sorted(path for path in folder.rglob("*.arrow"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_neither_order_nor_parts_matter(tmp_path):
    rng = random.Random(5)
    texts = [text for _ in range(20) for text in family(rng, 4)] + [sentence(rng, 20) + "\n" + "同" * 30] * 5
    rng.shuffle(texts)
    chunks = [texts[:30], [], texts[30:31], texts[31:]]
    one = deduplicate(tmp_path / "one", chunks, Dedup(), parts=3)
    for shuffle in (1, 2):
        other = deduplicate(tmp_path / f"{shuffle}", chunks, Dedup(), parts=3, shuffle=shuffle)
        assert files(other.folder) == files(one.folder)
        assert other.statistics == one.statistics
    for parts in (1, 20):
        other = deduplicate(tmp_path / f"parts{parts}", chunks, Dedup(), parts=parts)
        assert [a.equals(b) for a, b in zip(other.chunks, one.chunks, strict=True)] == [True] * 4
    # Controls: something happens, and another seed or another order of documents is seen.
    assert 0 < len(one.kept) < len(texts) and one.statistics["repeats"] != [{}]
    other = deduplicate(tmp_path / "seed", chunks, Dedup(seed=1), parts=3)
    assert files(other.folder) != files(one.folder)


def test_pairs_may_be_compared_one_by_one(tmp_path, monkeypatch):
    rng = random.Random(7)
    chunks = [[text for _ in range(5) for text in family(rng, 6)] for _ in range(2)]
    together = deduplicate(tmp_path / "together", chunks, Dedup(), 2)
    monkeypatch.setattr("data_pipelines.corpus.dedup.similarity._GROUP_BYTES", 1)
    alone = deduplicate(tmp_path / "alone", chunks, Dedup(), 2)
    assert files(alone.folder) == files(together.folder)
    assert sum(numbers["counts"]["near_duplicate_pairs"] for numbers in alone.statistics["verify"]) > 20


def test_exact_copies_make_no_pairs(tmp_path):
    """Their first stands for them, also where it goes for something near."""
    rng = random.Random(1)
    text = sentence(rng, 200)
    near = mutated(text, 3, rng)
    chunks = [[text], [f"{near}。"] * 500, ["".join(f"{c} " for c in near)] * 500]
    result = deduplicate(tmp_path, chunks, Dedup())
    assert result.kept == {"0.0": (text, 1001)}
    assert result.statistics["verify"][0]["counts"] == {"candidates": 1, "near_duplicate_pairs": 1}
    assert result.statistics["cluster"][0]["counts"] == {
        "clusters": 1,
        "exact_copies": 999,
        "near_duplicates": 1,
    }


def test_hot_buckets_make_few_pairs(tmp_path):
    """Different documents with the same bands: two pairs each, not one with each other."""
    rng = random.Random(2)
    common = sentence(rng, 2000)
    texts = [common[:1000] + sentence(rng, 5) + common[1000:] for _ in range(300)]
    hot = deduplicate(tmp_path / "hot", [texts], Dedup(bands=2, rows=1, hot_bucket=50))
    counts = hot.statistics["join"][0]["counts"]
    assert counts["hot_buckets"] == 2 and counts["in_hot_buckets"] > 500
    assert 2 * 290 < counts["candidates_by_part"] < 4 * 300
    assert 300 / 50 <= len(hot.kept) < 15
    # Control.
    cold = deduplicate(tmp_path / "cold", [texts], Dedup(bands=2, rows=1, hot_bucket=1000))
    assert cold.statistics["join"][0]["counts"]["hot_buckets"] == 0 and len(cold.kept) == 1


def test_a_paragraph_is_not_lost_with_the_document_that_had_it_first(tmp_path):
    rng = random.Random(3)
    first, line, other = sentence(rng, 400), sentence(rng, 30), sentence(rng, 50)
    texts = [first, f"{first}\n{line}", f"{other}\n\n{line}\n\n{line}\n\n{other[::-1]}", line]
    result = deduplicate(tmp_path, [texts[:2], texts[2:]], Dedup())
    assert result.kept == {"0.0": (first, 2), "1.0": (f"{other}\n\n{line}\n\n{other[::-1]}", 1)}
    left_out = {
        name: numbers for one in result.statistics["apply"] for name, numbers in one["sources"].items()
    }
    assert left_out["web"]["rejected"]["repeated_paragraphs"] == [1, 90]


def test_paragraphs_left_alone(tmp_path):
    rng = random.Random(4)
    line, short = sentence(rng, 20), sentence(rng, 19)
    texts = [f"{sentence(rng, 30)}\n{line}\n{short}" for _ in range(2)]
    assert deduplicate(tmp_path / "a", [texts], Dedup(min_paragraph_characters=0)).kept["0.1"] == (
        texts[1],
        1,
    )
    kept = deduplicate(tmp_path / "b", [texts], Dedup()).kept
    assert kept == {"0.0": (texts[0], 1), "0.1": (texts[1].replace(f"{line}\n", ""), 1)}


@pytest.mark.parametrize(
    "chunks",
    [[[]], [[], []], [[""]], [["", "。"], ["", "天地", "天 地", "天地玄"]], [["天地玄黄"] * 3, []]],
)
def test_next_to_nothing(tmp_path, chunks):
    assert deduplicate(tmp_path, chunks, Dedup(), parts=2).kept == reference(chunks, Dedup())


def test_the_funnel_adds_up(tmp_path):
    rng = random.Random(6)
    texts = [text for _ in range(10) for text in family(rng, 5)]
    texts += [f"{text}\n{line}" for text in texts[:20] for line in (sentence(rng, 9), "重复的段落" * 5)]
    texts += texts[:7]
    result = deduplicate(tmp_path, [texts[:40], texts[40:]], Dedup())
    for numbers, chunk, before in zip(
        result.statistics["apply"], result.chunks, (texts[:40], texts[40:]), strict=True
    ):
        assert numbers["documents_in"] == len(before) and numbers["documents_out"] == len(chunk)
        assert numbers["bytes_in"] == sum(len(text.encode()) for text in before)
        assert numbers["bytes_out"] == frames.text_bytes(chunk)
        for total in ("documents_in", "documents_out", "bytes_in", "bytes_out"):
            assert numbers[total] == sum(source[total] for source in numbers["sources"].values())
        for source in numbers["sources"].values():
            lost = np.sum(list(source["rejected"].values()), axis=0)
            assert source["documents_in"] - source["documents_out"] == lost[0]
            assert source["bytes_in"] - source["bytes_out"] == lost[1]
    copies = [source["rejected"]["exact_copy"][0] for source in numbers["sources"].values()]
    assert sum(copies) == 7


def test_joins_stay_within_their_memory(tmp_path):
    """Four times the corpus: four times the parts, and as much memory."""
    config = Dedup(part_bytes=2**22)
    random_ = np.random.default_rng(0)

    def peak(chunks: int) -> int:
        folders = [tmp_path / f"{chunks}.{i}" for i in range(chunks)]
        documents = 4000
        parts = config.parts(chunks * documents, 0)
        for number, folder in enumerate(folders):
            folder.mkdir()
            keys = mixed(random_.integers(0, chunks * documents * 15, documents * 20).astype(np.uint64))
            rows = np.arange(documents, dtype=np.uint32)
            by = tables.part_of(keys, parts)
            twins = random_.integers(0, 2**32, documents).astype(np.uint32)
            bands = {"hash": keys, "row": rows.repeat(20), "twin": twins.repeat(20)}
            tables.write(folder / "bands.arrow", bands, by, parts, number)
            paragraphs = {"hash": keys, "row": rows.repeat(20), "paragraph": np.tile(rows[:20], documents)}
            tables.write(folder / "paragraphs.arrow", paragraphs, by, parts, number)
            digests = {"high": keys[::20], "low": keys[::20], "row": rows}
            tables.write(folder / "digests.arrow", digests, by[::20], parts, number)
        out = tmp_path / f"out{chunks}"
        out.mkdir()
        (tmp_path / f"none{chunks}").mkdir()
        tables.write(
            tmp_path / f"none{chunks}" / "clusters.arrow",
            {"document": np.zeros(0, np.uint64), "keep": np.zeros(0, bool)},
        )
        tracemalloc.start()
        try:
            pairs = dedup.join(0, folders, config, out=out)["counts"]["candidates_by_part"]
            repeats = dedup.find_repeats(0, folders, tmp_path / f"none{chunks}", out=out)["counts"]
            assert pairs > 10**4 and repeats["repeated_paragraphs"] > 10**4
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small, large = peak(6), peak(24)
    assert small < 6 * config.part_bytes
    assert large < 1.25 * small


class Planted(NamedTuple):
    level: float
    original: str
    copy: str
    similarity: float


def planted(pairs: int) -> list[Planted]:
    """Pieces of real text, each with a copy of which just enough characters are changed."""
    rng = random.Random(0)
    texts = []
    with lzma.open(DATA / "niutrans_modern.jsonl.xz", "rt", encoding="utf-8") as stream:
        for line in stream:
            text = json.loads(line)["text"]
            texts += [text[i : i + 400] for i in range(0, len(text) - 400, 400)]
            if len(texts) >= 5 * pairs:
                break
    found = []
    for level, text in zip(itertools.cycle((0.5, 0.6, 0.7, 0.8, 0.9)), texts[: 5 * pairs], strict=False):
        # Of n shingles k change into new ones: J = (n - k) / (n + k).
        copy, hit, total = list(text), set(), len(shingles(text))
        places = [i for i, c in enumerate(text) if c.isalnum()]
        for place in rng.sample(range(len(places)), len(places)):
            if total - len(hit) - 2 <= level * (total + len(hit) + 2):
                break
            copy[places[place]] = chr(rng.randrange(0x3400, 0x4DB0))
            hit |= set(range(max(0, place - 4), min(place, len(places) - 5) + 1))
        found.append(Planted(level, text, "".join(copy), jaccard(text, "".join(copy))))
    return found


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA} (set PANGU_DATA_DIR)")
def test_planted_near_duplicates_are_found(tmp_path):
    config = Dedup()
    pairs = planted(500)
    originals, copies = [pair.original for pair in pairs], [pair.copy for pair in pairs]
    result = deduplicate(tmp_path, [originals, copies], config, 2)
    candidates = set()
    for part in range(2):
        for path in sorted(tmp_path.glob("join/*/pairs.arrow")):
            table = tables.read(path, part)
            candidates |= set(zip(table["a"].tolist(), table["b"].tolist(), strict=True))
    edges = {(a, b) for a, b, _ in result.table("verify/*/edges.arrow")}
    numbers = [(i, 1 << 32 | i) for i in range(len(pairs))]
    for level, wanted in ((0.5, 0), (0.6, 0), (0.7, 0.88), (0.8, 0.99), (0.9, 0.99)):
        mine = [(n, pair) for n, pair in zip(numbers, pairs, strict=True) if pair.level == level]
        assert len(mine) == 500
        assert np.mean([pair.similarity for _, pair in mine]) == pytest.approx(level, abs=0.01)
        found = np.mean([n in candidates for n, _ in mine])
        expected = np.mean([config.recall(pair.similarity) for _, pair in mine])
        assert abs(found - expected) < 0.03, level
        assert np.mean([n in edges for n, _ in mine]) >= wanted, level
    by_number = dict(zip(itertools.chain(*zip(*numbers, strict=True)), originals + copies, strict=True))
    known = {number: pair.similarity for number, pair in zip(numbers, pairs, strict=True)}
    rows = result.table("cluster/*/clusters.arrow")
    assert len(rows) > 2800
    for document, representative, *_ in rows:
        both = (representative, document)
        similarity = known.get(both) or jaccard(by_number[document], by_number[representative])
        assert similarity >= config.threshold
    for a, b, similarity in result.table("verify/*/edges.arrow"):
        true = known.get((a, b)) or jaccard(by_number[a], by_number[b])
        assert similarity == pytest.approx(true, rel=1e-6)
