"""TFDS datasets in ArrayRecord files, written without TensorFlow.

    <folder>/1.0.0/<name>-train.array_record-00000-of-00002, ..., features.json, dataset_info.json

`tfds.builder_from_directory(<folder>/1.0.0).as_data_source()` and `tfds.data_source(name, data_dir=...)` read
them.
"""

import contextlib
import errno
import json
import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path

from data_pipelines.errors import DataError

VERSION = "1.0.0"
INFO = "dataset_info.json"


def example(named: Mapping[str, Sequence[bytes] | Sequence[int]]) -> bytes:
    """A tf.train.Example as TFDS serializes it, 20 times faster.

    Args:
      named: for every feature one or more values, all bytes or all integers.
    """
    from tensorflow_datasets.proto import tf_example_pb2

    made = tf_example_pb2.Example()
    feature = made.features.feature
    for name, values in named.items():
        whole = isinstance(values[0], int)
        (feature[name].int64_list if whole else feature[name].bytes_list).value.extend(values)
    return made.SerializeToString(deterministic=True)


def shard_path(folder: Path, name: str, split: str, shard: int, shards: int) -> Path:
    """Where a dataset in `folder` has a shard."""
    return folder / f"{name}-{split}.array_record-{shard:05d}-of-{shards:05d}"


def write_shard(path: Path, records: Iterable[bytes], options: str = "group_size:1") -> tuple[int, int]:
    """Writes a shard; gives the number of records and their bytes before compression.

    Args:
      options: of ArrayRecord: how many records are compressed together, and with what.

    Raises:
      OSError: it cannot be written.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    count = size = 0
    with _os_errors():
        writer = ArrayRecordWriter(str(path), options)
    for record in records:
        with _os_errors():
            writer.write(record)
        count += 1
        size += len(record)
    with _os_errors():
        writer.close()
    return count, size


def open_split(folder: Path, name: str, split: str):
    """Random access to the records of a split: a grain source of bytes, with as many as were written.

    A file whose writer was never closed reads as empty, and one that is missing as nothing: both are found by
    the lengths that dataset_info.json has.

    Args:
      folder: of the dataset's version.
      name: the dataset's.
      split: which has a length for each shard in dataset_info.json.

    Raises:
      DataError: a shard is missing, was not closed or copied whole, or holds another number of records.
    """
    import grain

    anew = f"bring it back, or delete {folder.parents[1]} and build that anew"
    lengths = _shard_lengths(folder, split, anew)
    paths = [shard_path(folder, name, split, shard, len(lengths)) for shard in range(len(lengths))]
    for path in paths:
        if not os.access(path, os.R_OK):
            raise DataError(f"{path} is missing, or may not be read: {anew}")
    try:
        source = grain.sources.ArrayRecordDataSource([str(path) for path in paths])
        if len(source) == sum(lengths):
            return source
    except RuntimeError:
        pass  # it does not say which one
    path, why = _unlike(paths, lengths)
    raise DataError(f"{path} {why}: {anew}")


def write_metadata(
    folder: Path, name: str, features, splits: Mapping[str, tuple[Sequence[int], int]]
) -> None:
    """Writes features.json and dataset_info.json beside the shards.

    Args:
      features: a tfds.features.FeaturesDict.
      splits: by name, the records of each shard and the bytes of all.
    """
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(
        dataset_name=name,
        data_dir=folder,
        filetype_suffix="array_record",
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    )
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=list(lengths),
            num_bytes=size,
            filename_template=template.replace(split=split),
        )
        for split, (lengths, size) in splits.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=infos, filename_template=template, check_data=False
    )


def _shard_lengths(folder: Path, split: str, anew: str) -> list[int]:
    """Records of each shard of a split, as `write_metadata` wrote them."""
    try:
        splits = json.loads((folder / INFO).read_text("utf-8"))["splits"]
        (lengths,) = [found["shardLengths"] for found in splits if found["name"] == split]
        return [int(length) for length in lengths]
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = error.strerror if isinstance(error, OSError) else "damaged"
        raise DataError(f"{folder / INFO} does not say what {split} holds ({what}): {anew}") from None


def _unlike(paths: Sequence[Path], lengths: Sequence[int]) -> tuple[Path, str]:
    """The first shard that is not as it was written, and what it is."""
    from array_record.python.array_record_module import ArrayRecordReader

    for path, length in zip(paths, lengths, strict=True):
        reader = ArrayRecordReader(str(path))
        if not reader.ok():  # nothing else says so: it would read as empty
            return path, "was not closed when it was written, or is cut off"
        if reader.num_records() != length:
            return path, f"holds {reader.num_records()} records instead of {length}"
    return paths[0].parent, "has a shard that cannot be read"


@contextlib.contextmanager
def _os_errors() -> Generator[None]:
    """ArrayRecord raises RuntimeError for a full disk, with the system's words in it."""
    try:
        yield
    except RuntimeError as error:
        known = (code for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES))
        code = next((code for code in known if os.strerror(code) in str(error)), errno.EIO)
        raise OSError(code, os.strerror(code)) from error
