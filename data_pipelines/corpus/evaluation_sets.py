"""Every evaluation set the project knows: what in its held out files is text.

`published` says where the files lie. A corpus is decontaminated against those that are there; the others are
reported as missing. Train splits are left out: to have seen them is no fraud. Where a set has one file only,
that file is the test.
"""

import dataclasses
import glob
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from data_pipelines.corpus.evaluation_files import (
    UNREADABLE,
    CommaSeparated,
    Example,
    Json,
    JsonLines,
    Reading,
    TabSeparated,
    every_string,
    lcsts,
    plain_lines,
    tagged_words,
    unpacked,
)
from data_pipelines.errors import DataError
from data_pipelines.text.benchmarks import published


@dataclasses.dataclass(frozen=True)
class EvaluationSet:
    """`files` are globs under the data folder, or a user's absolute ones; `published` is its owners' page."""

    name: str
    reading: Reading
    published: str
    files: tuple[str, ...]

    def found(self, data: Path | None) -> list[Path]:
        """Its files, sorted; none where it is missing."""
        patterns = [
            str(Path(glob.escape(str(data)), file)) if data else file
            for file in self.files
            if data or Path(file).is_absolute()
        ]
        return sorted({Path(path) for pattern in patterns for path in glob.glob(pattern)})  # noqa: PTH207

    def examples(self, path: Path) -> Iterator[tuple[str, Example]]:
        """(name, texts) of every example: `test_public.json:17` is the 17th of that file.

        Raises:
          DataError: the file cannot be read, or is not what the set's files are.
        """
        try:
            for number, texts in enumerate(self.reading(unpacked(path)), 1):
                if any(texts):
                    yield f"{path.name}:{number}", texts
        except UNREADABLE as error:
            raise DataError(
                f"evaluation set {self.name}: cannot read {path} ({type(error).__name__}: {error}); get it "
                f"anew from {self.published or 'where you had it from'}, or move it away"
            ) from error


_PAIR = JsonLines(("sentence1", "sentence2"))
_SENTENCE = JsonLines(("sentence",))
_REVIEW = CommaSeparated("review")

_READINGS: dict[str, Reading] = {
    "fewclue/eprstmt": _SENTENCE,
    "fewclue/csldcp": JsonLines(("content",)),
    "fewclue/tnews": _SENTENCE,
    "fewclue/iflytek": _SENTENCE,
    "fewclue/ocnli": _PAIR,
    "fewclue/bustm": _PAIR,
    "fewclue/chid": JsonLines(("content",), blank="#idiom#"),
    "fewclue/csl": JsonLines(("abst",)),
    "fewclue/cluewsc": JsonLines(("text",)),
    "clue/afqmc": _PAIR,
    "clue/tnews": _SENTENCE,
    "clue/iflytek": _SENTENCE,
    "clue/cmnli": _PAIR,
    "clue/ocnli": _PAIR,
    "clue/cluewsc2020": JsonLines(("text",)),
    "clue/csl": JsonLines(("abst",)),
    "clue/chid": JsonLines(("content.*",), blank="#idiom[0-9]*#"),
    "clue/c3": Json("*", ("0", "1.*.question")),
    "clue/cmrc2018": Json("data.*.paragraphs.*", ("context", "qas.*.question")),
    "csl/title": TabSeparated((1, 2)),
    "csl/keywords": TabSeparated((1,)),
    "csl/category": TabSeparated((1,)),
    "csl/discipline": TabSeparated((1,)),
    "lcsts": lcsts,
    "ttnews": JsonLines(("article", "summarization")),
    "dialogue/crosswoz": Json("*", ("messages.*.content",)),
    "dialogue/cais": tagged_words,
    "dialogue/smp2019": Json("*", ("text",)),
    "dialogue/mixatis": tagged_words,
    "dialogue/mixsnips": tagged_words,
    "reviews/hotels": _REVIEW,
    "reviews/takeaway": _REVIEW,
    "reviews/shopping": _REVIEW,
}
KNOWN = tuple(
    EvaluationSet(name, reading, published.SETS[name].owners, published.SETS[name].held_out)
    for name, reading in _READINGS.items()
)


def data_folder(given: str | None) -> Path | None:
    """The folder given, or $PANGU_DATA_DIR; None when neither is set.

    Raises:
      DataError: it is no folder.
    """
    path = given or os.environ.get("PANGU_DATA_DIR")
    if not path:
        return None
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"evaluation sets: there is no folder {folder}: set PANGU_DATA_DIR or Decontamination.data_dir"
        )
    return folder


def user_sets(more: Mapping[str, str]) -> list[EvaluationSet]:
    """Sets a user adds: name to a glob of .jsonl (every string is a text) or .txt (a text per line).

    Raises:
      DataError: nothing is there, or it is neither kind: what was asked for must not be missing silently.
    """
    sets = []
    for name, pattern in more.items():
        path = str(Path(pattern).expanduser().absolute())
        files = sorted(glob.glob(path))  # noqa: PTH207
        kinds = {".jsonl" if ".jsonl" in file else ".txt" if ".txt" in file else file for file in files}
        if not files or not kinds <= {".jsonl", ".txt"} or len(kinds) > 1:
            raise DataError(
                f"Decontamination.more: {name!r} = {pattern!r} must name files, all .jsonl or all .txt "
                "(plain, .gz, .xz, .zst or .zip)"
            )
        reading = every_string if kinds == {".jsonl"} else plain_lines
        sets.append(EvaluationSet(name, reading, "", (path,)))
    return sets
