"""`build`: the stages of the factory in order.

    read, clean, sign, join, gather, verify, cluster, repeats, deduplicate, index, decontaminate, write

Each is a plain function on files, which `engine` runs; what it leaves in `work/STAGE/` is there for the next,
for samples and for the report.
"""

import contextlib
import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gin

from data_pipelines.corpus import (
    card,
    collecting,
    dedup,
    engine,
    frames,
    nothing_left,
    rejected,
    report,
    stages,
)
from data_pipelines.corpus.cleaning import Filter, Rule, chinese_rules, clean_chunk
from data_pipelines.corpus.decontamination import Decontamination, build_index, decontaminate
from data_pipelines.corpus.dedup import Dedup
from data_pipelines.corpus.directory import BuildDirectory, lock, plain
from data_pipelines.corpus.engine import Stage, StageCall, Workers
from data_pipelines.corpus.finishing import finish_dataset
from data_pipelines.corpus.ray_workers import RayCluster
from data_pipelines.corpus.reading.inputs import InputFile, find
from data_pipelines.corpus.reading.settings import Reading
from data_pipelines.corpus.reading.units import divide
from data_pipelines.corpus.workers import ProcessPool
from data_pipelines.corpus.writing import Writing, assign, write_shard
from data_pipelines.errors import DataError


@gin.configurable
def build(
    inputs: Sequence[str],
    output: str,
    workers: int | None = None,
    ray_address: str | None = None,
    reading: Reading | None = None,
    rules: Sequence[Rule] | None = None,
    dedup: Dedup | None = None,
    decontamination: Decontamination | None = None,
    writing: Writing | None = None,
    title: str = "A Chinese corpus",
    keep_work: bool = True,
    recipe: str = "",
) -> dict[str, Any]:
    """Makes a corpus of `inputs` in the folder `output`, or resumes one that was stopped.

    The same inputs and settings give the same bytes, whatever the workers and whoever was killed meanwhile.

    Args:
      inputs: folders, files, globs or URLs, each may begin with `NAME=`, the source of its documents.
      output: the folder; `directory.py` says what is in it.
      workers: processes on this machine; None is one per CPU.
      ray_address: of a Ray cluster to use instead.
      reading: how documents come out of files.
      rules: of cleaning, in order; None is `chinese_rules()`.
      dedup: what counts as a copy.
      decontamination: which evaluation sets are kept out.
      writing: the form of the corpus.
      title: of its card.
      keep_work: keep every stage's documents at the end, some 3.3 times the text. Statistics and samples
        of what was rejected are kept in any case.
      recipe: the resolved recipe, for the card and DIR/recipe.gin.

    Returns:
      the report, see `report.collect`.

    Raises:
      DataError: what a person can fix, in a line; what is done is kept.
    """
    settings = {
        "reading": reading or Reading(),
        "rules": tuple(chinese_rules() if rules is None else rules),
        "dedup": dedup or Dedup(),
        "decontamination": decontamination or Decontamination(),
        "writing": writing or Writing(),
    }
    skipped: Counter[str] = Counter()
    files = find(inputs, skipped)
    identity = {
        "inputs": [[file.name, file.source, file.size] for file in files],
        "settings": plain(settings),
        "evaluation sets": settings["decontamination"].files(),
        "versions of libraries": card.versions(),
    }
    with lock(output, identity) as directory, contextlib.ExitStack() as stack:
        stack.enter_context(engine.telling_of_a_full_disk(directory.root))
        pool = RayCluster(ray_address, directory.root) if ray_address else ProcessPool(workers)
        directory.recipe.write_text(recipe, "utf-8")
        factory = _Factory(directory, stack.enter_context(pool), **settings)
        try:
            factory.run(files)
        except _NothingLeftError:
            found = report.write(directory, identity, skipped)
            limits = {rule.name: rule.limit for rule in factory.rules if isinstance(rule, Filter)}
            raise DataError(nothing_left.line(found, limits, output)) from None
        factory.publish(title, recipe, skipped)
        found = report.write(directory, identity, skipped)
        if not keep_work:
            for path in directory.work.glob("*/*/*.arrow"):
                if path.name != rejected.FILE:
                    path.unlink()
    return found


class _NothingLeftError(Exception):
    """No document came out of a stage: the later ones have nothing to do."""


@dataclasses.dataclass(frozen=True)
class _Factory:
    directory: BuildDirectory
    workers: Workers
    reading: Reading
    rules: tuple[Rule, ...]
    dedup: Dedup
    decontamination: Decontamination
    writing: Writing

    def run(self, files: Sequence[InputFile]) -> None:
        """All stages; those that are done take no time. _NothingLeftError where one leaves no document."""
        units = divide(files, self.reading)
        read = self._stage("read", stages.read, [StageCall(u.key, (u, self.reading), u.size) for u in units])
        raw = [path for folder in read for path in stages.chunk_files(folder)]
        if not raw:
            raise _NothingLeftError
        # The index of evaluation sets is one long task: beside many others it delays nobody.
        examined = sum(size for _, _, size in self.decontamination.files())
        (index,), clean = engine.run(
            self.workers,
            Stage(
                self.directory.stage("index"),
                build_index,
                [StageCall("all", (self.decontamination,), examined)],
            ),
            Stage(self.directory.stage("clean"), clean_chunk, _each(raw, self.rules)),
        )
        self._require_documents("clean")
        unique = self._unique([folder / frames.DOCUMENTS for folder in clean])
        pure = self._chunks("decontaminate", decontaminate, unique, index)
        self._require_documents("decontaminate")
        chunks = []
        for folder in pure:
            held = json.loads((folder / engine.STATS).read_text("utf-8"))["sources"]
            sizes = {source: (s["documents_out"], s["bytes_out"]) for source, s in held.items()}
            chunks.append((folder / frames.DOCUMENTS, sizes))
        shards = assign(chunks, self.writing)
        sizes = [sum(_size(part.chunk) for part in shard.parts) for shard in shards]
        tasks = [StageCall(s.key, (s, self.writing), size) for s, size in zip(shards, sizes, strict=True)]
        self._stage("write", write_shard, tasks)

    def _require_documents(self, stage: str) -> None:
        if not any(held["documents_out"] for held in engine.statistics(self.directory.stage(stage))):
            raise _NothingLeftError

    def publish(self, title: str, recipe: str, skipped: Mapping[str, int]) -> None:
        """Makes the dataset of the shards, beside its place, and renames it into it."""
        partial = self.directory.dataset.with_name("dataset.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        shards = sorted(path.parent for path in self.directory.stage("write").glob(f"*/{engine.STATS}"))
        finish_dataset(shards, self.writing, partial)
        card.write(
            partial,
            title=title,
            stages={name: collecting.counted(self.directory, name) for name in collecting.FUNNEL},
            evaluation=collecting.counted(self.directory, "index"),
            left_out=collecting.left_out_lines(self.directory, skipped),
            settings=plain({"rules": self.rules, "dedup": self.dedup, "writing": self.writing}),
            recipe=recipe,
            licences=self.writing.licences,
        )
        shutil.rmtree(self.directory.dataset, ignore_errors=True)
        partial.rename(self.directory.dataset)

    def _unique(self, documents: list[Path]) -> list[Path]:
        """Chunks without copies, of all chunks."""
        settings = self.dedup
        stats = engine.statistics(self.directory.stage("clean"))
        count, size = (sum(s[name] for s in stats) for name in ("documents_out", "bytes_out"))
        parts = settings.parts(count, size)
        signed = self._numbered("sign", dedup.sign, documents, parts, settings)
        joined = self._parts("join", dedup.join, parts, signed, settings)
        gathered = self._numbered("gather", dedup.gather, documents, joined)
        verified = self._parts("verify", dedup.verify, parts, joined, gathered, settings)
        (clustered,) = self._stage("cluster", dedup.cluster, [StageCall("all", (joined, verified))])
        repeats = self._parts("repeats", dedup.find_repeats, parts, signed, clustered)
        kept = self._numbered("deduplicate", stages.deduplicate, documents, clustered, repeats)
        return [folder / frames.DOCUMENTS for folder in kept]

    def _stage(self, name: str, function: Any, tasks: list[StageCall]) -> list[Path]:
        return engine.run(self.workers, Stage(self.directory.stage(name), function, tasks))[0]

    def _chunks(self, name: str, function: Any, documents: list[Path], *rest: Any) -> list[Path]:
        """A task per chunk: function(documents, *rest)."""
        return self._stage(name, function, _each(documents, *rest))

    def _numbered(self, name: str, function: Any, documents: list[Path], *rest: Any) -> list[Path]:
        """A task per chunk: function(documents, number, *rest)."""
        tasks = [StageCall(f"{i:06d}", (path, i, *rest), _size(path)) for i, path in enumerate(documents)]
        return self._stage(name, function, tasks)

    def _parts(self, name: str, function: Any, parts: int, *rest: Any) -> list[Path]:
        """A task per part of the hashes: function(part, *rest)."""
        return self._stage(name, function, [StageCall(f"{part:06d}", (part, *rest)) for part in range(parts)])


def _each(documents: list[Path], *rest: Any) -> list[StageCall]:
    """A task per chunk: function(documents, *rest)."""
    return [StageCall(f"{i:06d}", (path, *rest), _size(path)) for i, path in enumerate(documents)]


def _size(path: Path) -> int:
    return path.stat().st_size
