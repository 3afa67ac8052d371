"""Digits of scikit-learn: an elastic run, what is extracted from it, and a student that it teaches."""

import json
import re
import shutil
import time

import jax
import numpy as np
import pytest

from data_pipelines.images.images import images
from pangu_jax import cli
from pangu_jax import train as launch
from pangu_jax.apps.vision.exporting import checked_pictures
from pangu_jax.apps.vision.extraction import budgets, choosing, latency, predicting, space
from pangu_jax.apps.vision.measuring import images_of_run
from pangu_jax.apps.vision.tuning import PartOfRun
from pangu_jax.apps.vision.tuning.stored_run import StoredRun
from pangu_jax.errors import UserError
from pangu_jax.parallel import rules
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.runs import opening
from pangu_jax.workloads.vision import FewLabelled
from pangu_jax.workloads.vision.classifier import HEAD_AXES
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.slicing import SubModel

COMMON = """
import data_pipelines.images.images
import pangu_jax.apps.vision.tuning
import pangu_jax.workloads.vision
images.path = 'package:digits'
images.mode = 'L'
images.size = 8
images.augment = [@RandomCrop()]
images.validation_pictures = 120
RandomCrop.size = 8
RandomCrop.padding = 1
train.optimizer = @adamw()
train.batch_size = 32
train.backend = 'cpu'
adamw.schedule = @constant_schedule()
constant_schedule.learning_rate = 1e-2
FreshTrunk.config = @HierarchicalTransformer()
HierarchicalTransformer.size = 8
HierarchicalTransformer.unit = 4
HierarchicalTransformer.channels = 1
"""
ELASTIC = f"""{COMMON}
train.workload = @ElasticClassifier()
train.steps = 80
ElasticClassifier.base = @FreshTrunk()
ElasticClassifier.data = @images()
ElasticClassifier.sizes = ((16, (1, 1, 1)),)
HierarchicalTransformer.d_model = 32
HierarchicalTransformer.depths = (1, 1, 1)
HierarchicalTransformer.heads = 4
"""
DISTIL = f"""{COMMON}
train.workload = @DistilledClassifier()
train.steps = 3
DistilledClassifier.base = @FreshTrunk()
DistilledClassifier.data = @FewLabelled()
DistilledClassifier.teacher = @TeacherOfRun()
FewLabelled.data = @images()
HierarchicalTransformer.d_model = 8
HierarchicalTransformer.depths = (1, 1, 1)
HierarchicalTransformer.heads = 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("extraction")
    for name, text in (("elastic", ELASTIC), ("distil", DISTIL)):
        (path / f"{name}.gin").write_text(f"{text}\nimages.cache_dir = '{path / 'cache'}'\n")
    launch.run([str(path / "elastic.gin")], [], path / "run")
    return path


@pytest.fixture
def pangu(folder, capsys):
    """Runs a verb; gives status, what it printed, and its lines of errors."""

    def call(*arguments):
        status = cli.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return status, said.out, said.err.splitlines()

    return call


def test_what_is_extracted_is_a_run_like_others(folder, pangu):
    out = folder / "small"
    asked = ("--budget", "params<=9k", "--steps", 2)
    status, said, errors = pangu("extract", "--run_dir", folder / "run", *asked, "--out", out)
    assert status == 0, errors
    found = json.loads((out / "extraction.json").read_text())
    (row,) = found["extracted"]
    assert (row["width"], row["depths"]) == (16, [1, 1, 1])
    assert row["params"] == sum(x.size for x in jax.tree.leaves(opening.open_run(out).variables.params))
    assert [(other["width"], other["learnt"]) for other in found["sub_models"]] == [(32, True), (16, True)]
    assert row["slice_accuracy"] > 20
    assert str(out) in said
    assert (out / "extraction.svg").read_text().count("<svg") == 1
    shutil.move(folder / "run", folder / "away")  # whole without what it is from
    try:
        status, held_out, errors = pangu("eval", "--run_dir", out, "--held_out")
        assert status == 0, errors
        assert "validation_accuracy" in held_out
    finally:
        shutil.move(folder / "away", folder / "run")


def test_corners_that_are_timed_need_not_be_of_the_space(folder, monkeypatch):
    """Where depths vary in several stages the table asks for shapes that nothing learnt."""
    asked = []

    def table(parts, call):
        asked.append(call(SubModel(24, (1, 1, 1)))().shape)
        return lambda part: 0.001

    monkeypatch.setattr(latency, "table", table)
    choosing.choose(folder / "run", [budgets.parse("latency<=5s@cpu")], measured=1)
    assert asked == [(1, 10)]


@pytest.mark.prove
def test_several_budgets_make_a_folder_of_runs(folder, pangu, proof):
    out = folder / "several"
    asked = ("--budget", "latency<=5s@cpu", "--budget", "flops<=200k", "--steps", 40)
    status, said, errors = pangu("extract", "--run_dir", folder / "run", *asked, "--out", out)
    assert status == 0, errors
    free, small = json.loads((out / "extraction.json").read_text())["extracted"]
    assert small["flops"] <= 200_000
    assert free["latency@cpu"] <= 5
    assert free["accuracy"] > free["slice_accuracy"] - 5
    for row in (free, small):
        assert row["run_dir"] in said
        assert opening.open_run(row["run_dir"]).workload.model.d_model == row["width"]
    proof("table over measured latency", free["latency@cpu"] / free["measured_seconds"])


def test_a_student_of_few_labels(folder, pangu):
    arguments = ("tune", "--gin_file", folder / "distil.gin", f"--gin.TeacherOfRun.run_dir={folder / 'run'}")
    status, _, errors = pangu(*arguments, "--run_dir", folder / "student")
    assert status == 0, errors
    opened = opening.open_run(folder / "student")
    assert type(opened.workload).__name__ == "PictureClassifier"
    assert opened.workload.model.d_model == 8
    status, said, errors = pangu("eval", "--run_dir", folder / "student", "--held_out")
    assert status == 0, errors
    assert "validation_accuracy" in said
    shown = checked_pictures.of_run(opened, 8, 1)
    assert shown.source == "100 held-out pictures of the run"
    (held_out,) = opening.with_data(opened).data.validation_sources(100).values()
    np.testing.assert_array_equal(shown.pixels_BxSxSxC, held_out.batch(0)["image"][:, -1])
    found = images_of_run.bindings(folder / "student", ["eval/images.gin"], [])
    assert {"images.path='package:digits'", "images.size=8", "images.mode='L'"} < set(found)


def test_a_step_that_is_not_there_is_not_the_best_one(folder):
    stored = StoredRun(str(folder / "run"), 0, "TrunkOfRun.run_dir")
    with pytest.raises(UserError, match="no checkpoint of step 0 in"), stored.checkpoint():
        pass


def test_a_part_is_read_where_it_is_to_be_and_nowhere_else(folder, monkeypatch):
    """Of several backends JAX's first device is another's."""
    mesh = make_mesh(Layout(fsdp=2), jax.devices()[2:4])
    part = PartOfRun(str(folder / "run"), 16, (1, 1, 1))
    axes = {**part.config.axes(), "head": HEAD_AXES}
    touched, read = set(), StoredRun.variables

    def variables(run, shardings):
        touched.update(device for where in jax.tree.leaves(shardings) for device in where.device_set)
        return read(run, shardings)

    monkeypatch.setattr(StoredRun, "variables", variables)
    found = part.restore(rules.storage_shardings(mesh, axes))
    assert touched == set(jax.devices()[2:4])
    assert {x.sharding.device_set == touched for x in jax.tree.leaves(found)} == {True}
    whole = opening.open_run(folder / "run", float32=True).variables.params
    np.testing.assert_array_equal(found["head"]["kernel"], whole["head"]["kernel"][:16])


def test_what_was_measured_for_one_budget_counts_for_the_next(folder, monkeypatch):
    monkeypatch.setattr(choosing, "VERIFIED", 1)
    monkeypatch.setattr(choosing, "predicted", lambda measured, parts: dict.fromkeys(parts, 0.0))
    right = {32: (50.0, 51.0), 16: (60.0, 61.0)}
    monkeypatch.setattr(choosing.Measurer, "accuracy", lambda self, config, params: right[config.d_model])
    limits = [budgets.parse(text) for text in ("params<=9k", "params<=9M")]
    found = choosing.choose(folder / "run", limits, measured=1)
    assert [(choice.part.width, choice.accuracy) for choice in found.choices] == [(16, 61.0), (16, 61.0)]


def test_labels_of_a_share(folder):
    data = images("package:digits", mode="L", size=8, cache_dir=str(folder / "cache"))
    few = FewLabelled(data, 0.2, draw=1)
    labels = data.pictures.label_N
    batch = few.train_source(500, 0).batch(0)
    told = batch["label"] >= 0
    assert 60 < told.sum() < 140
    np.testing.assert_array_equal(told, np.isin(batch["place"], few.labelled))
    np.testing.assert_array_equal(batch["label"][told], labels[batch["place"][told]])
    np.testing.assert_array_equal(next(few.train_source(500, 0).iterator(0))["label"], batch["label"])
    alone = FewLabelled(data, 0.2, draw=1, there=0.2).train_source(500, 0).batch(0)
    assert set(alone["place"]) <= set(few.labelled)
    assert (alone["label"] >= 0).all()
    half = FewLabelled(data, 0.2, draw=1, there=0.5).train_source(500, 0).batch(0)
    told = half["label"] >= 0
    assert set(half["place"][told]) <= set(few.labelled)
    assert 0.3 < told.mean() < 0.5
    assert set(half["place"]) <= set(FewLabelled(data, 0.5, draw=1).labelled)
    (held_out,) = few.validation_sources(50).values()
    assert (held_out.batch(0)["label"] >= 0).all()


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("params<=10", r"no sub-model meets it: the nearest is 16 wide, 1-1-1 deep with [\d,]+$"),
        ("latency<=0.001us@v5e", "no sub-model meets it: the nearest is 16 wide, 1-1-1 deep with"),
        ("speed<=3", "is not understood"),
        ("latency<=3ms@abacus", "no chip 'abacus'"),
        ("params<=3ms", "the unit 'ms'"),
        ("flops<=3M@cpu", "the same on every chip"),
    ],
)
def test_budgets_that_cannot_be(folder, pangu, budget, words):
    out = folder / "nothing"
    status, said, errors = pangu("extract", "--run_dir", folder / "run", "--budget", budget, "--out", out)
    assert (status, said, len(errors)) == (2, "", 1)
    assert re.search(words, errors[0])
    assert not out.exists()


def test_budgets():
    assert budgets.parse("params <= 2M")[:3] == ("params", 2e6, "")
    assert budgets.parse("latency<=5ms")[:3] == ("latency", 5e-3, "cpu")
    assert budgets.parse("latency<=250us@v5p")[:3] == ("latency", 250e-6, "v5p")
    assert budgets.parse("latency<=1ms@h100-pcie").chip == "h100-pcie"
    assert budgets.parse("flops<=1.5G").cost == "flops"
    assert budgets.parse("latency<=5ms@cpu").folder == "latency_5ms_cpu"
    with pytest.raises(UserError, match="a limit of 0"):
        budgets.parse("params<=0")


def test_a_table_of_latency_predicts_depths_between():
    """Of programs that wait as long as their layers say."""

    class Done:
        def block_until_ready(self):
            return self

    def seconds(part):
        return 2e-5 * part.width / 8 * (1 + part.depths[0] + 2 * part.depths[2])

    def make(part):
        def call():
            until = time.perf_counter() + seconds(part)
            while time.perf_counter() < until:
                pass
            return Done()

        return call

    parts = [SubModel(width, (a, 1, c)) for width in (8, 16) for a in (1, 2) for c in (1, 2, 3)]
    table = latency.table(parts, make, seconds=0.02)
    assert len(table.timed) == 6
    for part in parts:
        assert table(part) == pytest.approx(seconds(part), rel=0.1)


def test_accuracy_is_predicted_from_width_and_depth():
    def truth(part):
        return 20 + 6 * np.log(part.width) + 3 * np.log(part.depths[2])

    parts = [SubModel(width, (1, 1, depth)) for width in (16, 32, 48, 64) for depth in (1, 2, 3)]
    measured = {part: truth(part) for part in parts[::2]}
    for part, value in predicting.predicted(measured, parts).items():
        assert value == pytest.approx(truth(part), abs=0.3)
    assert predicting.left_out_error(measured) < 0.5
    assert predicting.left_out_error(dict(list(measured.items())[:2])) is None


def test_a_chip_takes_longer_for_more():
    small, large = (
        HierarchicalConfig(size=224, unit=16, d_model=width, depths=(2, 2, depth), heads=width // 64)
        for width, depth in ((256, 8), (512, 20))
    )
    for chip in ("v5e", "h100", "ascend910b"):
        few, many = (space.chip_seconds(shape, chip, 32) for shape in (small, large))
        assert 1e-5 < few < 0.5 * many < 0.1
    # Where there is much to do the peak decides, up to what products and attention reach of it.
    ideal = large.flops(large.units) * 256 / 197e12
    assert ideal < space.chip_seconds(large, "v5e", 256) < 2 * ideal
