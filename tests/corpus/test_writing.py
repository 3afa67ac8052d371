"""Shards, datasets and cards: everything once, the same bytes each time, read by TFDS."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from data_pipelines.corpus import card, finishing, frames, records, writing
from data_pipelines.corpus.writing import ChunkRange, Writing
from data_pipelines.errors import DataError
from data_pipelines.text.documents import Document
from tests.data.made_up import sentences


def chunks(folder: Path) -> list[tuple[Path, dict]]:
    """Three chunks: `news` in two, `law` in two, `宗教` in one, one document without a cluster size."""
    rows = [
        (f"{source}:{i}", source, f"https://example.org/{i}" if i % 2 else None, sentences(i, 1 + i % 9))
        for i, source in enumerate(["news"] * 60 + ["law"] * 30 + ["news"] * 40 + ["宗教", "law"] * 5)
    ]
    made = []
    for number, part in enumerate((rows[:75], rows[75:120], rows[120:])):
        frame = pl.DataFrame(part, schema=frames.SCHEMA, orient="row")
        if number:
            frame = frame.with_columns(cluster_size=pl.int_range(1, pl.len() + 1).cast(pl.UInt32))
        path = folder / f"{number}.arrow"
        frames.write(frame, path)
        sizes = frame.group_by("source").agg(pl.len(), pl.col("text").str.len_bytes().sum())
        made.append((path, {source: (count, size) for source, count, size in sizes.iter_rows()}))
    return made


def build(folder: Path, settings: Writing) -> tuple[Path, dict, list[dict]]:
    """(dataset, what finish_dataset returned, statistics of the shards)."""
    (folder / "chunks").mkdir(parents=True)
    shards = writing.assign(chunks(folder / "chunks"), settings)
    statistics = []
    for shard in shards:
        (folder / shard.key).mkdir()
        statistics.append(writing.write_shard(shard, settings, out=folder / shard.key))
    dataset = folder / "dataset"
    dataset.mkdir()
    mixture = finishing.finish_dataset([folder / shard.key for shard in shards], settings, out=dataset)
    return dataset, mixture, statistics


SETTINGS = Writing(shard_bytes=4000, parquet=True, validation_fraction=0.1)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    return folder, *build(folder, SETTINGS)


def test_tfds_reads_every_document_once(built):
    import tensorflow_datasets as tfds

    folder, dataset, mixture, statistics = built
    everything = {
        row["id"]: row for path, _ in chunks(folder) for row in frames.read(path).iter_rows(named=True)
    }
    found = {}
    for source, facts in mixture["sources"].items():
        splits = tfds.builder_from_directory(str(dataset / facts["name"] / "1.0.0")).as_data_source()
        assert len(splits["train"]) == facts["documents"]
        assert len(splits.get("validation", ())) == facts["validation_documents"]
        for split, examples in splits.items():
            for example in examples:
                row = everything[example["id"].decode()]
                assert row["id"] not in found and row["source"] == source == example["source"].decode()
                assert (example["text"].decode(), example["url"].decode()) == (row["text"], row["url"] or "")
                assert example["cluster_size"] == row.get("cluster_size", 1)
                below = int(Document("", row["text"]).digest(), 16) / 16**32 < SETTINGS.validation_fraction
                assert below == (split == "validation")
                found[row["id"]] = split
    assert found.keys() == everything.keys() and "validation" in found.values()
    assert sum(s["documents_out"] for s in statistics) == len(everything)
    assert sum(s["bytes_out"] for s in statistics) == sum(
        len(r["text"].encode()) for r in everything.values()
    )
    named = tfds.data_source("news", data_dir=dataset, split="train")
    assert len(named) == mixture["sources"]["news"]["documents"]


def test_records_are_those_that_tfds_would_write(built):
    from tensorflow_datasets.proto import tf_example_pb2

    frame = records.typed(frames.read(built[0] / "chunks" / "1.arrow"))[:3]
    rows = frame.fill_null("").to_dicts()
    theirs = [records.features().serialize_example(row) for row in rows]
    parsed = tf_example_pb2.Example.FromString
    assert list(map(parsed, records.examples(frame))) == list(map(parsed, theirs))


def test_parquet_holds_the_same(built):
    _, dataset, mixture, _ = built
    for facts in mixture["sources"].values():
        for split, count in (("train", facts["documents"]), ("validation", facts["validation_documents"])):
            files = sorted((dataset / facts["name"] / "parquet").glob(f"{split}-*"))
            assert sum(len(pl.read_parquet(file)) for file in files) == count
    frame = pl.read_parquet(next((dataset / "news" / "parquet").glob("train-00000-*")))
    assert frame.columns == ["id", "source", "url", "text", "cluster_size"] and frame["url"].null_count()


def test_the_same_input_gives_the_same_bytes(built, tmp_path):
    _, dataset, _, _ = built
    program = (
        "import sys; from pathlib import Path; from tests.corpus import test_writing as t\n"
        "t.build(Path(sys.argv[1]), t.SETTINGS)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "POLARS_MAX_THREADS": "3"}
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "again")], check=True, cwd=root, env=environment
    )
    again = tmp_path / "again" / "dataset"
    files = sorted(path.relative_to(dataset) for path in dataset.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((dataset / file).read_bytes() == (again / file).read_bytes() for file in files)
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], check=True, cwd=again)
    listed = {line[66:] for line in (dataset / "SHA256SUMS").read_text("utf-8").splitlines()}
    assert listed == {str(file) for file in files} - {"SHA256SUMS"}


def test_shards_are_even_and_whole():
    held = [(Path(f"{i}"), {"a": (10 + i, 1000 + 150 * i), "b": (1, 0)}) for i in range(40)]
    for size in (100, 5000, 10**9):
        shards = writing.assign(held, Writing(shard_bytes=size))
        own = [shard for shard in shards if shard.source == "a"]
        assert [shard.index for shard in own] == list(range(own[0].count))
        taken = [
            (part.chunk, row) for shard in own for part in shard.parts for row in range(part.begin, part.end)
        ]
        assert taken == [(path, row) for path, sources in held for row in range(sources["a"][0])]
        mean = {path: sources["a"][1] / sources["a"][0] for path, sources in held}
        sizes = [sum(mean[part.chunk] * (part.end - part.begin) for part in shard.parts) for shard in own]
        if size == 5000:
            assert all(4400 < each < 5600 for each in sizes)
        assert [(len(shard.parts), shard.count) for shard in shards if shard.source == "b"] == [(40, 1)]
    assert len(own) == 1


def test_cuts_inside_one_document_are_one():
    (shard,) = writing.assign([(Path("x"), {"a": (1, 10**9)})], Writing())
    assert shard.parts == (ChunkRange(Path("x"), 0, 1),) and (shard.index, shard.count) == (0, 1)


def test_names_are_fit_for_tfds_and_differ():
    sources = ["news", "News", "news ", "法律", "宗教", "1998", "a-b", "a b", ""]
    names = list(map(writing.dataset_name, sources))
    assert names[0] == "news" and len(set(names)) == len(sources)
    assert all(name.isascii() and name.isidentifier() and name == name.lower() for name in names)


def test_the_mixture(built, tmp_path):
    _, _, mixture, _ = built
    sizes = {source: facts["bytes"] for source, facts in mixture["sources"].items()}
    assert list(sizes) == ["law", "news", "宗教"]
    for source, facts in mixture["sources"].items():
        assert facts["share"] == pytest.approx(sizes[source] / sum(sizes.values()))
        assert facts["epochs"] == pytest.approx(1)
    _, even, _ = build(tmp_path / "even", Writing(temperature=1e9))
    assert [facts["share"] for facts in even["sources"].values()] == pytest.approx([1 / 3] * 3)
    _, given, _ = build(tmp_path / "given", Writing(weights={"law": 3, "宗教": 1}, validation_fraction=0))
    law = given["sources"]["law"]
    assert law["share"] == 0.75 and given["sources"]["news"]["epochs"] == 0
    assert law["epochs"] == pytest.approx(
        0.75 * sum(facts["bytes"] for facts in given["sources"].values()) / law["bytes"]
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shard_bytes": 0}, r"Writing\.shard_bytes 0 must be at least 1"),
        ({"compression": "gzip"}, r"'gzip' is none of zstd:LEVEL"),
        ({"validation_fraction": 0.6}, r"validation_fraction 0\.6 must be in \[0, 0\.5\]"),
        ({"temperature": 0}, r"Writing\.temperature is 0: it must be above 0"),
        ({"weights": {"a": -1}}, r"Writing\.weights: 'a' is -1"),
        ({"weights": {"a": 0}}, r"Writing\.weights: all are zero"),
        ({"weights": {"c": 1}}, r"there is no source 'c': have a, b"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(DataError, match=message) as error:
        writing.assign([(Path("x"), {"a": (1, 10), "b": (1, 10)})], Writing(**settings))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("compression", ["uncompressed", "snappy", "brotli:2", "zstd:5"])
def test_compressions(tmp_path, compression):
    import tensorflow_datasets as tfds

    dataset, mixture, _ = build(tmp_path, Writing(compression=compression))
    source = tfds.data_source("news", data_dir=dataset, split="train")
    assert len(source) == mixture["sources"]["news"]["documents"]


def test_the_card(built, tmp_path):
    _, dataset, mixture, _ = built
    dataset = Path(shutil.copytree(dataset, tmp_path / "dataset"))
    stages = {
        "clean": {
            "documents_in": 500,
            "documents_out": 200,
            "bytes_in": 90_000,
            "bytes_out": 50_000,
            "sources": {
                "news": {"rejected": {"han_ratio": [200, 30_000]}},
                "law": {"rejected": {"han_ratio": [99, 9000], "length": [1, 1000]}},
            },
            "cpu_seconds": 3.2,
        },
        "decontaminate": {
            "documents_in": 200,
            "documents_out": 140,
            "evaluation_sets": {"fewclue/tnews": {"documents": 2, "paragraphs": 3, "characters": 99}},
            "found": {"fewclue/tnews": {"test.json:1": 2, "test.json:9": 1}},
        },
    }
    counts = {"files": 1, "examples": 10, "texts": 10, "undecidable": 4, "published": "https://example.org"}
    facts = {
        "title": "测试语料",
        "stages": stages,
        "evaluation": {
            "evaluation_sets": {"fewclue/tnews": counts, "clue/c3": counts},
            "missing": {"lcsts": "https://example.org/lcsts"},
        },
        "settings": {"rules": [{"class": "HanRatio", "least": 0.6}]},
        "recipe": "corpus.x = 1\n",
        "licences": {"law": "public domain | art. 5"},
    }
    made = card.write(dataset, **facts)
    texts = [(dataset / name).read_bytes() for name in ("README.md", "card.json")]
    card.write(dataset, **facts)
    assert texts == [(dataset / name).read_bytes() for name in ("README.md", "card.json")]
    assert json.loads(texts[1]) == made
    assert made["funnel"][0]["rules"] == {"han_ratio": [299, 39_000], "length": [1, 1000]}
    assert made["sources"]["news"]["licence"] == "not stated"
    assert made["evaluation"]["sets"]["fewclue/tnews"]["examples_found"] == 2
    assert made["evaluation"]["sets"]["clue/c3"]["paragraphs"] == 0
    assert made["files"].keys() >= {"news/1.0.0/features.json", "mixture.json"}
    assert "seconds" not in texts[1].decode()
    page = texts[0].decode()
    for expected in (
        "# 测试语料",
        f"| news | `news` | {mixture['sources']['news']['documents']} |",
        "public domain \\| art. 5",
        "| clean | 500 | 200 | 90.0 kB | 50.0 kB |",
        "| clean | `han_ratio` | 299 | 39.0 kB |",
        "| fewclue/tnews | 10 | 2 | 2 | 3 | 4 of 10 texts |",
        "[lcsts](https://example.org/lcsts).",
        '"least": 0.6',
        made["sums_sha256"],
    ):
        assert expected in page
