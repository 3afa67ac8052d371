"""`pangu export`: files that answer as the model does, and what is said where they do not.

ONNX and LiteRT are skipped where their packages are not installed (`pip install 'pangu-jax[export]'`).
"""

import hashlib
import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pangu_jax import cli
from pangu_jax.apps.vision.exporting import comparing, formats, runtimes
from pangu_jax.apps.vision.exporting.formats import FORMATS
from pangu_jax.runs import opening
from pangu_jax.verbs import export as verb
from tests.apps.vision.exporting.runs import LABELS, VIT, classifier, trunk


def format_(name):
    missing = [module for module in FORMATS[name].needed if importlib.util.find_spec(module) is None]
    reason = f"without {', '.join(missing)}: pip install 'pangu-jax[export]'"
    marks = [pytest.mark.skipif(bool(missing), reason=reason)]
    if name == "litert":  # TensorFlow alone takes longer than the rest together
        marks.append(pytest.mark.prove)
    return pytest.param(name, marks=marks)


ALL = pytest.mark.parametrize("name", [format_(name) for name in FORMATS])


@pytest.fixture
def pangu(monkeypatch, capsys, tmp_path):
    """Runs `pangu export` on a run in memory; gives status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, run=None):
        found = run or classifier()
        monkeypatch.setattr(opening, "open_run", lambda *_, **named: found)
        try:
            status = cli.main(["export", "--run_dir", "r", *map(str, arguments)])
        except SystemExit as exit_:
            status = exit_.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


@ALL
@pytest.mark.parametrize("int8", [(), ("--int8",)], ids=["fp32", "int8"])
def test_a_folder_that_is_used_without_this_library(pangu, tmp_path, name, int8):
    status, out, err = pangu("--format", name, "--out", "made", "--json", "found.json", *int8)
    assert status == 0, err
    folder, found = tmp_path / "made", json.loads((tmp_path / "found.json").read_text())
    assert {file.name for file in folder.iterdir()} == {
        FORMATS[name].file, "model.json", "example.py", "README.md"
    }  # fmt: skip
    described = json.loads((folder / "model.json").read_text())
    assert described["labels"] == [*LABELS] and described["step"] == 7 and described["kind"] == "classifier"
    model = folder / FORMATS[name].file
    assert described["sha256"][model.name] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert described["checked"]["max_difference"] <= 1e-4 and described["checked"]["classes_changed"] == 0
    assert found["checked"] == described["checked"] and "100 pictures of noise" in out
    assert ("loss_of_int8" in described) == bool(int8) and (
        "8 bits" in (folder / "README.md").read_text()
    ) == bool(int8)
    # By a person, on a picture of any size.
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 30, 3), np.uint8)).save(tmp_path / "p.png")
    lines = (folder / "example.py").read_text().splitlines()
    assert len(lines) <= 15 and "pangu_jax" not in "\n".join(lines)
    done = subprocess.run(
        [sys.executable, "example.py", tmp_path / "p.png"], cwd=folder, capture_output=True, text=True
    )
    assert {line.split()[-1] for line in done.stdout.splitlines()} == {*LABELS}, done.stderr


OTHERS = pytest.mark.parametrize("name", [format_("onnx"), format_("litert")])


@OTHERS
def test_features_of_a_trunk(pangu, tmp_path, name):
    status, out, err = pangu("--format", name, "--out", "made", run=trunk())
    assert status == 0 and "features of" in out, err
    described = json.loads((tmp_path / "made" / "model.json").read_text())
    assert described["output"] == {"name": "features", "dtype": "float32", "shape": ["b", 32 * 7]}


@OTHERS
def test_a_vision_transformer_with_a_class_token_and_its_head(pangu, tmp_path, name):
    """The token is repeated once for each picture."""
    status, _, err = pangu("--format", name, "--out", "made", run=trunk(VIT))
    assert status == 0, err
    described = json.loads((tmp_path / "made" / "model.json").read_text())
    assert described["kind"] == "classifier" and described["output"]["shape"] == ["b", 5]
    assert described["labels"] == [] and described["checked"]["max_difference"] <= 1e-4


@pytest.mark.parametrize("name", [format_("onnx")])
def test_onnx_holds_no_weight_that_nothing_reads(pangu, tmp_path, name):
    """onnxruntime names each in a warning, whenever the file is opened."""
    import onnx

    assert pangu("--format", name, "--out", "made")[0] == 0
    graph = onnx.load(tmp_path / "made" / FORMATS[name].file).graph
    read = {name for node in graph.node for name in node.input}
    assert {weight.name for weight in graph.initializer} <= read


def test_wrong_numbers_are_refused_and_the_files_kept_aside(pangu, tmp_path, monkeypatch):
    true = runtimes.OPEN["stablehlo"]
    monkeypatch.setitem(
        runtimes.OPEN, "stablehlo", lambda path: lambda pixels: true(path)(pixels) + 1e-3 * (len(pixels) == 7)
    )
    status, _, err = pangu("--format", "stablehlo", "--out", "made")
    assert status == 2 and err.splitlines()[-1].startswith("pangu export: the export is refused, its answers")
    assert "1.0e-03, 0 other classes of 100 pictures" in err and "made.refused" in err
    assert not (tmp_path / "made").exists() and (tmp_path / "made.refused" / "model.stablehlo").is_file()


def test_what_is_no_number_or_of_another_shape_agrees_with_nothing():
    expected = np.eye(4, dtype=np.float32)
    assert comparing.difference(expected, expected + 9e-5, True).agrees
    assert not comparing.difference(expected, expected + 2e-4, True).agrees
    for wrong in (np.full((4, 4), np.nan, np.float32), expected[:3]):
        assert not comparing.difference(expected, wrong, True).agrees
    close = np.array([[0.0, 5e-5]], np.float32)
    assert comparing.difference(close, close[:, ::-1], True).classes_changed == 1
    assert not comparing.difference(close, close[:, ::-1], True).agrees
    assert comparing.difference(
        100 * expected, 100 * expected + 1e-3, False
    ).agrees  # of features, by deviation


def test_nothing_is_written_over_but_an_export_that_is_asked_for(pangu, tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "letter.txt").write_text("mine")
    status, _, err = pangu("--format", "stablehlo", "--out", "made")
    assert status == 2 and "not empty; name a new folder" in err
    status, _, err = pangu("--format", "stablehlo", "--out", "made", "--overwrite")
    assert status == 2 and "is no export: --overwrite replaces exports alone" in err
    assert [file.name for file in tmp_path.iterdir()] == ["made"] and (folder / "letter.txt").is_file()
    (folder / "letter.txt").rename(folder / "stale")
    (folder / "model.json").write_text('{"format": "onnx"}')
    assert pangu("--format", "stablehlo", "--out", "made", "--overwrite")[0] == 0
    assert not (folder / "stale").exists() and [file.name for file in tmp_path.iterdir()] == ["made"]


def test_a_package_that_is_not_there_is_named(pangu, monkeypatch):
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    status, _, err = pangu("--format", "onnx", "--out", "made")
    assert status == 2 and "--format onnx needs onnx, onnxruntime: pip install 'pangu-jax[export]'" in err


def test_the_verb_knows_the_formats():
    assert tuple(FORMATS) == verb.FORMATS


@pytest.mark.prove
@ALL
def test_in_a_fresh_environment(pangu, tmp_path, name, proof):
    """With the network: pip installs the runtime alone."""
    status, _, err = pangu("--format", name, "--out", "made", "--verify", "--json", "found.json")
    assert status == 0, err
    report = json.loads((tmp_path / "found.json").read_text())["verified"]
    assert report["agrees"] and set(report["batches"]) == {"1", "7"} and report["example"]
    proof("seconds from loading to the first answer", report["load_to_first_answer_seconds"])
    proof("largest difference of a logit", max(found["largest"] for found in report["batches"].values()))
