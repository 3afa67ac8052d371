"""Build a store of fields from files: looked through, planned, written in blocks; on this machine or on Ray.

What was begun is gone on with, and the same files give the same bytes, with any number of workers.
"""

import dataclasses
import glob
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from data_pipelines.corpus import engine
from data_pipelines.corpus.engine import Stage, StageCall
from data_pipelines.corpus.ray_workers import RayCluster
from data_pipelines.corpus.workers import ProcessPool
from data_pipelines.errors import DataError
from data_pipelines.fields import hours, writing
from data_pipelines.fields.reading import arrays, files
from data_pipelines.fields.reading.blocks import constants_of, write_block
from data_pipelines.fields.reading.card import card
from data_pipelines.fields.reading.choices import FieldChoices
from data_pipelines.fields.reading.pieces import FileContents
from data_pipelines.fields.reading.plan import BuildPlan, plan
from data_pipelines.fields.store import FieldStore

CARD, FOUND, PLAN = "card.md", "found.json", "plan.json"


def build(
    inputs: Sequence[str],
    output: str | Path,
    choices: FieldChoices = FieldChoices(),  # noqa: B008  frozen
    workers: int | None = None,
    ray_address: str | None = None,
) -> FieldStore:
    """A store of files, or the rest of one that was begun.

    Args:
      inputs: files, globs, Zarr stores, or folders of them.
      output: where it will be; nothing may be there.
      choices: what goes into it.
      workers: processes; one per CPU unless given.
      ray_address: of a Ray cluster that is used in their place.

    Raises:
      DataError: something is there already, or a file is not understood.
    """
    output, paths = Path(output), expanded(inputs)
    work = output.with_name(output.name + ".work")
    if output.exists() and not work.exists():
        raise DataError(f"{output} is there already: name another place, or remove it")
    work.mkdir(parents=True, exist_ok=True)
    with _workers(workers, ray_address, work) as pool:
        try:
            contents, stamps = _looked_through(pool, paths, choices, work)
            planned = plan(list(contents.values()), choices, stamps)
        except DataError:
            if not any(work.glob("blocks-*")):  # refused before anything was written
                shutil.rmtree(work)
            raise
        if not output.exists():
            ranges_folders = _written(pool, planned, output, work)
            count = workers or getattr(pool, "count", 1)
            with ThreadPoolExecutor(count) as threads:
                writing.finish(output, threads.map)
        else:
            ranges_folders = [work / f"blocks-{planned.id}" / key for key, _, _ in _spans(planned)]
    store = FieldStore.open(output)
    ranges = [
        json.loads((folder / engine.STATS).read_text("utf-8"))["variables"] for folder in ranges_folders
    ]
    (output / CARD).write_text(card(store, planned, contents, ranges), "utf-8")
    shutil.rmtree(work)
    return store


class InThisProcess:
    """One worker is this process: starting another costs a second."""

    def __enter__(self) -> "InThisProcess":
        return self

    def __exit__(self, *_: object) -> None: ...

    def run(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterator[int]:
        """See engine.Workers."""
        for at, call in enumerate(calls):
            function(*call)
            yield at


def _workers(count: int | None, ray_address: str | None, work: Path) -> Any:
    if ray_address:
        return RayCluster(ray_address, work)
    return InThisProcess() if count == 1 else ProcessPool(count)


def expanded(inputs: Sequence[str]) -> list[Path]:
    """Files and Zarr stores, sorted within each input; DataError for one that is not there."""
    found: list[Path] = []
    for text in inputs:
        paths = [Path(one) for one in sorted(glob.glob(text, recursive=True))] or [Path(text)]  # noqa: PTH207
        for path in paths:
            if path.is_dir() and not arrays.is_zarr(path):
                inside = [one for one in sorted(path.iterdir()) if one.suffix.lower() in files.SUFFIXES]
                if not inside:
                    raise DataError(f"--input {path}: no file in it ends in {', '.join(files.SUFFIXES)}")
                found += inside
            elif path.exists():
                found.append(path)
            else:
                raise DataError(f"--input {text}: there is no such file")
    return list(dict.fromkeys(path.absolute() for path in found))


def look_through(path: str, choices: FieldChoices, *, out: Path) -> dict[str, Any]:
    """What of a file goes into a store; a task of a stage."""
    with arrays.kept_open():
        contents = files.look(Path(path), choices)
    (out / FOUND).write_text(json.dumps(contents.to_json()), "utf-8")
    return {}


def _looked_through(
    pool: engine.Workers, paths: list[Path], choices: FieldChoices, work: Path
) -> tuple[dict[Path, FileContents], list[str]]:
    """Of each file, and what says that it is still the same."""
    tasks = []
    for path in paths:
        files.kind_of(path)
        about = path.stat()
        # A file that was changed is looked through again.
        said = json.dumps([str(path), about.st_size, about.st_mtime_ns, dataclasses.asdict(choices)])
        key = hashlib.sha256(said.encode()).hexdigest()[:16]
        tasks.append(StageCall(key, (str(path), choices), about.st_size))
    folders = engine.run(pool, Stage(work / "look", look_through, tasks))[0]
    found = [json.loads((folder / FOUND).read_text("utf-8")) for folder in folders]
    return dict(zip(paths, map(FileContents.from_json, found), strict=True)), [task.key for task in tasks]


def _written(pool: engine.Workers, planned: BuildPlan, output: Path, work: Path) -> list[Path]:
    plan_file = work / f"{planned.id}-{PLAN}"
    building = output.with_name(output.name + ".building")
    if not plan_file.exists():
        # What was begun by another plan, or of files that have changed since, is of no use.
        shutil.rmtree(building, ignore_errors=True)
        for old in (*work.glob("blocks-*"), *work.glob(f"*-{PLAN}")):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    source = ", ".join(dict.fromkeys(Path(piece.file).name for piece in planned.pieces))
    building = writing.begin(
        output,
        planned.grid,
        planned.names,
        hours.at(planned.hours_N),
        constants_of(planned),
        simulated=planned.simulated,
        source=source if len(source) < 2000 else f"{len(planned.pieces)} pieces of files",
    )
    plan_file.write_text(json.dumps(planned.to_json()), "utf-8")
    size = 4 * planned.grid.shape[1] * planned.grid.shape[2]
    size *= len(planned.names.upper) * planned.grid.shape[0] + len(planned.names.surface)
    tasks = [
        StageCall(key, (plan_file, building, first, last), size * (last - first))
        for key, first, last in _spans(planned)
    ]
    return engine.run(pool, Stage(work / f"blocks-{planned.id}", write_block, tasks))[0]


def _spans(planned: BuildPlan) -> list[tuple[str, int, int]]:
    count, block = len(planned.hours_N), planned.block
    return [(f"{first:09d}", first, min(first + block, count)) for first in range(0, count, block)]
