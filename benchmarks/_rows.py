"""Rows of a benchmark in a file, a line each: kept as soon as they are there, and none is made twice."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pangu_jax.runs.run_directory import write_atomically

Row = dict[str, Any]


def read(path: Path) -> list[Row]:
    """[] where there is no such file."""
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []


def write(path: Path, rows: Iterable[Row], about: Mapping[str, Any]) -> None:
    """JSON of what is told `about` the rows, and the `rows`."""
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    told = "".join(f" {json.dumps(name)}: {json.dumps(value)},\n" for name, value in about.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, f'{{\n{told} "rows": [\n{lines}\n ]\n}}\n')


class Rows:
    """A JSON file with `rows`, and what was settled for all of them.

    Args:
      path: the file; made when the first row is kept.
      settings: what all rows have in common; rows of other settings are refused.
      keys: what tells rows apart.
    """

    def __init__(self, path: Path, settings: Row, keys: tuple[str, ...]):
        self.path, self._settings, self._keys = path, json.loads(json.dumps(settings)), keys
        self.rows: list[Row] = []
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["settings"] != self._settings:
                raise SystemExit(f"{path} is of other settings: move it away, or name another by --out")
            self.rows = found["rows"]

    def get(self, **key: Any) -> Row | None:
        """A row that is there."""
        return next((row for row in self.rows if all(row[name] == key[name] for name in self._keys)), None)

    def keep(self, make: Callable[[], Row], **key: Any) -> Row:
        """The row of a key, made unless it is there."""
        if (found := self.get(**key)) is not None:
            return found
        row = key | make()
        self.rows.append(row)
        print(json.dumps(row), flush=True)
        write(self.path, self.rows, {"settings": self._settings})
        return row
