"""The folder of a build: whose it is, and where things are in it.

build.json          what was built from what; a folder belongs to one build
work/STAGE/TASK/    files and stats.json of every task: what resuming, samples and the report read
dataset/            the corpus: one TFDS dataset per source, mixture.json, the card
report.html, report.json
"""

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_pipelines.errors import DataError

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class BuildDirectory:
    """Paths of a build."""

    root: Path

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def dataset(self) -> Path:
        return self.root / "dataset"

    @property
    def identity(self) -> Path:
        return self.root / "build.json"

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.gin"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def report_json(self) -> Path:
        return self.root / "report.json"

    def stage(self, name: str) -> Path:
        return self.work / name


def open_(path: str | Path) -> BuildDirectory:
    """The folder of a build that has begun. Raises DataError when it is none."""
    directory = BuildDirectory(Path(path).expanduser())
    if not directory.identity.is_file():
        raise DataError(f"{path} holds no corpus build: `pangu corpus build --output {path} ...` makes one")
    return directory


@contextlib.contextmanager
def lock(path: str | Path, identity: Mapping[str, Any]) -> Generator[BuildDirectory]:
    """The folder, for one build at a time: made when missing, resumed when it is of the same build.

    Args:
      path: the folder.
      identity: JSON-able; what makes two builds the same.

    Raises:
      DataError: it is of another build, holds something else, is in use, or cannot be written.
    """
    directory = BuildDirectory(Path(path).expanduser().resolve())
    wanted = json.loads(json.dumps({"format": FORMAT, **identity}))
    with contextlib.ExitStack() as stack:
        try:
            directory.root.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((directory.root / ".lock").open("a"))
            _lock(lock.fileno(), path)
            _begin_or_go_on(directory, wanted, path)
        except OSError as error:
            raise DataError(
                f"--output {path}: {error.strerror or error}; name a folder that can be written, with room"
            ) from error
        yield directory


def plain(value: Any) -> Any:
    """Settings as JSON: a dataclass becomes its name and fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"class": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _holds_something(root: Path) -> bool:
    return any(child.name != ".lock" and not child.name.endswith(".partial") for child in root.iterdir())


def _lock(descriptor: int, path: str | Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(f"--output {path}: another build is at work there; wait for it or stop it") from None
    except OSError:  # some network file systems have no locks
        os.fstat(descriptor)


def _begin_or_go_on(directory: BuildDirectory, wanted: dict[str, Any], path: str | Path) -> None:
    if not directory.identity.is_file():
        if _holds_something(directory.root):
            raise DataError(f"--output {path} is not empty and holds no build: name a new folder")
        partial = directory.identity.with_suffix(".partial")
        partial.write_text(json.dumps(wanted, ensure_ascii=False, indent=1), "utf-8")
        partial.replace(directory.identity)
        return
    try:
        found = json.loads(directory.identity.read_text("utf-8"))
    except json.JSONDecodeError:
        raise DataError(f"{directory.identity} is damaged: name a new --output") from None
    if found == wanted:
        return
    names = [name for name in wanted if found.get(name) != wanted[name]]
    raise DataError(
        f"--output {path} is of another build, which differs in: {', '.join(names) or 'its format'}; name a "
        "new folder, or give the same inputs and recipe to resume it"
    )
