"""A built corpus as seqio tasks, and as what a recipe trains on."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest

from data_pipelines.corpus import finishing, frames, writing
from data_pipelines.corpus.writing import Writing
from data_pipelines.errors import DataError
from data_pipelines.text.denoising import PrefixLM
from data_pipelines.text.tasks import pangu_corpus
from data_pipelines.text.tasks.mixture import corpus
from data_pipelines.text.tasks.preprocessors import cut_text
from tests.data.made_up import sentences


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of a build: 150 documents of `news`, 50 of `法律`, 10% held out."""
    folder = tmp_path_factory.mktemp("build")
    rows = [
        (str(i), "法律" if i % 4 == 0 else "news", None, f"第{i}篇：" + sentences(i, 2 + i % 20), 1 + i % 3)
        for i in range(200)
    ]
    schema = {**frames.SCHEMA, "cluster_size": pl.UInt32}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    frames.write(frame, folder / "chunk.arrow")
    sizes = frame.group_by("source").agg(pl.len(), pl.col("text").str.len_bytes().sum())
    settings = Writing(shard_bytes=20_000, validation_fraction=0.1, temperature=2.0)
    held = {source: (count, size) for source, count, size in sizes.iter_rows()}
    shards = writing.assign([(folder / "chunk.arrow", held)], settings)
    for shard in shards:
        (folder / shard.key).mkdir()
        writing.write_shard(shard, settings, out=folder / shard.key)
    (folder / "dataset").mkdir()
    finishing.finish_dataset([folder / shard.key for shard in shards], settings, out=folder / "dataset")
    return folder, frame


@pytest.fixture(scope="module")
def trained(built, tmp_path_factory):
    """`corpus.path` on the build, prepared."""
    return corpus(
        path=str(built[0]),
        vocabulary_size=600,
        encoder_length=64,
        decoder_length=32,
        validation_fraction=0.2,
        cache_dir=str(tmp_path_factory.mktemp("cache")),
    )


def test_a_recipe_reads_a_built_corpus(built, trained, tmp_path):
    folder, frame = built
    assert {d.id: d.text for d in trained.read()} == dict(zip(frame["id"], frame["text"], strict=True))
    parts = trained.prepared.documents
    assert len(parts["train"]) + len(parts["validation"]) == 200
    opened = pangu_corpus.open_(folder)
    held_out = {record.id for name in opened.sources for record in opened.records(name, "validation")}
    assert len(held_out) > 5 and held_out <= {document.id for document in parts["validation"]}
    batch = trained.train_source(4, seed=0).batch(0)
    assert batch["encoder_input_tokens"].shape == (4, 64)
    # The folder of the dataset itself is the same corpus; a folder of text is none.
    inner = dataclasses.replace(trained, path=str(folder / "dataset"))
    assert inner.key() == trained.key()
    (tmp_path / "a.txt").write_text("文", "utf-8")
    assert dataclasses.replace(trained, path=str(tmp_path)).key() != trained.key()
    assert pangu_corpus.open_(tmp_path) is None


def test_text_held_out_by_the_corpus_is_not_trained_on(trained):
    with pytest.raises(
        DataError, match=r"validation_fraction 0\.05 is below the 0\.1 .* set it to 0\.1 or more"
    ):
        dataclasses.replace(trained, validation_fraction=0.05).read()


def test_tasks_give_every_document_of_their_source(built, trained):
    import seqio

    folder, frame = built
    windows = pangu_corpus.Windows(trained.vocabulary, 64, 32)
    names = pangu_corpus.register(folder, windows, PrefixLM())
    law = writing.dataset_name("法律")
    assert names == ["pangu_corpus_news", f"pangu_corpus_{law}", "pangu_corpus"]
    lengths = {"inputs": 64, "targets": 32}
    found = []
    for split in ("train", "validation"):
        task = seqio.get_mixture_or_task(names[1])
        for e in task.get_dataset(lengths, split=split, shuffle=False).as_numpy_iterator():
            joined = [*e["inputs"][1:], *e["targets"]]
            found.append(tuple(token for token in joined if token != 1))
    whole = [
        tuple(piece.tokens.tolist())
        for text in frame.filter(source="法律")["text"]
        for piece in cut_text(text, trained.vocabulary, PrefixLM(), windows)
    ]
    assert sorted(found) == sorted(whole)
    converter = seqio.EncDecFeatureConverter(pack=True)
    mixed = seqio.get_dataset("pangu_corpus", lengths, converter, dataset_split="train", shuffle=True, seed=1)
    assert next(mixed.as_numpy_iterator())["decoder_target_tokens"].shape == (32,)


def test_weights_of_the_mixture(built, trained):
    import seqio

    windows = pangu_corpus.Windows(trained.vocabulary, 64, 32)
    law = f"pangu_corpus_{writing.dataset_name('法律')}"
    mixture = json.loads((built[0] / "dataset" / "mixture.json").read_text("utf-8"))["sources"]
    sizes = {source: facts["bytes"] for source, facts in mixture.items()}

    def rates(**options):
        pangu_corpus.register(built[0], windows, **options)
        found = seqio.MixtureRegistry.get("pangu_corpus")
        return {task.name: found.get_rate(task) for task in found.tasks}

    roots = {source: size**0.5 for source, size in sizes.items()}
    assert rates()[law] == pytest.approx(roots["法律"] / sum(roots.values()))
    assert rates(temperature=1)[law] == pytest.approx(sizes["法律"] / sum(sizes.values()))
    assert rates(weights={"法律": 3, "news": 1}) == pytest.approx({"pangu_corpus_news": 0.25, law: 0.75})
    assert rates(weights={"news": 1}) == {"pangu_corpus_news": 1}
    with pytest.raises(DataError, match=r"pangu_corpus\.weights: there is no source 'law': have news, 法律"):
        rates(weights={"law": 1})


def test_documents_that_had_copies_are_read_more_often(built):
    records = pangu_corpus.open_(built[0]).records("news", "train")
    read = list(pangu_corpus._repeated(records, np.arange(len(records))))
    counts = {record.id: sum(other.id == record.id for other in read) for record in records}
    assert {counts[record.id] == record.cluster_size for record in records} == {True}
    assert len({record.id for record in read[: len(records)]}) == len(records)


def test_a_folder_without_a_corpus(tmp_path, trained):
    windows = pangu_corpus.Windows(trained.vocabulary, 64, 32)
    with pytest.raises(DataError, match="holds no built corpus: `pangu corpus build --output") as error:
        pangu_corpus.register(tmp_path, windows)
    assert "\n" not in str(error.value)
    (tmp_path / "mixture.json").write_text("{")
    (tmp_path / "SHA256SUMS").write_text("")
    with pytest.raises(DataError, match=r"mixture\.json is damaged"):
        pangu_corpus.open_(tmp_path)
