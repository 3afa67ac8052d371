"""Submission files in the form of the boards' samples, and what the checker refuses."""

import json
import re
import zipfile
from pathlib import Path

import pytest

from pangu_jax.apps.language.benchmarks import submissions
from pangu_jax.errors import UserError


def text(path: Path, member: str) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.read(member).decode()


def test_clue_in_the_form_of_its_instructions(tmp_path: Path) -> None:
    predictions = {
        "clue/afqmc": [("0", "0"), ("1", "1")],
        "clue/tnews": [(0, "102")],
        "clue/c3": [(0, "3"), (1, 0)],
        "clue/cmrc2018": [("TEST_0_QUERY_0", "美国海军"), ("TEST_0_QUERY_1", "")],
        "clue/chid": [("#idiom000378#", 7)],
    }
    path = submissions.write(tmp_path / "new" / "submit.zip", predictions)
    assert text(path, "afqmc_predict.json") == '{"id": 0, "label": "0"}\n{"id": 1, "label": "1"}\n'
    assert text(path, "c311_predict.json") == '{"id": 0, "label": 3}\n{"id": 1, "label": 0}\n'
    assert json.loads(text(path, "cmrc2018_predict.json")) == dict(predictions["clue/cmrc2018"])
    assert json.loads(text(path, "chid11_predict.json")) == {"#idiom000378#": 7}
    counts = submissions.check(
        path, {"clue/afqmc": [0, 1], "clue/cmrc2018": ["TEST_0_QUERY_0", "TEST_0_QUERY_1"]}
    )
    assert counts == {
        "afqmc_predict.json": 2,
        "tnews11_predict.json": 1,
        "c311_predict.json": 2,
        "cmrc2018_predict.json": 2,
        "chid11_predict.json": 1,
    }
    assert submissions.file_name("clue/cluewsc2020", version="1.0") == "cluewsc10_predict.json"
    assert submissions.file_name("clue/ocnli") == "ocnli_50k_predict.json"


# A line of each sample file in the repository of FewCLUE.
SAMPLES = {
    "eprstmt_predict.json": '{"id": 111, "label": "Negative"}',
    "csldcp_predict.json": '{"id": 0, "label": "力学"}',
    "tnewsf_predict.json": '{"id": "0", "label": "101"}',
    "iflytekf_predict.json": '{"id": 0, "label": "99"}',
    "ocnlif_predict.json": '{"id": 0, "label": "neutral"}',
    "bustm_predict.json": '{"id": 3000, "label": "1"}',
    "chidf_predict.json": '{"id": 3000, "answer": 0}',
    "cslf_predict.json": '{"id": 2415, "label": "0"}',
    "cluewscf_predict.json": '{"id": 49, "label": "false"}',
}


def test_fewclue_in_the_form_of_its_samples(tmp_path: Path) -> None:
    tasks = {submissions.file_name(task): task for task in submissions.FORMS if task.startswith("fewclue/")}
    assert tasks.keys() == SAMPLES.keys()
    # Ids and labels as text, as examples carry them.
    predictions = {
        tasks[name]: [tuple(map(str, json.loads(line).values()))] for name, line in SAMPLES.items()
    }
    path = submissions.write(tmp_path / "one.zip", predictions)
    assert {name: text(path, name).strip() for name in SAMPLES} == SAMPLES
    several = {
        f"{task}/{split}": pairs for task, pairs in predictions.items() for split in submissions.SPLITS
    }
    path = submissions.write(tmp_path / "several.zip", several)
    counts = submissions.check(path, {name: [pairs[0][0]] for name, pairs in several.items()})
    assert len(counts) == 54 and counts["chidf_predict_all.json"] == 1


@pytest.mark.parametrize(
    ("predictions", "said"),
    [
        ({}, "no prediction for any task"),
        ({"clue/csl": []}, "no prediction for clue/csl"),
        ({"clue/cls": [(0, "1")]}, "no board takes 'clue/cls'"),
        ({"clue/csl/0": [(0, "1")]}, "clue/csl has no training set '0'"),
        ({"clue/csl": [(0, "1")], "fewclue/csl": [(0, "1")]}, "two boards"),
        ({"clue/csl": [(0, "1"), ("0", "1")]}, "clue/csl has an id twice"),
        ({"clue/c3": [(0, "老师")]}, "its ids and choices are numbers"),
    ],
)
def test_wrong_predictions(tmp_path: Path, predictions: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        submissions.write(tmp_path / "submit.zip", predictions)
    assert not (tmp_path / "submit.zip").exists()


@pytest.mark.parametrize(
    ("member", "content", "said"),
    [
        ("eprstmt.json", "", "eprstmt.json is no file of CLUE or FewCLUE"),
        (
            "csl_predict.json",
            '{"id": 0, "label": "1"}\n{"id": 1, "lab',
            'not lines of {"id": ..., "label": ...}',
        ),
        ("csl_predict.json", '{"id": 0, "answer": "1"}', "csl_predict.json is not lines"),
        (
            "csl_predict.json",
            '{"id": 0, "label": "1"}\n{"id": 1, "label": 1}',
            "line 2: 1 should be a string",
        ),
        ("csl_predict.json", '{"id": 0, "label": "1"}\n{"id": 0, "label": "1"}', "an id twice"),
        ("csl_predict.json", '{"id": 0, "label": "1"}', "lacks 1 of 2 ids, such as 1"),
        ("csl_predict.json", '{"id": 1, "label": "1"}\n{"id": 0, "label": "1"}', "or another order"),
        ("cmrc2018_predict.json", "[]", "is not one JSON object"),
        ("afqmc_predict.json", '{"id": 0, "label": "1"}', "no file for clue/csl"),
    ],
)
def test_wrong_files(tmp_path: Path, member: str, content: str, said: str) -> None:
    path = tmp_path / "submit.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    with pytest.raises(UserError, match=re.escape(said)):
        submissions.check(path, {"clue/csl": [0, 1]})
    path.write_bytes(b"no zip")
    with pytest.raises(UserError, match="cannot be read as a zip"):
        submissions.check(path)
