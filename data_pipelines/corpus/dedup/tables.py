"""Tables of numbers in Arrow files, of which a task reads only what it needs.

A file is cut into parts by its rows' hashes, one record batch per part, so that a join of all chunks reads
one part of each. Or it is one part sorted by document, so that a chunk finds its rows by bisection. Either
way the file is mapped, and what is not read costs nothing.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

_CHUNK = b"chunk"

Columns = dict[str, np.ndarray]


def part_of(hashes: np.ndarray, parts: int) -> np.ndarray:
    """The part, in [0, parts), of each hash, by its upper bits: uint64, and uint64 again."""
    return (hashes >> np.uint64(32)) * np.uint64(parts) >> np.uint64(32)


def numbers(number: int, rows: np.ndarray) -> np.ndarray:
    """Document numbers of the rows of chunk `number`: uint64."""
    return np.uint64(number << 32) | rows.astype(np.uint64)


def write(
    path: Path, columns: Mapping[str, Any], part: np.ndarray | None = None, parts: int = 1, of: int = 0
) -> None:
    """Writes a table, its rows in their order within each part.

    Args:
      columns: arrays of the same length, of NumPy or Arrow.
      part: the part of each row; without it all are one.
      of: the number of the chunk that the rows are from.
    """
    rows = pa.record_batch({name: pa.array(values) for name, values in columns.items()})
    rows = rows.replace_schema_metadata({_CHUNK: str(of)})
    bounds = np.array([0, rows.num_rows])
    if part is not None:
        # Sorting integers of 16 bits takes linear time.
        part = part.astype(np.uint16 if parts <= 2**16 else np.uint64)
        order = np.argsort(part, kind="stable")
        rows = rows.take(pa.array(order))
        bounds = np.append(0, np.bincount(part, minlength=parts).cumsum())
    with pa.ipc.new_file(str(path), rows.schema) as writer:
        for begin, end in itertools.pairwise(bounds.tolist()):
            writer.write_batch(rows.slice(begin, end - begin))


def read(path: Path, part: int = 0) -> Columns:
    """One part; its arrays are views of the mapped file where NumPy has the type."""
    return _arrays(batch(path, part))


def read_all(paths: Sequence[Path], part: int = 0, names: Sequence[str] | None = None) -> Columns:
    """One part of all files (at least one), rows one after the other; `names` are the columns wanted.

    No file stays mapped: the system allows a process only so many maps.
    """
    first = _open(paths[0]).schema
    names = names or first.names
    rows = sum(batch(path, part).num_rows for path in paths)
    columns = {name: np.empty(rows, first.field(name).type.to_pandas_dtype()) for name in names}
    begin = 0
    for path in paths:
        one = batch(path, part)
        for name, column in columns.items():
            column[begin : begin + one.num_rows] = one[name].to_numpy(zero_copy_only=False)
        begin += one.num_rows
    return columns


def batch(path: Path, part: int = 0) -> pa.RecordBatch:
    """One part, mapped, for columns that NumPy has no type for."""
    return _open(path).get_batch(part)


def parts(path: Path) -> int:
    """How many parts a file has."""
    return _open(path).num_record_batches


def of_chunk(path: Path, number: int) -> Columns:
    """A chunk's rows of a table that is one part, sorted by its column `document`."""
    rows = batch(path)
    documents = rows["document"].to_numpy()
    begin, end = documents.searchsorted(np.array([number << 32, (number + 1) << 32], np.uint64)).tolist()
    return _arrays(rows.slice(begin, end - begin))


def chunk(path: Path) -> int:
    """The number of the chunk that a file's rows are from."""
    return int(_open(path).schema.metadata[_CHUNK])


def repeated(paths: Sequence[Path], part: int, key: str) -> np.ndarray:
    """Values of `key` that a part of all files has more than once, sorted: uint64.

    It holds all the part's values in memory.
    """
    keys = read_all(paths, part, (key,))[key]
    keys.sort()
    return np.unique(keys[1:][keys[1:] == keys[:-1]])


def select(path: Path, part: int, key: str, values: np.ndarray, names: Sequence[str] = ()) -> Columns:
    """Of a part's rows those whose `key` is among the sorted `values`, in their order.

    Returns:
      `group`, the place in `values` (int64); `document`, the number of the row's document (uint64); and the
      columns `names`.
    """
    columns = read(path, part)
    group = values.searchsorted(columns[key])
    found = group < len(values)
    found[found] = values[group[found]] == columns[key][found]
    document = numbers(chunk(path), columns["row"][found])
    return {"group": group[found], "document": document} | {name: columns[name][found] for name in names}


def concatenate(tables: Sequence[Columns]) -> Columns:
    """The rows of all tables (at least one) one after the other."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def distinct(*columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """The distinct rows of some columns, sorted by the first, then the next."""
    order = np.lexsort(columns[::-1])
    columns = tuple(column[order] for column in columns)
    return tuple(column[starts(*columns)] for column in columns)


def starts(*columns: np.ndarray) -> np.ndarray:
    """Whether a row differs from the one before it: bool [rows]."""
    new = np.ones(len(columns[0]), bool)
    new[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return new


def _open(path: Path) -> pa.ipc.RecordBatchFileReader:
    return pa.ipc.open_file(pa.memory_map(str(path)))


def _arrays(rows: pa.RecordBatch) -> Columns:
    return {name: rows[name].to_numpy(zero_copy_only=False) for name in rows.schema.names}
