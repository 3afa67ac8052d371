"""Every evaluation set the project knows: where its dev and test files lie, and what in them is text.

A corpus is decontaminated against those that are there; the others are reported as missing. Files may be
plain, .gz, .xz, .zst or .zip. Train splits are left out: to have seen them is no fraud. Where a set has one
file only, that file is the test.
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


FEWCLUE = "https://github.com/CLUEbenchmark/FewCLUE"
CLUE = "https://github.com/CLUEbenchmark/CLUE"
CSL = "https://github.com/ydli-ai/CSL"
REVIEWS = "https://github.com/SophonPlus/ChineseNlpCorpus"


def _few(name: str, *fields: str, blank: str | None = None) -> EvaluationSet:
    files = tuple(f"fewclue/{name}/{split}*.json*" for split in ("dev", "test"))
    return EvaluationSet(f"fewclue/{name}", JsonLines(fields, blank), FEWCLUE, files)


def _clue(name: str, reading: Reading, published: str = CLUE, files: tuple[str, ...] = ()) -> EvaluationSet:
    """CLUE's archives unpack into NAME_public."""
    files = files or tuple(
        f"clue/{name}{end}/{split}*.json*" for end in ("", "_public") for split in ("dev", "test")
    )
    return EvaluationSet(f"clue/{name}", reading, published, files)


def _csl(name: str, folder: str, *columns: int) -> EvaluationSet:
    files = tuple(f"csl/{folder}/{split}.tsv*" for split in ("dev", "test"))
    return EvaluationSet(f"csl/{name}", TabSeparated(columns), CSL, files)


def _dialogue(name: str, reading: Reading, published: str, *files: str) -> EvaluationSet:
    return EvaluationSet(f"dialogue/{name}", reading, published, tuple(f"dialogue/{file}" for file in files))


def _reviews(name: str, file: str) -> EvaluationSet:
    return EvaluationSet(f"reviews/{name}", CommaSeparated("review"), REVIEWS, (f"reviews/{file}/{file}.*",))


_PAIR = JsonLines(("sentence1", "sentence2"))
_SENTENCE = JsonLines(("sentence",))
_SQUAD = Json("data.*.paragraphs.*", ("context", "qas.*.question"))
_AGIF = "https://github.com/LooperXX/AGIF"
_TTNEWS = ("evaluation_with_ground_truth.txt*", "test*.json*", "dev*.json*")

KNOWN = (
    _few("eprstmt", "sentence"),
    _few("csldcp", "content"),
    _few("tnews", "sentence"),
    _few("iflytek", "sentence"),
    _few("ocnli", "sentence1", "sentence2"),
    _few("bustm", "sentence1", "sentence2"),
    _few("chid", "content", blank="#idiom#"),
    _few("csl", "abst"),
    _few("cluewsc", "text"),
    _clue("afqmc", _PAIR),
    _clue("tnews", _SENTENCE),
    _clue("iflytek", _SENTENCE),
    _clue("cmnli", _PAIR),
    _clue("ocnli", _PAIR, "https://github.com/CLUEbenchmark/OCNLI"),
    _clue("cluewsc2020", JsonLines(("text",))),
    _clue("csl", JsonLines(("abst",))),
    _clue("chid", JsonLines(("content.*",), blank="#idiom[0-9]*#")),
    _clue(
        "c3",
        Json("*", ("0", "1.*.question")),
        "https://github.com/nlpdata/c3",
        tuple(f"clue/c3{end}/*{split}*.json*" for end in ("", "_public") for split in ("dev", "test")),
    ),
    _clue(
        "cmrc2018",
        _SQUAD,
        "https://github.com/ymcui/cmrc2018",
        tuple(
            f"clue/cmrc2018{end}/*{split}*.json*"
            for end in ("", "/squad-style-data", "_public")
            for split in ("dev", "trial", "test")
        ),
    ),
    _csl("title", "ts", 1, 2),
    _csl("keywords", "kg", 1),
    _csl("category", "cls_ctg", 1),
    _csl("discipline", "cls_dcp", 1),
    EvaluationSet(
        "lcsts",
        lcsts,
        "http://icrc.hitsz.edu.cn/Article/show/139.html",
        tuple(f"lcsts/{folder}PART_{part}.txt*" for folder in ("", "DATA/") for part in ("II", "III")),
    ),
    EvaluationSet(
        "ttnews",
        JsonLines(("article", "summarization")),
        "http://tcci.ccf.org.cn/conference/2018/taskdata.php",
        tuple(f"{folder}/{file}" for folder in ("ttnews", "nlpcc2018") for file in _TTNEWS),
    ),
    _dialogue(
        "crosswoz",
        Json("*", ("messages.*.content",)),
        "https://github.com/thu-coai/CrossWOZ",
        "crosswoz/test.json*",
        "crosswoz/val.json*",
    ),
    _dialogue(
        "cais", tagged_words, "https://github.com/Adaxry/CM-Net", "cais/test/ch.test", "cais/valid/ch.valid"
    ),
    _dialogue(
        "smp2019",
        Json("*", ("text",)),
        "https://conference.cipsc.org.cn/smp2019/evaluation.html",
        "smp2019_nlu/*.json*",
    ),
    _dialogue(
        "mixatis", tagged_words, _AGIF, *(f"mix_multi_intent/MixATIS_clean/{s}.txt*" for s in ("dev", "test"))
    ),
    _dialogue(
        "mixsnips",
        tagged_words,
        _AGIF,
        *(f"mix_multi_intent/MixSNIPS_clean/{s}.txt*" for s in ("dev", "test")),
    ),
    _reviews("hotels", "ChnSentiCorp_htl_all"),
    _reviews("takeaway", "waimai_10k"),
    _reviews("shopping", "online_shopping_10_cats"),
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
    """Sets a user adds: name to a glob of .jsonl (every string is a text) or .txt (a text a line).

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
