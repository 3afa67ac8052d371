"""The index of evaluation sets in the user's cache, so that only the first build pays for it.

    $XDG_CACHE_HOME/pangu_jax/corpus/evaluation_index/KEY/

KEY is a hash of what the index is made of: every evaluation file's content, the settings, and the code that
reads them. So nothing here is ever out of date. An entry holds plain arrays and JSON, and the sum of each
file; one that is damaged is thrown away and made again. A cache that cannot be written is done without.
"""

import contextlib
import hashlib
import inspect
import json
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from data_pipelines import cache

KEPT = 4  # entries, those used last: about 60 MB each
_FACTS = "facts.json"
_SUMS = "sums.json"


def folder() -> Path:
    """Where the entries are; it need not be there yet."""
    return cache.default_root() / "corpus" / "evaluation_index"


def key(settings: Any, files: Iterable[tuple[str, Path]], code: Iterable[ModuleType]) -> str:
    """The name of an entry.

    Args:
      settings: what JSON can hold.
      files: (name of the set, file); two files of one name and content are the same.
      code: modules by which files become an index.
    """
    digest = hashlib.sha256(json.dumps([settings, unicodedata.unidata_version]).encode())
    for module in code:
        digest.update(_sum(Path(inspect.getfile(module))).encode())
    for name, path in files:
        digest.update(json.dumps([name, path.name, _sum(path)]).encode())
    return digest.hexdigest()


def fetch(key: str, names: Sequence[str], out: Path) -> dict | None:
    """Copies an entry's files into the folder `out`; gives what `store` was given, or None without one."""
    entry = folder() / key
    if not entry.is_dir():
        return None
    try:
        sums = json.loads((entry / _SUMS).read_text("utf-8"))
        for name in names:
            shutil.copyfile(entry / name, out / name)
            if _sum(out / name) != sums[name]:
                raise ValueError(f"{name} is damaged")
        facts = (entry / _FACTS).read_bytes()
        if hashlib.sha256(facts).hexdigest() != sums[_FACTS]:
            raise ValueError(f"{_FACTS} is damaged")
        with contextlib.suppress(OSError):
            os.utime(entry)
        return json.loads(facts)
    except (OSError, ValueError, LookupError, TypeError):
        shutil.rmtree(entry, ignore_errors=True)
        return None


def store(key: str, names: Sequence[str], made: Path, facts: dict) -> None:
    """Keeps these files of the folder `made` and `facts`, whole or not at all, and drops old entries."""
    entry = folder() / key
    with contextlib.suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=entry.parent) as scratch:
            partial = Path(scratch, "entry")
            partial.mkdir()
            for name in names:
                shutil.copyfile(made / name, partial / name)
            (partial / _FACTS).write_text(json.dumps(facts, ensure_ascii=False), "utf-8")
            sums = {name: _sum(partial / name) for name in (*names, _FACTS)}
            (partial / _SUMS).write_text(json.dumps(sums), "utf-8")
            partial.rename(entry)
        old_first = sorted(entry.parent.iterdir(), key=lambda path: path.stat().st_mtime)
        for old in old_first[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)


def _sum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
