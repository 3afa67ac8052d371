"""Files for the leaderboards of CLUE and FewCLUE: written, zipped, and read back.

CLUE, as its instructions of 2021-09-04 say: a file per task, one {"id", "label"} per line in the order of
test.json, or one JSON object for CMRC2018 and ChID; tnews, cluewsc2020, c3 and chid carry the version of
their test set in the name. FewCLUE, as the sample files in its repository: the same lines, `answer` for
ChID, an "f" behind the names that CLUE has too, and _0 .. _4, _all on the board of several training sets.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pangu_jax.errors import UserError

Predictions = Sequence[tuple[str | int, str | int]]  # (id, label) in the order of the test file


class Form(NamedTuple):
    """How one task is submitted."""

    stem: str  # of the file, {} for the version of the test set
    value: str | None = "label"  # key of the prediction in a line; None: the file is one object by id
    number: bool = False  # the prediction is a number, not a string
    text_id: bool = False  # ids are strings, not numbers


FORMS: dict[str, Form] = {
    "clue/afqmc": Form("afqmc"),
    "clue/tnews": Form("tnews{}"),
    "clue/iflytek": Form("iflytek"),
    "clue/cmnli": Form("cmnli"),
    "clue/ocnli": Form("ocnli_50k"),
    "clue/cluewsc2020": Form("cluewsc{}"),
    "clue/csl": Form("csl"),
    "clue/cmrc2018": Form("cmrc2018", value=None, text_id=True),
    "clue/chid": Form("chid{}", value=None, number=True, text_id=True),
    "clue/c3": Form("c3{}", number=True),
    "fewclue/eprstmt": Form("eprstmt"),
    "fewclue/csldcp": Form("csldcp"),
    "fewclue/tnews": Form("tnewsf", text_id=True),
    "fewclue/iflytek": Form("iflytekf"),
    "fewclue/ocnli": Form("ocnlif"),
    "fewclue/bustm": Form("bustm"),
    "fewclue/chid": Form("chidf", value="answer", number=True),
    "fewclue/csl": Form("cslf"),
    "fewclue/cluewsc": Form("cluewscf"),
}
VERSIONS = ("1.0", "1.1")
SPLITS = ("0", "1", "2", "3", "4", "all")


def file_name(task: str, version: str = "1.1", split: str | None = None) -> str:
    """Name of a task's file: `file_name("clue/tnews")` is tnews11_predict.json.

    Raises:
      UserError: an unknown task, version or split, or a split on CLUE.
    """
    if task not in FORMS:
        raise UserError(f"submission: no board takes {task!r}: it is one of {', '.join(FORMS)}")
    if version not in VERSIONS:
        raise UserError(f"submission: CLUE has no version {version!r}: give {' or '.join(VERSIONS)}")
    if split is not None and (split not in SPLITS or not task.startswith("fewclue/")):
        raise UserError(
            f"submission: {task} has no training set {split!r}: FewCLUE's are {', '.join(SPLITS)}"
        )
    stem = FORMS[task].stem.format(version.replace(".", ""))
    return "_".join((stem, "predict", *([split] if split else []))) + ".json"


def write(path: str | Path, predictions: Mapping[str, Predictions], version: str = "1.1") -> Path:
    """Write a zip of a board's files.

    Args:
      path: of the zip.
      predictions: (id, label) pairs in the order of the test file, by task: "clue/afqmc" or, on FewCLUE's
        board of several training sets, "fewclue/eprstmt/0" to "/4" and "/all". For ChID and C3 the
        label is the place of the candidate, from 0; for CMRC2018 it is the answer's text.
      version: of CLUE's test sets.

    Raises:
      UserError: no prediction, an unknown task, tasks of both boards, an id twice, an id or label that should
        be a number and is none, or the zip cannot be written.
    """
    if not predictions or not all(predictions.values()):
        empty = [task for task, pairs in predictions.items() if not pairs] or ["any task"]
        raise UserError(f"submission: there is no prediction for {empty[0]}: predict its test set first")
    if len({name.partition("/")[0] for name in predictions}) > 1:
        raise UserError("submission: CLUE and FewCLUE are two boards: write a zip for each")
    texts = {}
    for name, pairs in predictions.items():
        task, split = _task_and_split(name)
        member = file_name(task, version, split)
        texts[member] = _text(FORMS[task], name, pairs)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, text in texts.items():
                archive.writestr(member, text)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: give another path for the submission") from None
    return path


def check(path: str | Path, expected: Mapping[str, Sequence[str | int]] | None = None) -> dict[str, int]:
    """Read a submission back; returns the number of predictions by file.

    Args:
      path: of the zip.
      expected: ids of the test file in its order, by task as in `write`; each task must be there and have
        them all. What is not named is checked for its form only.

    Raises:
      UserError: not a zip, a file that no board takes, a line or value of the wrong form, an id twice, or not
        the expected ids; with the file and line.
    """
    known = {
        file_name(task, version, split): (task, split)
        for task in FORMS
        for version in VERSIONS
        for split in (None, *(SPLITS if task.startswith("fewclue/") else ()))
    }
    found: dict[str, tuple[str, list[str]]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if member not in known:
                    raise UserError(f"{path}: {member} is no file of CLUE or FewCLUE: leave it out")
                task, split = known[member]
                ids = _ids(FORMS[task], f"{path}: {member}", archive.read(member))
                found[f"{task}/{split}" if split else task] = (member, ids)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as a zip ({error}): write the submission again") from None
    for name, wanted in (expected or {}).items():
        member, ids = found.get(name, (None, []))
        if member is None:
            raise UserError(f"{path}: there is no file for {name}: predict it too")
        _same_ids(f"{path}: {member}", ids, [str(one) for one in wanted])
    return {member: len(ids) for member, ids in found.values()}


def _task_and_split(name: str) -> tuple[str, str | None]:
    board, _, rest = name.partition("/")
    task, _, split = rest.partition("/")
    return f"{board}/{task}", split or None


def _text(form: Form, name: str, pairs: Predictions) -> str:
    if len({str(key) for key, _ in pairs}) < len(pairs):
        raise UserError(f"submission: {name} has an id twice: predict every example once")
    try:
        rows = [
            (str(key) if form.text_id else int(key), int(label) if form.number else str(label))
            for key, label in pairs
        ]
    except ValueError as error:
        raise UserError(f"submission: {name}: {error}: its ids and choices are numbers") from None
    if form.value is None:
        return json.dumps(dict(rows), ensure_ascii=False, indent=1) + "\n"
    lines = (json.dumps({"id": key, form.value: label}, ensure_ascii=False) for key, label in rows)
    return "".join(f"{line}\n" for line in lines)


def _ids(form: Form, where: str, content: bytes) -> list[str]:
    """Ids of a file, whose form is checked line by line."""
    try:
        text = content.decode()
        if form.value is None:
            rows = list(json.loads(text).items())
        else:
            records = [json.loads(line) for line in text.splitlines()]
            rows = [(record["id"], record[form.value]) for record in records]
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        shape = "one JSON object" if form.value is None else f'lines of {{"id": ..., "{form.value}": ...}}'
        raise UserError(f"{where} is not {shape} ({error}): write the submission again") from None
    kinds = (str if form.text_id else int, int if form.number else str)
    for number, row in enumerate(rows, 1):
        for value, kind in zip(row, kinds, strict=True):
            if type(value) is not kind:
                kind_name = "number" if kind is int else "string"
                raise UserError(f"{where}, line {number}: {value!r} should be a {kind_name}: write it again")
    ids = [str(key) for key, _ in rows]
    if len(set(ids)) < len(ids):
        raise UserError(f"{where} has an id twice: predict every example once")
    return ids


def _same_ids(where: str, ids: list[str], wanted: list[str]) -> None:
    if missing := sorted(set(wanted) - set(ids)):
        raise UserError(
            f"{where} lacks {len(missing)} of {len(wanted)} ids, such as {missing[0]}: predict them too"
        )
    if ids != wanted:
        raise UserError(
            f"{where} has {len(ids)} ids for {len(wanted)}, or another order: keep that of the test file"
        )
