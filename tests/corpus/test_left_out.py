"""What is left out is told: in a line each, the same on the terminal, in the report and on the card."""

import gzip
import json

import pytest

from data_pipelines.corpus import build as builder
from data_pipelines.corpus.cleaning.whole_text import HanRatio, TooLong, TooShort
from data_pipelines.corpus.decontamination import Decontamination
from data_pipelines.corpus.reading import left_out
from data_pipelines.corpus.reading.quarantine import Quarantine
from data_pipelines.corpus.reading.settings import Reading
from data_pipelines.errors import DataError
from pangu_jax import cli


class Here:
    """Workers in this process: a build costs no new one."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, function, calls):
        for index, call in enumerate(calls):
            function(*call)
            yield index


@pytest.fixture(autouse=True)
def _workers_in_this_process(monkeypatch):
    monkeypatch.setattr(builder, "ProcessPool", lambda count: Here())


NONE = Decontamination(sets=())
RULES = (TooLong(), TooShort(), HanRatio())


@pytest.mark.parametrize(
    ("skipped", "quarantined", "noted", "lines"),
    [
        ({}, {}, {}, []),
        ({}, {}, {"bad bytes": 0}, []),
        ({".pdf": 1}, {}, {}, ["passed over: 1 file of kinds not known (.pdf 1)"]),
        (
            {".json.br": 1, ".doc": 1200, "no suffix": 2, "no regular file": 3},
            {},
            {},
            [
                "passed over: 1,203 files of kinds not known (.doc 1,200, no suffix 2, .json.br 1), "
                "no regular file 3"
            ],
        ),
        (
            {f".{i}": 10 - i for i in range(10)},
            {},
            {},
            [
                "passed over: 55 files of kinds not known (.0 10, .1 9, .2 8, .3 7, .4 6, .5 5, .6 4, .7 3, "
                "2 more)"
            ],
        ),
        (
            {},
            {"not text": 1},
            {},
            ["put aside: 1 of 10,000 documents and lines (less than 0.1%): not text 1"],
        ),
        (
            {},
            {"b": 1, "a": 2},
            {"bad bytes": 7},
            ["put aside: 3 of 10,002 documents and lines (less than 0.1%): a 2, b 1", "noted: bad bytes 7"],
        ),
    ],
)
def test_lines(skipped, quarantined, noted, lines):
    assert left_out.lines(skipped, quarantined, noted, 9999) == lines


@pytest.mark.parametrize(
    "reason",
    [
        "malformed: " + "长" * 500,
        "长" * 500,
        "broken: two\nlines\r\n" + "x" * 100,
        "no text in field 'text': it has " + ", ".join(map(str, range(99))),
        "a: b: " + "c" * 90,
    ],
)
def test_reasons_are_cut(reason):
    quarantine = Quarantine()
    quarantine.add("file", 1, reason, "sample")
    (entry,), (counted,) = quarantine.entries, quarantine.counts
    kind, _, detail = entry["reason"].partition(":")
    assert kind == counted and len(kind) <= 80 and len(detail) <= 80 and "\n" not in entry["reason"]
    assert reason.replace("\n", " ").startswith(detail[:20].strip()) or detail


def test_everywhere_a_person_looks(tmp_path, capsys, raw):
    """The same lines on the terminal, in report.html, report.json and on the card."""
    source = tmp_path / "in"
    source.mkdir()
    (source / "news.json.gz").write_bytes(gzip.compress((raw / "news.jsonl").read_bytes()))
    (source / "more.jsonl").write_text('{"body": "x"}\n{"text": " "}\n', "utf-8")
    (source / "a.pdf").touch()
    out = tmp_path / "out"
    flags = ["--gin.Decontamination.sets=()", "--gin.Reading.chunk_bytes=100000", "--workers", "1"]
    assert cli.main(["corpus", "build", "--input", str(source), "--output", str(out), *flags]) == 0
    said = capsys.readouterr().out
    found = json.loads((out / "report.json").read_text())
    assert len(found["left_out"]) == 3
    assert found["left_out"][0] == "passed over: 1 file of kinds not known (.pdf 1)"
    assert found["left_out"][1].endswith("no text in field 'text' 1")
    assert found["left_out"][2].startswith("noted: ") and "blank documents 1" in found["left_out"][2]
    page, card = ((out / name).read_text() for name in ("report.html", "dataset/README.md"))
    for line in found["left_out"]:
        assert line in said and line in card and line.replace("'", "&#39;") in page


@pytest.mark.parametrize(
    ("files", "reading", "line"),
    [
        (
            {"a.txt": "太短的一行。"},
            {},
            "nothing is left: 1 document read, 1 rejected by too_short (150 characters); see pangu corpus "
            "sample {out} --stage clean --rejected; {out}/report.html has the rest",
        ),
        (
            {"a.txt": "short", "b.txt": "x" * 200, "c.txt": "y" * 200},
            {},
            "nothing is left: 3 documents read, 2 rejected by han_ratio (at least 0.6), 1 by too_short (150 "
            "characters); see pangu corpus sample {out} --stage clean",
        ),
        (
            {"a.jsonl": '{"body": "x"}\n' * 3},
            {},
            "nothing is left: 0 documents read; put aside: 3 of 3 documents and lines (100.0%): no text in "
            "field 'text' 3; see {out}/work/read/*/quarantine.jsonl; is Reading.text_field the right one?",
        ),
        (
            {"a.csv": "body\nx\n", "b.pdf": ""},
            {},
            "nothing is left: 0 documents read; passed over: 1 file of kinds not known (.pdf 1); put aside: "
            "1 of 1 documents and lines (100.0%): no column 'text' 1; see",
        ),
        (
            {"a.txt": " \n"},
            {},
            "nothing is left: 0 documents read; noted: blank documents 1; see {out}/work/read",
        ),
        (
            {"a.txt": "一行\n" * 3},
            {"unit": "line"},
            "nothing is left: 3 documents read, 3 rejected by too_short (150 characters); see",
        ),
    ],
)
def test_nothing_is_left(tmp_path, files, reading, line):
    (tmp_path / "in").mkdir()
    for name, content in files.items():
        (tmp_path / "in" / name).write_text(content, "utf-8")
    out = tmp_path / "out"
    with pytest.raises(DataError) as error:
        builder.build([str(tmp_path / "in")], str(out), workers=1, rules=RULES, decontamination=NONE,
              reading=Reading(**reading))  # fmt: skip
    said, *gin = str(error.value).split("\n")  # the second line, gin's, is for the command line to drop
    assert said.startswith(line.format(out=out)) and len(gin) == 1
    assert "Left out in reading" in (out / "report.html").read_text()
    assert cli.main(["corpus", "report", str(out)]) == 0
