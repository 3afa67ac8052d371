"""A split is read whole or not at all: ArrayRecord files not closed, cut off, or not there."""

import errno
import json
import shutil

import numpy as np
import pytest

from data_pipelines import array_records, cache
from data_pipelines.errors import DataError

SPLITS = {"train": [b"a%d" % i * 50 for i in range(40)], "validation": [b"v"], "none": []}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A data set of two shards and one."""
    import tensorflow_datasets as tfds

    root = tmp_path_factory.mktemp("cache") / "key"
    features = tfds.features.FeaturesDict({"text": tfds.features.Tensor(shape=(), dtype=np.int64)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "SHARD_BYTES", 3000)
        cache.write_dataset(root, "d", SPLITS, features)
    return root


@pytest.fixture
def copy(written, tmp_path):
    shutil.copytree(written, tmp_path / "key")
    return tmp_path / "key"


def shards(root):
    return sorted((root / "d" / array_records.VERSION).glob("d-train.*"))


def unclosed(path, records=200):
    """What a writer leaves that was never closed, as it is found after a kill."""
    from array_record.python.array_record_module import ArrayRecordWriter

    other = path.with_name("other")
    writer = ArrayRecordWriter(str(other), "group_size:1")
    for record in range(records):
        writer.write(b"%d" % record * 900)
    shutil.copyfile(other, path)
    writer.close()
    other.unlink()


def truncated(path):
    path.write_bytes(path.read_bytes()[: 2**16 + 100])


def shorter(path):
    array_records.write_shard(path, SPLITS["train"][:3])


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_has_what_was_written(written, split):
    found = cache.records(written, "d", split)
    assert [found[i] for i in range(len(found))] == SPLITS[split]
    assert len(shards(written)) == 2


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda path: unclosed(path, 5), "was not closed when it was written, or is cut off"),
        (lambda path: unclosed(path, 3000), "was not closed when it was written, or is cut off"),
        (truncated, "was not closed when it was written, or is cut off"),
        (lambda path: path.write_bytes(b""), "was not closed when it was written, or is cut off"),
        (lambda path: array_records.write_shard(path, []), "holds 0 records instead of 20"),
        (shorter, "holds 3 records instead of 20"),
        (lambda path: path.unlink(), "is missing, or may not be read"),
    ],
    ids=["unclosed", "unclosed and long", "cut off", "empty file", "no record", "fewer records", "missing"],
)
def test_a_shard_that_is_not_whole_is_named(copy, damage, why):
    path = shards(copy)[1]
    damage(path)
    with pytest.raises(DataError) as refused:
        cache.records(copy, "d", "train")
    assert str(refused.value) == f"{path} {why}: bring it back, or delete {copy} and build that anew"


@pytest.mark.parametrize("content", [None, "{", '{"splits": []}', '{"splits": [{"name": "train"}]}'])
def test_a_data_set_that_does_not_say_what_it_holds_is_refused(copy, content):
    info = copy / "d" / array_records.VERSION / "dataset_info.json"
    info.unlink() if content is None else info.write_text(content)
    with pytest.raises(
        DataError, match=r"dataset_info\.json does not say what train holds \(.*delete .*key and"
    ):
        cache.records(copy, "d", "train")


def test_lengths_are_where_tfds_keeps_them(written):
    info = json.loads((written / "d" / array_records.VERSION / "dataset_info.json").read_text())
    assert {split["name"]: split["shardLengths"] for split in info["splits"]}["train"] == ["20", "20"]


def test_a_full_disk_is_the_systems_error(tmp_path):
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    with pytest.raises(OSError) as raised:
        array_records.write_shard(full, [b"x" * 1000] * 1000)
    assert raised.value.errno == errno.ENOSPC
    with pytest.raises(DataError, match=r"cannot write the token cache .*No space left on device"):
        cache.open_or_build(
            tmp_path, "key", lambda folder: array_records.write_shard(full, [b"x" * 1000] * 1000)
        )
