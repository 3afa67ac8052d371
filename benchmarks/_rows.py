"""Rows of a benchmark in a file: each is written as soon as it is there, and none is made twice."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


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
        lines = ",\n".join(f"  {json.dumps(row)}" for row in self.rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = f'{{\n "settings": {json.dumps(self._settings)},\n "rows": [\n{lines}\n ]\n}}\n'
        self.path.write_text(text, encoding="utf-8")
        return row
