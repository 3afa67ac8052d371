"""From text to batches: no leak, no loss on padding, the same batches on any number of hosts."""

import dataclasses
import itertools
import json
import multiprocessing
import subprocess
import sys

import numpy as np
import pytest

from data_pipelines import cache
from data_pipelines.batches import ValidationBatches
from data_pipelines.errors import DataError
from data_pipelines.text import baselines, documents
from data_pipelines.text import windows as text_windows
from data_pipelines.text.documents import Document
from data_pipelines.text.tasks.mixture import corpus


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def windows(settings, objective, split):
    records = settings.prepared.task(objective, split).records
    return [text_windows.parse(records[i]) for i in range(len(records))]


def test_no_validation_text_in_train(small):
    train, validation = (small.prepared.documents[split] for split in ("train", "validation"))
    assert len(validation) >= 8 and small.prepared.manifest["duplicates"] == 10
    everything = "\n".join(document.text for document in train)
    long = [d.text for d in validation if len(d.text) > 100]
    assert long and not any(text in everything for text in long)
    for objective in small.objectives:
        ids = {
            split: {name.rsplit("[", 1)[0] for w in windows(small, objective, split) for name in w.ids}
            for split in ("train", "validation")
        }
        assert not ids["train"] & ids["validation"]
        assert ids["train"] <= {document.id for document in train}


def test_variants_of_one_text_are_one_document():
    texts = ["第一篇，1998。", " 第一篇,１９９８ ", "第二篇", "", "——", "第三篇"]
    parts = documents.split((Document(str(i), text) for i, text in enumerate(texts)), 0.02)
    assert (parts.duplicates, parts.blank) == (1, 2)
    assert len(parts.train) + len(parts.validation) == 3 and parts.validation


def test_the_split_does_not_move_when_the_corpus_grows():
    texts = [Document(str(i), f"文档{i}") for i in range(2000)]
    small, large = documents.split(texts[:1000], 0.1), documents.split(texts, 0.1)
    assert set(small.validation) <= set(large.validation)
    assert len(large.validation) == pytest.approx(200, abs=40)


@pytest.mark.parametrize("objective", ["span", "prefix", "causal"])
def test_the_cache_holds_every_token_once(small, objective):
    texts = {d.id: d.text for d in small.prepared.documents["train"]}
    found: dict[str, dict[int, np.ndarray]] = {}
    for window in windows(small, objective, "train"):
        for piece, name in zip(window.pieces, window.ids, strict=True):
            document, place = name[:-1].rsplit("[", 1)
            found.setdefault(document, {})[int(place.split(":")[0])] = piece.tokens
    for document, pieces in found.items():
        tokens = np.concatenate([pieces[begin] for begin in sorted(pieces)])
        whole = small.vocabulary.encode(texts[document])
        assert len(whole) - len(tokens) < small.objectives[objective].shortest
        assert np.array_equal(tokens, whole[: len(tokens)])


def test_batches_are_a_function_of_the_step(small):
    source = small.train_source(8, seed=3)
    again = dataclasses.replace(small).train_source(8, seed=3)
    steps = [source.batch(step) for step in range(12)]
    assert same(again.batch(11), steps[11])
    assert again.identity(11) == source.identity(11)
    for made, expected in zip(source.iterator(5), steps[5:], strict=False):
        assert same(made, expected)
    assert not same(small.train_source(8, seed=4).batch(0), steps[0])

    hosts = [[source.batch(step, slice(row, row + 2)) for row in range(0, 8, 2)] for step in range(3)]
    for step, parts in enumerate(hosts):
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        assert same(joined, steps[step])
    (first,) = itertools.islice(source.iterator(1, slice(6, 8)), 1)
    assert same(first, hosts[1][3])


def test_an_epoch_shows_every_window_once_and_the_next_one_anew(small):
    only = dataclasses.replace(small, weights={"span": 1})
    size = only.prepared.task("span", "train").size
    source = only.train_source(1, seed=0)
    epochs = [[source.identity(step)[0] for step in range(e * size, (e + 1) * size)] for e in (0, 1)]
    assert len(set(epochs[0])) == size
    assert set(epochs[0]) == set(epochs[1]) and epochs[0] != epochs[1]
    again = epochs[1].index(epochs[0][0]) + size
    assert not same(source.batch(0), source.batch(again))


def test_the_mixture_keeps_its_weights(small):
    source = dataclasses.replace(small, weights={"span": 1, "prefix": 3}).train_source(40, seed=0)
    assert np.bincount(source.batch(2)["task_id"]).tolist() == [10, 30]
    assert sum(name.startswith("corpus_span:") for name in source.identity(2)) == 10


def test_arrays(small):
    for batch in [
        small.train_source(16, 0).batch(0),
        *small.validation_sources(16)["corpus_prefix"].iterator(),
    ]:
        encoder, decoder = batch["encoder_segment_ids"], batch["decoder_segment_ids"]
        assert encoder.shape == (16, 64) and decoder.shape == (16, 32)
        assert np.array_equal(batch["decoder_loss_weights"], decoder > 0)
        assert batch["decoder_loss_weights"].dtype == np.float32
        assert not batch["decoder_target_tokens"][decoder == 0].any()
        assert (batch["decoder_target_tokens"][decoder > 0] > 0).all()
        assert np.array_equal(encoder.max(1), decoder.max(1))
        begins = (batch["decoder_positions"] == 0) & (decoder > 0)
        assert not batch["decoder_input_tokens"][begins].any()
        inside = (batch["decoder_positions"] > 0)[:, 1:]
        assert np.array_equal(
            batch["decoder_input_tokens"][:, 1:][inside], batch["decoder_target_tokens"][:, :-1][inside]
        )


def test_validation_is_finite_fixed_and_padded(small):
    one, three = (small.validation_sources(size)["corpus_span"] for size in (1, 3))
    assert len(three) == -(-len(one) // 3) == len(list(three.iterator()))
    assert all(same(a, b) for a, b in zip(three.iterator(), three.iterator(), strict=True))
    weights = [sum(b["decoder_loss_weights"].sum() for b in s.iterator()) for s in (one, three)]
    assert weights[0] == weights[1] > 0
    assert sum(map(len, map(three.identity, range(len(three))))) == len(one)


def test_no_validation_windows_are_none_and_not_all(small):
    def limited(windows):
        return dataclasses.replace(small, validation_windows=windows)

    for windows in (0, 2):
        for source in limited(windows).validation_sources(2).values():
            assert (source.windows, len(list(source.iterator()))) == (windows, windows // 2)
    assert limited(0).baselines("prefix") == {}


def test_baselines_against_a_plain_count(small):
    vocabulary_size = small.vocabulary_size
    train = ValidationBatches(small.prepared.task("prefix", "train"), 4)
    held_out = ValidationBatches(small.prepared.task("prefix", "validation"), 4)
    found = baselines.ngram_losses(train, held_out, vocabulary_size)

    def pairs(source):
        for batch in source.iterator():
            for row in range(4):
                segments, tokens = batch["encoder_segment_ids"][row], batch["encoder_input_tokens"][row]
                last = dict(zip(segments, tokens, strict=True))
                for column in np.flatnonzero(batch["decoder_loss_weights"][row]):
                    before = batch["decoder_input_tokens"][row, column]
                    if batch["decoder_positions"][row, column] == 0:
                        before = last[batch["decoder_segment_ids"][row, column]]
                    yield int(before), int(batch["decoder_target_tokens"][row, column])

    counts: dict = {}
    for before, token in pairs(train):
        for key in [token, (before, token), ("context", before), "all"]:
            counts[key] = counts.get(key, 0) + 1
    unigram, bigram = [], []
    for before, token in pairs(held_out):
        unigram.append(-np.log((counts.get(token, 0) + 1) / (counts["all"] + vocabulary_size)))
        together = counts.get((before, token), 0) + 1
        bigram.append(-np.log(together / (counts.get(("context", before), 0) + vocabulary_size)))
    assert found["tokens"] == len(unigram)
    assert found["unigram"] == pytest.approx(np.mean(unigram))
    assert found["bigram"] == pytest.approx(np.mean(bigram))
    assert small.baselines("prefix") == small.baselines("prefix")


def test_tfds_reads_the_cache(small):
    import tensorflow_datasets as tfds

    source = tfds.data_source("corpus_span", data_dir=small.prepared.root, split="train")
    ours = windows(small, "span", "train")
    assert len(source) == len(ours)
    example = source[0]
    assert np.array_equal(example["tokens"], np.concatenate([p.tokens for p in ours[0].pieces]))
    assert np.array_equal(example["word_starts"], np.concatenate([p.word_starts for p in ours[0].pieces]))
    assert [name.decode() for name in example["ids"]] == ours[0].ids
    assert text_windows.features().deserialize_example_np(text_windows.serialize(ours[0]))[
        "lengths"
    ].tolist() == [len(piece.tokens) for piece in ours[0].pieces]


def test_seqio_gives_the_same_pieces(small):
    import seqio

    from data_pipelines.text.tasks.registration import register

    names = register(small)
    assert names == ["corpus_span", "corpus_prefix", "corpus_causal", "corpus"]
    lengths = {"inputs": 64, "targets": 32}

    def examples(name):
        task = seqio.get_mixture_or_task(name)
        return list(task.get_dataset(lengths, split="validation", shuffle=False).as_numpy_iterator())

    ours = sorted(
        (*piece.tokens.tolist(), *([1] if piece.final else []))
        for window in windows(small, "causal", "validation")
        for piece in window.pieces
    )
    theirs = examples("corpus_causal")
    assert sorted(tuple(e["targets"].tolist()) for e in theirs) == ours
    assert {tuple(e["inputs"].tolist()) for e in theirs} == {(small.vocabulary.special.modes["[C]"],)}
    whole = sorted(
        tuple(piece.tokens.tolist())
        for window in windows(small, "prefix", "validation")
        for piece in window.pieces
    )
    joined = [[*e["inputs"][1:], *e["targets"]] for e in examples("corpus_prefix")]
    assert sorted(tuple(t for t in tokens if t != 1) for tokens in joined) == whole
    assert all(len(e["inputs"]) <= 64 and len(e["targets"]) <= 32 for e in examples("corpus_span"))

    converter = seqio.EncDecFeatureConverter(pack=True)
    mixed = seqio.get_dataset("corpus", lengths, converter, dataset_split="train", shuffle=False)
    row = next(mixed.as_numpy_iterator())
    assert {*row} == {*small.train_source(1, 0).batch(0)} - {"task_id"}


def _prepare(settings):
    return dict(settings.prepare().manifest["tasks"]["span"]["windows"])


def test_two_processes_build_one_cache(small, tmp_path):
    settings = dataclasses.replace(small, cache_dir=str(tmp_path))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.map(_prepare, [settings, settings], chunksize=1)
    assert first == second
    assert len(list(tmp_path.glob("corpus-*"))) == 1 and not list(tmp_path.glob(".building*"))


def test_a_build_that_fails_leaves_nothing(tmp_path):
    def broken(folder):
        (folder / "half").write_text("")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        cache.open_or_build(tmp_path, "key", broken)
    assert not list(tmp_path.glob("key*")) and not list(tmp_path.glob(".building*"))
    assert cache.open_or_build(tmp_path, "key", lambda folder: {"built": 1}).manifest == {"built": 1}


BUILD_FOR_EVER = """
import pathlib, sys, time
from data_pipelines import cache
def build(folder):
    (folder / "half").write_text("")
    print("building", flush=True)
    time.sleep(600)
cache.open_or_build(pathlib.Path(sys.argv[1]), sys.argv[2], build)
"""


@pytest.mark.parametrize("key", ["same", "other"])
def test_what_a_killed_build_leaves_goes_with_the_next_one(tmp_path, key):
    elsewhere = tmp_path / f"{cache.BUILDING}same@another-host-x1"
    elsewhere.mkdir()
    command = [sys.executable, "-c", BUILD_FOR_EVER, str(tmp_path), "same"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as builder:
        assert builder.stdout.readline() == "building\n"
        half = [path.parent for path in tmp_path.glob(f"{cache.BUILDING}*/half")]
        cache.open_or_build(tmp_path, "third", lambda folder: {})
        assert [path.exists() for path in half] == [True]  # its builder lives
        builder.kill()
    cache.open_or_build(tmp_path, key, lambda folder: {})
    assert [*tmp_path.glob(f"{cache.BUILDING}*")] == [elsewhere]


def test_the_key_follows_text_and_settings(small, text_folder, tmp_path):
    key = json.dumps(small.key())
    assert json.dumps(dataclasses.replace(small, encoder_length=128).key()) != key
    assert json.dumps(dataclasses.replace(small, validation_windows=1, weights={"span": 2}).key()) == key
    for file in text_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    moved = dataclasses.replace(small, path=str(tmp_path))
    assert json.dumps(moved.key()) == key
    (tmp_path / "b.txt").write_text("另外的文字")
    assert json.dumps(moved.key()) != key


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": {"spam": 1}}, "no objective 'spam': have span, prefix, causal"),
        ({"weights": {"span": -1}}, "not negative"),
        ({"weights": {"span": 0}}, "all are zero"),
        ({"encoder_length": 4}, "at least 16"),
        ({"validation_windows": -1}, "validation_windows -1 must be at least 0"),
        ({"validation_fraction": 0.9}, r"must be in \(0, 0.5\]"),
        ({"vocabulary_file": "/nowhere/x.model"}, r"corpus\.vocabulary_file: cannot read"),
        ({"cache_dir": "/proc/nowhere"}, r"cannot write the token cache .*corpus\.cache_dir"),
    ],
)
def test_bad_settings(text_folder, settings, message):
    with pytest.raises(DataError, match=message) as error:
        corpus(path=str(text_folder), **settings).prepare()
    assert "\n" not in str(error.value).split("\n  In call to configurable")[0]  # gin's addition


def test_a_warm_start_loads_no_tensorflow(small):
    program = (
        "import sys; from data_pipelines.text.tasks.mixture import corpus;"
        "assert not {'tensorflow', 'seqio', 'jax', 'grain'} & set(sys.modules);"
        f"c = corpus(path={small.path!r}, vocabulary_size=600, encoder_length=64, decoder_length=32,"
        f"validation_fraction=0.1, cache_dir={small.cache_dir!r});"
        "c.train_source(4, 0).batch(0); assert not {'tensorflow', 'seqio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_decides_the_order_is_told_by_its_parts(small):
    """A checkpoint keeps it: text, how windows are made of it, weights; never a hash of all together."""
    order = small.order()
    assert order["weights"] == "span 1, prefix 2, causal 1"
    assert dataclasses.replace(small).order() == order

    def differing(**changed):
        other = dataclasses.replace(small, **changed).order()
        return [name for name in order if other[name] != order[name]]

    assert differing(weights={"span": 1, "causal": 2.5}) == ["weights"]
    assert differing(validation_windows=7, cache_dir=small.cache_dir) == []
    assert differing(validation_fraction=0.2) == ["windows"]
    assert dataclasses.replace(small, weights={"span": 0, "causal": 2.5}).order()["weights"] == "causal 2.5"


def test_another_text_is_another_order_though_the_vocabulary_is_the_same(small, text_folder, tmp_path):
    vocabulary = str(small.prepared.root / "vocabulary.model")
    (tmp_path / "text").mkdir()
    for file in text_folder.iterdir():
        (tmp_path / "text" / file.name).write_bytes(file.read_bytes())
    first, second = (
        dataclasses.replace(
            small, path=str(tmp_path / "text"), vocabulary_file=vocabulary, cache_dir=str(tmp_path / "cache")
        )
        for _ in range(2)
    )
    before = first.order()
    (tmp_path / "text" / "new.txt").write_text("新的文件，与先前不同。", "utf-8")
    after = second.order()
    assert first.fingerprint() == second.fingerprint()
    assert [name for name in before if after[name] != before[name]] == ["text"]


def test_what_threads_need_is_imported_before_they_read_ahead(monkeypatch, small):
    """A warm start hung: two threads that read ahead imported TFDS, which loads lazily, at the same time."""
    text_windows._example.cache_clear()
    monkeypatch.setattr(cache, "records", lambda *_: [])
    lengths = {"encoder_length": 8, "decoder_length": 8}
    text_windows.WindowTask(
        small.prepared.root, "d", "train", name="a", index=0, objective=None, special=None, **lengths
    )
    assert text_windows._example.cache_info().currsize == 1
