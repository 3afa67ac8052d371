"""Digits of scikit-learn: measured while a trunk learns, afterwards, and taught to it by `pangu tune`."""

import json

import gin
import jax
import numpy as np
import pytest
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.images.images import images
from pangu_jax import cli
from pangu_jax import train as launch
from pangu_jax.apps.vision.measuring import evaluate_images as module
from pangu_jax.apps.vision.measuring import few_labels, images_of_run, page
from pangu_jax.apps.vision.measuring.evaluate_images import RestoredSet
from pangu_jax.apps.vision.measuring.few_labels import Arm
from pangu_jax.apps.vision.measuring.fine_tuning import FewLabelFit, FineTuner
from pangu_jax.apps.vision.measuring.seen import SeenPictures, Viewer
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.runs import metrics, opening
from pangu_jax.workloads.vision.bases import TrunkInMemory

PICTURES = """
import data_pipelines.images.images
images.path = 'package:digits'
images.mode = 'L'
images.size = 8
images.augment = [@RandomCrop()]
RandomCrop.size = 8
RandomCrop.padding = 1
"""
RECIPE = f"""{PICTURES}
import pangu_jax.workloads.vision
train.workload = @VisionModel()
train.steps = 4
train.batch_size = 32
train.backend = 'cpu'
train.log_every = 1
train.evaluators = [@LinearProbe()]
LinearProbe.labelled = 200
VisionModel.model = @VisionTransformer()
VisionModel.data = @images()
VisionModel.objectives = [@MaskedPixels()]
VisionModel.average = 0.5
VisionTransformer.size = 8
VisionTransformer.patch = 4
VisionTransformer.channels = 1
VisionTransformer.d_model = 16
VisionTransformer.layers = 2
VisionTransformer.heads = 2
MaskedPixels.width = 16
MaskedPixels.layers = 1
MaskedPixels.heads = 2
"""
TUNING = f"""{PICTURES}
import pangu_jax.apps.vision.tuning
import pangu_jax.training.layer_rates
import pangu_jax.workloads.vision
train.workload = @PictureClassifier()
train.optimizer = @layerwise_rates()
train.steps = 60
train.batch_size = 32
train.backend = 'cpu'
train.log_every = 1
PictureClassifier.base = @TrunkOfRun()
PictureClassifier.data = @images()
adamw.schedule = @constant_schedule()
constant_schedule.learning_rate = 5e-3
layerwise_rates.optimizer = @adamw()
"""
EVALUATION = """
import data_pipelines.images.images
import pangu_jax.apps.vision.measuring.evaluate_images
evaluate_images.data = @images()
evaluate_images.shares = (0.05, 1.0)
evaluate_images.draws = 2
evaluate_images.fit = @FewLabelFit()
FewLabelFit.steps = 2
FewLabelFit.batch_size = 16
images.validation_pictures = 60
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("measuring")
    for name, text in (("digits", RECIPE), ("tuning", TUNING), ("evaluation", EVALUATION)):
        (path / f"{name}.gin").write_text(f"{text}\nimages.cache_dir = '{path / 'cache'}'\n")
    launch.run([str(path / "digits.gin")], [], path / "run")
    return path


@pytest.fixture
def pangu(folder, capsys):
    """Runs a verb; gives status, what it printed, and its lines of errors."""

    def call(*arguments):
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            status = exit_.code
        said = capsys.readouterr()
        return status, said.out, said.err.splitlines()

    return call


def test_in_training_figures_stand_beside_what_they_must_beat(folder):
    *_, last = metrics.read(folder / "run" / "metrics.jsonl")
    own, raw, random, chance = (
        last[f"probe/{name}"] for name in ("accuracy", "raw_pixels", "random_weights", "chance")
    )
    assert chance < 15 < min(own, random) and raw > 80


def test_a_run_is_measured_by_few_labels(folder, pangu):
    files = "--gin_file", folder / "evaluation.gin", "--run_dir", folder / "run"
    status, out, err = pangu("eval", *files, "--json", "-")
    assert status == 0, err
    found = json.loads(out)
    rows = {(row["task"], row["method"], row["split"]): row for row in found["rows"]}
    assert len(rows) == len(found["rows"]) == 3 * 2 * 4
    assert rows["probe, 5% of labels", "this model", "draw 1"]["labels"] == 80
    assert rows["probe, 100% of labels", "raw pixels 8 x 8", "draw 0"]["accuracy"] > 85
    assert {row["examples"] for row in found["rows"]} == {60}
    differences = {(one["task"], one["second"]): one for one in found["differences"]}
    one = differences["probe, 5% of labels", "random weights"]
    own, other = (
        np.mean([rows["probe, 5% of labels", method, f"draw {draw}"]["accuracy"] for draw in (0, 1)])
        for method in ("this model", "random weights")
    )
    assert one["mean"] == pytest.approx(own - other, abs=0.01) and one["draws"] == 2
    low, high = one["interval_over_pictures"]
    assert low <= one["mean"] <= high
    for calibration in found["calibration"]:
        assert 0 <= calibration["error"] <= 100
    page = (folder / "run" / "eval_images.html").read_text("utf-8")
    assert page.count('width="680" height="480"') == page.count('class="enlarged"') == 3  # 68 x 48
    assert page.count("data:image/png;base64,") == 3 and "http" not in page.replace("http-equiv", "")


@pytest.mark.prove
def test_fine_tuning_stands_beside_from_scratch(folder, pangu):
    files = "--gin_file", folder / "evaluation.gin", "--run_dir", folder / "run"
    status, out, err = pangu("eval", *files, "--gin.evaluate_images.fine_tuned=(0.05,)", "--json", "-")
    assert status == 0, err
    found = json.loads(out)
    rows = [row for row in found["rows"] if row["task"] == "fine-tuned, 5% of labels"]
    arms = [(row["method"], row["split"], row["labels"]) for row in rows]
    assert arms == [
        (arm, draw, 80) for draw in ("draw 0", "draw 1") for arm in ("this model", "from scratch")
    ]
    assert ("fine-tuned, 5% of labels", "from scratch") in {
        (one["task"], one["second"]) for one in found["differences"]
    }


def test_a_fine_tuned_trunk_is_a_function_of_base_labels_and_seed(folder):
    run = opening.open_run(folder / "run", float32=True)
    data = images(path="package:digits", mode="L", size=8, augment=[], cache_dir=str(folder / "cache"))
    mesh = make_mesh(Layout(data=1), jax.devices()[:1])
    tuner = FineTuner(data, run.workload.model, run.spread.run, mesh, FewLabelFit(steps=2, batch_size=16))
    base = TrunkInMemory(run.workload.model, run.workload.complete(run.workload.evaluated(run.variables)))
    train, asked = data.pictures.places(False), data.measured[:20]
    found = [
        tuner(base, places, asked, seed)
        for places, seed in ((train[:200], 0), (train[:200], 0), (train[:200], 1), (train[200:400], 0))
    ]
    np.testing.assert_allclose(found[0].sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found[0], found[1])
    assert np.any(found[0] != found[2]) and np.any(found[0] != found[3])


def opened_beside_base(folder, out):
    """The tuned run, opened, and whether each of its main stage's weights is another than the base's.

    What is frozen is the base's averages, to the bit.
    """
    found, base = (opening.open_run(path, float32=True) for path in (out, folder / "run"))
    averaged = {name: base.variables.extra["averaged"][name] for name in ("trunk", "main")}
    jax.tree.map(np.testing.assert_array_equal, found.variables.extra["frozen"], averaged)
    whole = found.workload.complete(found.variables)
    pairs = zip(jax.tree.leaves(whole["main"]), jax.tree.leaves(averaged["main"]), strict=True)
    assert np.any(np.asarray(found.variables.params["head"]["kernel"]) != 0)
    return found, [not np.array_equal(*pair) for pair in pairs]


def tune(folder, out, *bindings):
    """Arguments of `pangu tune`, from the run's trunk."""
    flags = [f"--gin.{one}" for one in (f"TrunkOfRun.run_dir={folder / 'run'}", *bindings)]
    return "tune", "--gin_file", folder / "tuning.gin", *flags, "--run_dir", out


def test_classes_are_taught_and_the_tuned_run_is_a_run_like_others(folder, pangu):
    """To a head alone: the trunk stays as the run has it."""
    out = folder / "tuned"
    status, _, err = pangu(*tune(folder, out, "PictureClassifier.learns=@HeadOnly()"))
    assert status == 0, err
    *_, last = metrics.read(out / "metrics.jsonl")
    status, told, err = pangu("eval", "--held_out", "--run_dir", out, "--json", "-")
    assert status == 0, err
    measured = json.loads(told)["metrics"]
    assert measured["validation_accuracy"]["value"] == pytest.approx(last["validation_accuracy"])
    assert last["validation_accuracy"] > 0.3
    opened, changed = opened_beside_base(folder, out)
    assert opened.workload.name == "vision" and not any(changed)
    assert opened.workload.classes == tuple(f"digit {number}" for number in range(10))
    status, _, err = pangu("restore", "--run_dir", out, "--task", "x2", "--out", folder / "larger", "a.png")
    assert status == 2 and "was not trained to restore pictures, but by: classes" in err[-1]


@pytest.mark.prove
def test_all_weights_are_taught(folder, pangu):
    status, _, err = pangu(*tune(folder, folder / "all"))
    assert status == 0, err
    *_, last = metrics.read(folder / "all" / "metrics.jsonl")
    assert last["validation_accuracy"] > 0.3


@pytest.mark.prove
def test_of_a_low_rank_only_qkv_learns(folder, pangu):
    bindings = "PictureClassifier.learns=@LowRank()", "steps=2"
    status, _, err = pangu(*tune(folder, folder / "low_rank", *bindings))
    assert status == 0, err
    assert sum(opened_beside_base(folder, folder / "low_rank")[1]) == 1


def save(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(pixels).save(path)


def test_labels_that_do_not_fit_are_one_line(folder, pangu):
    for number in range(8):
        save(folder / "other" / "ab"[number % 2] / f"{number}.png", number)
    status, _, err = pangu("tune", "--run_dir", folder / "tuned", f"--gin.images.path={folder / 'other'}")
    assert status == 2 and "was trained with classes" in err[-1]
    recipe = folder / "tuned" / "recipe.gin"
    recipe.write_text(recipe.read_text().replace("'package:digits'", repr(str(folder / "other"))))
    status, _, err = pangu("eval", "--held_out", "--run_dir", folder / "tuned")
    assert status == 2 and len(err) == 1 and "was trained with classes" in err[0]


def test_what_is_restored_stands_on_the_page_with_its_protocol(folder, monkeypatch):
    row = {"set": "set5", "task": "x2", "method": "bicubic", "psnr": 33.67, "ssim": 0.93, "pictures": 5}
    row |= {"left_out": 1, "degraded": "bicubic to 1/2", "compared": "luma, 2 pixels shaved"}
    asked = []

    def measure(run, path, task, sigma):
        asked.append((path, task, sigma))
        return [row]

    monkeypatch.setattr(module, "measure_restoration", measure)
    sets = [RestoredSet("set5.parquet", "x2"), RestoredSet("bsd", "denoise", 25.0)]
    found = module.evaluate_images(str(folder / "run"), restore=sets)
    assert asked == [("set5.parquet", "x2", None), ("bsd", "denoise", 25.0)]
    assert page.as_json(found)["restored"] == [row, row]
    for text in (page.text(found), page.render("run", found, "")):
        assert "33.67" in text and "bicubic to 1/2; luma, 2 pixels shaved" in " ".join(text.split())


@pytest.mark.parametrize(
    ("bindings", "words"),
    [
        (["--gin.images.path=EMPTY"], "EMPTY has no picture that can be used"),
        (["--gin.images.path=ONE"], "all labelled pictures are of one class"),
        (["--gin.images.path=NONE"], "no picture has a label"),
        (["--gin.images.size=16"], "leave images.size and images.mode out"),
        (["--gin.evaluate_images.shares=(0.0,)"], "shares of labels above 0"),
        (["--task", "fewclue/eprstmt"], "this recipe measures pictures: leave out --task"),
    ],
)
def test_bad_input_is_one_line(folder, pangu, monkeypatch, bindings, words):
    monkeypatch.chdir(folder)
    (folder / "EMPTY").mkdir(exist_ok=True)
    for number, place in enumerate(("ONE/a/1.png", "ONE/a/2.png", "NONE/1.png", "NONE/2.png")):
        save(folder / place, number)
    files = "--gin_file", folder / "evaluation.gin", "--run_dir", folder / "run"
    status, _, err = pangu("eval", *files, *bindings)
    assert status == 2 and len(err) == 1 and words in err[0]


LANGUAGE = """
import pangu_jax.workloads.language
train.workload = @LanguageModel()
"""


def test_a_run_of_another_family_is_said_before_anything_else(folder, pangu):
    """Not that it has no pictures, or that benchmarks are missing."""
    (folder / "texts").mkdir()
    (folder / "texts" / "recipe.gin").write_text(LANGUAGE)
    status, _, err = pangu("eval", "--gin_file", "eval/images.gin", "--run_dir", folder / "texts")
    assert status == 2 and len(err) == 1
    assert "is a run of the family 'language', and this is for one of 'vision'; what can be done" in err[0]
    status, _, err = pangu("eval", "--run_dir", folder / "run", "--submission", folder / "x.zip")
    assert status == 2 and len(err) == 1
    assert "is a run of the family 'vision', and this is for one of 'language'" in err[0]
    assert "pangu eval --gin_file eval/images.gin" in err[0] and not (folder / "x.zip").exists()


def test_a_viewer_does_not_take_what_a_recipe_binds_for_a_classifier(folder):
    run = opening.open_run(folder / "run", float32=True)
    viewer = Viewer(run.workload.model, run.spread.run, make_mesh(Layout(data=1), jax.devices()[:1]))
    data = images(path="package:digits", mode="L", size=8, cache_dir=str(folder / "cache"))
    places, params = np.arange(3), run.workload.complete(run.workload.evaluated(run.variables))
    expected = viewer(params, data, places)
    with gin.unlock_config():
        gin.bind_parameter("PictureClassifier.stages", 3)
        gin.bind_parameter("PictureClassifier.label_smoothing", 0.5)
        gin.parse_config("PictureClassifier.learns = @HeadOnly()")
    again = Viewer(run.workload.model, run.spread.run, make_mesh(Layout(data=1), jax.devices()[:1]))
    np.testing.assert_array_equal(again(params, data, places).features_NxF, expected.features_NxF)


def test_arms_have_the_same_draws_and_a_better_one_is_ahead():
    draw = np.random.default_rng(0)
    labels = np.arange(200) % 4
    good = np.eye(4)[labels] + 0.2 * draw.normal(size=(200, 4))
    bad = draw.normal(size=(200, 4))
    places = np.arange(200)
    known, asked = places[:120], places[120:]

    def arm(features):
        seen = [
            SeenPictures(side, labels[side], features[side].astype(np.float32)) for side in (known, asked)
        ]
        return Arm.of(*seen)

    found = few_labels.by_features({"good": arm(good), "bad": arm(bad)}, 4, (0.1, 1.0), 2)
    rows = [one.row for one in found]
    accuracy = {(row["task"], row["method"], row["split"]): row["accuracy"] for row in rows}
    for how in ("probe", "knn"):
        assert accuracy[f"{how}, 10% of labels", "good", "draw 1"] > 95
        assert accuracy[f"{how}, 100% of labels", "bad", "draw 0"] < 60
    assert len(rows) == 3 * 2 * 3


def test_an_imported_run_has_no_pictures_of_its_own(tmp_path):
    (tmp_path / "recipe.gin").write_text(RECIPE.replace("'package:digits'", "''"))
    recipe = tmp_path / "evaluation.gin"
    recipe.write_text(EVALUATION)
    found = images_of_run.bindings(str(tmp_path), [recipe], [])
    assert {"images.size=8", "images.mode='L'"} < set(found)
    assert not any(binding.startswith("images.path=") for binding in found)
    given = ["images.path='there'", "images.size=16"]
    found = images_of_run.bindings(str(tmp_path), [recipe], given)
    assert "images.mode='L'" in found and not any("size=" in binding for binding in found)
    with pytest.raises(DataError, match=r"images\.path is not set"):
        images(path="")
