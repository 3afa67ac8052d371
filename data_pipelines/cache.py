"""A cache of what data was made into: text is read, split, tokenised and packed once, and then only read.

A cache is a folder named by the hash of everything it depends on: of text, the text, the vocabulary's
settings and the objectives. It is written beside its final place and renamed into it, so a half-written one
is never found, and whoever comes second finds the first one's. Inside, one TFDS dataset per objective:

    <root>/<key>/vocabulary.model, manifest.json, quarantine.jsonl
    <root>/<key>/<corpus>_<objective>/1.0.0/<corpus>_<objective>-train.array_record-00000-of-00001, ...

`tfds.builder_from_directory(folder).as_data_source()` and `tfds.data_source(name, data_dir=...)` read it. No
TensorFlow is imported here.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines import array_records
from data_pipelines.array_records import VERSION
from data_pipelines.errors import DataError

SHARD_BYTES = 256 * 2**20
SPLITS = ("train", "validation")
BUILDING = ".building-"


def default_root() -> Path:
    """$XDG_CACHE_HOME/pangu_jax, or ~/.cache/pangu_jax."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pangu_jax"


def write_dataset(root: Path, name: str, splits: Mapping[str, Iterable[bytes]], features: Any) -> None:
    """Writes serialized examples (by split) as the TFDS dataset `name` of `features` under `root`."""
    folder = root / name / VERSION
    folder.mkdir(parents=True)
    written = {}
    for split, members in splits.items():
        records = list(members)
        size = sum(map(len, records))
        shards = max(1, -(-size // SHARD_BYTES))
        edges = np.linspace(0, len(records), shards + 1).astype(int)
        for shard in range(shards):
            path = array_records.shard_path(folder, name, split, shard, shards)
            array_records.write_shard(path, records[edges[shard] : edges[shard + 1]])
        written[split] = np.diff(edges).tolist(), size
    array_records.write_metadata(folder, name, features, written)


def records(root: Path, name: str, split: str):
    """Random access to the serialized examples of a split: a grain source of bytes, length len().

    Raises:
      DataError: its files are not those that were written.
    """
    return array_records.open_split(root / name / VERSION, name, split)


@dataclasses.dataclass(frozen=True)
class Cache:
    """A finished cache. `manifest`: the settings it is keyed by and counts measured while building."""

    root: Path
    manifest: dict


def open_or_build(root: Path, key: str, build: Callable[[Path], dict]) -> Cache:
    """The cache `root/key`. Where it is missing, `build` fills an empty folder and returns the manifest.

    Any number of processes may do this at once: they take turns where the file system has locks, and where it
    has not, the first to finish wins.

    Raises:
      DataError: the cache folder cannot be written.
    """
    final = root / key
    try:
        if not (final / "manifest.json").is_file():
            root.mkdir(parents=True, exist_ok=True)
            with _turn(root / f".{key}.lock") as sure:
                _remove_leftovers(root, key if sure else None)
                if not (final / "manifest.json").is_file():
                    _build(root, key, build)
        return Cache(final, json.loads((final / "manifest.json").read_text("utf-8")))
    except json.JSONDecodeError as error:
        raise DataError(f"the token cache {final} is damaged: delete the folder to build it anew") from error
    except OSError as error:
        raise DataError(
            f"cannot write the token cache {final}: {error.strerror or error}; "
            "set corpus.cache_dir or XDG_CACHE_HOME to a folder with room that you may write"
        ) from error


def _build(root: Path, key: str, build: Callable[[Path], dict]) -> None:
    building = Path(tempfile.mkdtemp(prefix=f"{BUILDING}{key}@{socket.gethostname()}-", dir=root))
    try:
        manifest = build(building)
        text = json.dumps(manifest, ensure_ascii=False, indent=1)
        (building / "manifest.json").write_text(text, "utf-8")
        building.chmod(0o755)
        try:
            building.rename(root / key)
        except (
            OSError
        ):  # Renaming onto a folder that is not empty: another process was first. Its cache is the same.
            if not (root / key / "manifest.json").is_file():
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _remove_leftovers(root: Path, mine: str | None) -> None:
    """Removes what builders that were killed left: no process holds the lock of their key.

    Folders of another host stay, since a network file system's locks may end at the host. `mine` is the key
    whose lock this process holds.
    """
    for folder in root.glob(f"{BUILDING}*@*"):
        key, _, owner = folder.name.removeprefix(BUILDING).rpartition("@")
        if owner.rpartition("-")[0] != socket.gethostname():
            continue
        with contextlib.ExitStack() as stack:
            if key == mine or stack.enter_context(_turn(root / f".{key}.lock", wait=False)):
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _turn(lock: Path, wait: bool = True) -> Generator[bool]:
    """Holds the lock, if it says True; False where the file system has none or, unless one is to wait for it,
    where another holds it."""
    import fcntl

    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:  # Some network file systems have no locks.
            yield False
        else:
            yield True
