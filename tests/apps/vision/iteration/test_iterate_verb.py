"""`pangu iterate` as a program, killed by the system and started again."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from pangu_jax import cli
from pangu_jax import train as launch
from pangu_jax.apps.vision.iteration import pool as pools
from tests.apps.vision.iteration.conftest import write_labels
from tests.apps.vision.test_measuring import LANGUAGE, RECIPE

BINDINGS = {
    "iterate.bits": 40.0,
    "iterate.rounds": 2,
    "iterate.share": 0.05,
    "MeanTeacher.steps": 100,
    "MeanTeacher.hidden": 16,
    "RandomCrop.size": 8,
    "RandomCrop.padding": 1,
    "images.views": 1,
}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("iterate")
    recipe = folder / "train.gin"
    recipe.write_text(RECIPE)
    launch.run([str(recipe)], [], str(folder / "run"))
    return folder / "run"


@pytest.fixture(scope="module")
def command(run_dir, tmp_path_factory):
    """The arguments, for a folder."""
    from data_pipelines.images.images import images

    labelled = pools.of_images(images(path="package:digits", mode="L", size=8), 1.0, 0)
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    named = [(name, labelled.classes[c]) for name, c in zip(labelled.ids, labelled.start_N, strict=True)]
    write_labels(path, named)

    def arguments(out):
        given = [f"--gin.{name}={value}" for name, value in BINDINGS.items()]
        return [
            "iterate",
            "--run_dir",
            str(run_dir),
            "--out",
            str(out),
            f"--gin.OracleFile.path={path}",
            *given,
        ]

    return arguments


def test_a_run_of_another_family_is_named(tmp_path, capsys):
    """Not that it has no pictures."""
    (tmp_path / "recipe.gin").write_text(LANGUAGE)
    assert cli.main(["iterate", "--run_dir", str(tmp_path), "--out", str(tmp_path / "rounds")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "is a run of the family 'language', and this is for one of 'vision'" in said[0]


def answers(out):
    """Lines of the journal."""
    return [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]


@pytest.mark.prove
def test_killed_by_the_system_it_comes_to_the_same_end(command, tmp_path, proof):
    def program(out):
        return subprocess.Popen(
            [sys.executable, "-m", "pangu_jax.cli", *command(out)], start_new_session=True
        )

    assert program(tmp_path / "whole").wait() == 0
    whole, killed = answers(tmp_path / "whole"), tmp_path / "killed"
    for lines in (1, 2, 20, 43, 60):
        one = program(killed)
        while one.poll() is None:
            found = killed / "journal.jsonl"
            if found.is_file() and found.read_bytes().count(b"\n") >= lines:
                os.killpg(one.pid, signal.SIGKILL)
                one.wait()
            time.sleep(0.01)
        assert answers(killed)[1:] == whole[1 : len(answers(killed))]
    assert program(killed).wait() == 0
    assert answers(killed) == whole
    assert (killed / "iterate.html").read_text() == (tmp_path / "whole" / "iterate.html").read_text()
    proof("answers kept over 5 kills", sum("answer" in row for row in whole))


@pytest.mark.prove
def test_rounds_and_increments_by_the_command_line(command, run_dir, tmp_path, capsys, proof):
    assert cli.main([*command(tmp_path / "rounds"), "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["finished"] and [row["round"] for row in found["rows"]] == [0, 1, 2]
    assert "<svg" in (tmp_path / "rounds" / "iterate.html").read_text()
    before = answers(tmp_path / "rounds")
    assert cli.main(command(tmp_path / "rounds")) == 0  # nothing is left to do
    assert answers(tmp_path / "rounds") == before
    capsys.readouterr()
    assert cli.main([*command(tmp_path / "rounds"), "--gin.iterate.bits=41.0"]) == 2
    assert "is of an iteration with another questions" in capsys.readouterr().err

    given = ["--gin.increment.groups=2", "--gin.HeadFit.epochs=1", "--gin.RandomCrop.size=8"]
    given += ["--gin.RandomCrop.padding=1", "--gin.images.views=1"]
    where = ["--run_dir", str(run_dir), "--out", str(tmp_path / "classes")]
    ran = ["iterate", "--gin_file", "vision/increments.gin", *where, *given]
    assert cli.main([*ran, "--json", str(tmp_path / "found.json")]) == 0
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert len(rows) == 7 * 2 and rows[0]["method"] == "joint"
    assert cli.main(ran) == 0  # resumes, with nothing to do
    proof("percent right of 10 digits, joint", rows[1]["accuracy"])
