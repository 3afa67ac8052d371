"""Whole builds: the same bytes whatever the workers, the order and whoever is killed; and what people see."""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from data_pipelines.corpus import build as builder
from data_pipelines.corpus.build import build
from data_pipelines.corpus.cleaning.normalise import WhiteSpace
from data_pipelines.corpus.cleaning.whole_text import HanRatio, TooShort
from data_pipelines.corpus.decontamination import Decontamination
from data_pipelines.corpus.dedup import Dedup
from data_pipelines.corpus.reading.settings import Reading
from data_pipelines.corpus.writing import Writing
from data_pipelines.errors import DataError
from pangu_jax import cli

ROOT = Path(__file__).parents[2]
PANGU = [sys.executable, "-m", "pangu_jax.cli", "corpus"]
SMALL = {
    "rules": (WhiteSpace(), TooShort(), HanRatio()),
    "reading": Reading(chunk_bytes=8000, unit_bytes=6000),
    "dedup": Dedup(part_bytes=8000),
    "writing": Writing(shard_bytes=16000, validation_fraction=0.1),
}


@pytest.fixture(scope="module")
def held_out(tmp_path_factory, raw):
    """An evaluation set that holds a sentence of the corpus."""
    text = json.loads((raw / "news.jsonl").read_text().splitlines()[7])["text"]
    path = tmp_path_factory.mktemp("sets") / "exam.jsonl"
    path.write_text(json.dumps({"question": "".join(text.split("\n")[:2])}, ensure_ascii=False) + "\n")
    return Decontamination(sets=(), more={"exam": str(path)})


@pytest.fixture(scope="module")
def built(tmp_path_factory, raw, held_out):
    output = tmp_path_factory.mktemp("built") / "corpus"
    return output, build([str(raw)], str(output), workers=1, decontamination=held_out, **SMALL)


def files(output):
    dataset = Path(output) / "dataset"
    return {
        str(path.relative_to(dataset)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(dataset.rglob("*"))
        if path.is_file()
    }


def test_the_funnel_adds_up(built):
    _, report = built
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert stages["read"]["documents_out"] == 57
    assert stages["clean"]["documents_in"] == 57
    for before, after in (
        ("clean", "deduplicate"),
        ("deduplicate", "decontaminate"),
        ("decontaminate", "write"),
    ):
        assert stages[before]["documents_out"] == stages[after]["documents_in"]
    rejected = report["rejected"]
    assert sum(n for n, _ in rejected["clean"].values()) == 3
    assert rejected["deduplicate"]["exact_copy"][0] == 3
    assert rejected["deduplicate"]["near_duplicate"][0] == 1
    assert stages["write"]["documents_out"] == 50
    assert sum(report["quarantined"].values()) == 2
    assert report["evaluation"]["evaluation_sets"]["exam"]["examples"] == 1


def test_the_held_out_sentence_is_gone(built, raw):
    output, _ = built
    sentence = json.loads((raw / "news.jsonl").read_text().splitlines()[7])["text"].split("\n")[0]
    assert any(sentence in text for text in texts(output, "deduplicate"))
    pure = texts(output, "decontaminate")
    assert len(pure) == 50
    assert not any(sentence in text for text in pure)


def texts(output, stage):
    paths = sorted((output / "work" / stage).rglob("documents.arrow"))
    return [text for path in paths for text in pl.read_ipc(path)["text"]]


def test_two_workers_and_another_order_give_the_same_bytes(built, raw, tmp_path, held_out):
    output, _ = built
    inputs = [str(raw / "news.jsonl"), f"books={raw / 'books'}", str(raw / "books" / ".." / "news.jsonl")]
    first, second = tmp_path / "a", tmp_path / "b"
    build([str(raw)], str(first), workers=2, decontamination=held_out, **SMALL)
    assert files(first) == files(output)
    build(inputs, str(second), workers=2, decontamination=held_out, **SMALL)
    build(inputs[::-1], str(tmp_path / "c"), workers=1, decontamination=held_out, **SMALL)
    assert files(second) == files(tmp_path / "c")


@pytest.mark.prove
def test_a_killed_build_goes_on_and_gives_the_same_bytes(raw, tmp_path):
    """SIGKILL of the driver once several stages have begun."""
    command = [*PANGU, "build", "--input", str(raw), "--workers", "2", "--gin.Reading.chunk_bytes=8000",
               "--gin.Reading.unit_bytes=6000", "--gin.Decontamination.sets=()", "--output"]  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*command, str(whole)], check=True, cwd=ROOT, capture_output=True)
    driver = subprocess.Popen(
        [*command, str(killed)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list((killed / "work").glob("clean/*/stats.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert not (killed / "dataset").exists()
    subprocess.run([*command, str(killed)], check=True, cwd=ROOT, capture_output=True)
    assert files(killed) == files(whole)


@pytest.mark.prove
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_told_and_gone_on_from(raw, tmp_path):
    command = [*PANGU, "build", "--input", str(raw), "--workers", "2", "--gin.Decontamination.sets=()"]
    whole, small = tmp_path / "whole", tmp_path / "small"
    subprocess.run([*command, "--output", str(whole)], check=True, cwd=ROOT, capture_output=True)
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", small], check=True)
    try:
        command += ["--output", str(small / "corpus")]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert ran.returncode == 2
        (line,) = [line for line in ran.stderr.splitlines() if line.startswith("pangu corpus build:")]
        assert "no room left" in line or "No space left" in line
        subprocess.run(["mount", "-o", "remount,size=50m", small], check=True)
        subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
        assert files(small / "corpus") == files(whole)
    finally:
        subprocess.run(["umount", small], check=True)


def test_an_output_of_another_build_is_refused(built, raw, held_out, tmp_path, monkeypatch):
    output, _ = built
    with pytest.raises(DataError, match="is of another build, which differs in: settings"):
        build([str(raw)], str(output), decontamination=held_out, **(SMALL | {"dedup": Dedup(threshold=0.8)}))
    changed = dataclasses.replace(held_out, more={"exam": str(tmp_path / "exam.jsonl")})
    (tmp_path / "exam.jsonl").write_text('{"question": "another examination, and a longer one"}\n')
    with pytest.raises(DataError, match="settings, evaluation sets"):
        build([str(raw)], str(output), decontamination=changed, **SMALL)
    monkeypatch.setattr(builder.card, "versions", lambda: {"rensa": "another"})
    with pytest.raises(DataError, match="differs in: versions of libraries"):
        build([str(raw)], str(output), decontamination=held_out, **SMALL)
    monkeypatch.undo()
    (tmp_path / "exam.jsonl").unlink()
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(DataError, match="not empty and holds no build"):
        build([str(raw)], str(tmp_path))
    assert (tmp_path / "precious.txt").read_text() == "x"


def test_a_second_build_there_at_the_same_time_is_refused(built, raw, held_out):
    import fcntl

    output, _ = built
    with (output / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another build is at work"):
            build([str(raw)], str(output), decontamination=held_out, **SMALL)


def test_nothing_readable_is_told(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "noise.txt").write_bytes(os.urandom(3000))
    with pytest.raises(DataError, match=r"nothing is left: 0 documents read; put aside: 1 of 1 .*not text 1"):
        build([str(tmp_path / "raw")], str(tmp_path / "out"), workers=1)


def test_verbs_show_a_build(built, capsys):
    output, _ = built
    assert cli.main(["corpus", "report", str(output)]) == 0
    assert "near_duplicate (deduplicate)" in capsys.readouterr().out
    assert cli.main(["corpus", "sample", str(output), "--stage", "clean", "--rejected"]) == 0
    assert "too_short" in capsys.readouterr().out
    assert cli.main(["corpus", "sample", str(output), "--stage", "write", "--rejected"]) == 2
    assert cli.main(["corpus", "sample", str(output), "--stage", "cleam"]) == 2
    page = (output / "report.html").read_text()
    assert "exact_copy" in page and "http" not in page.split("<body>")[0]


def test_plan_scales_what_was_measured(built, capsys):
    output, report = built
    command = ["corpus", "plan", "--raw_tb", "40", "--days", "7", "--from", str(output)]
    assert cli.main([*command, "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    cpu = sum(stage["cpu_seconds"] for stage in report["stages"] if stage["name"] != "index")
    text = next(s for s in report["stages"] if s["name"] == "read")["bytes_out"]
    assert found["cpu_hours"] == pytest.approx(cpu * 40e12 / text / 3600, rel=1e-3)
    assert found["cores"] * 7 * 24 * found["efficiency"] >= found["cpu_hours"]
    assert found["needed_mb_per_second"] == pytest.approx(66.14, abs=0.01)
    assert cli.main(["corpus", "plan", "--raw_tb", "-1", "--days", "7", "--from", str(output)]) == 2
    assert cli.main(["corpus", "plan", "--raw_tb", "1", "--days", "7", "--from", str(output.parent)]) == 2


def test_work_can_be_cleared_and_samples_stay(raw, tmp_path, held_out):
    output = tmp_path / "out"
    build([str(raw)], str(output), workers=1, decontamination=held_out, keep_work=False, **SMALL)
    left = {path.name for path in (output / "work").rglob("*.arrow")}
    assert left == {"rejected.arrow"}
    assert builder.report.collecting.samples(builder.BuildDirectory(output), "clean", True, 5)
