"""Rows of a benchmark in a file, a line each: kept as soon as they are there, and none is made twice."""

import argparse
import json
import os
import statistics
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pangu_jax.runs.run_directory import write_atomically

Row = dict[str, Any]
ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("PANGU_DATA_DIR") or ROOT / "../shared/data")


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


def by_seeds(
    arguments: list[str] | None,
    about: str,
    results: Path,
    settings: Row,
    keys: tuple[str, ...],
    one_seed: Callable[[Rows, Row, int, Path], None],
    table: Callable[[list[Row]], str],
) -> None:
    """The command of a benchmark by CIFAR-10: prints its table; with --train makes what is missing first.

    Args:
      arguments: of the command line; the program's own when None.
      about: what it measures; its first line is shown.
      results: the JSON.
      settings: unless others are given.
      keys: what tells rows apart.
      one_seed: makes the rows of a seed, by settings and the folder of pictures.
      table: of rows, in Markdown.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--train", action="store_true", help="train what is missing")
    parser.add_argument("--seeds", type=int, default=5, help="from 0 on")
    parser.add_argument("--data_dir", type=Path, default=DATA, help="with vision/cifar10")
    parser.add_argument("--out", type=Path, default=results, help="the JSON")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON", help="another setting")
    given = parser.parse_args(arguments)
    settings = settings | {name: json.loads(v) for name, _, v in (one.partition("=") for one in given.set)}
    rows = Rows(given.out, settings, keys)
    if given.train:
        for seed in range(given.seeds):
            one_seed(rows, settings, seed, (given.data_dir / "vision" / "cifar10").resolve())
    print(table(rows.rows) if rows.rows else f"{given.out} is not there: make it with --train")


def spread(values: list[float], signed: bool = False) -> str:
    """Mean and standard error; of one value the value."""
    if not values:
        return ""
    mean = f"{statistics.fmean(values):+.1f}" if signed else f"{statistics.fmean(values):.1f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values) / len(values) ** 0.5:.1f}"
