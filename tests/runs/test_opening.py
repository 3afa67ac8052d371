"""Opening a finished run: which checkpoint, on which devices, and what is said when it cannot be."""

import logging
import os
import shutil

import gin
import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from pangu_jax import cli
from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel import rules
from pangu_jax.parallel.constraints import ConstraintPlacement
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.runs import checkpoint_files, inference_layout, opening
from pangu_jax.runs.inference_layout import Devices
from pangu_jax.workloads import RunContext
from tests.runs import made_up
from tests.training import digits
from tests.workloads.stateful_digits import StatefulDigits

ONE, EIGHT = Devices("cpu"), Devices("cpu:8")
FSDP, MODEL = ("fsdp", "fsdp_y", "fsdp_z"), "model"


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    return made_up.words(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def run(tmp_path_factory, vocabulary):
    """A run that was trained with fsdp 4 x model 2, of which two checkpoints are left."""
    bindings = "Layout.fsdp = 4\nLayout.model = 2\nLayout.data = 1\n"
    return made_up.language_run(tmp_path_factory.mktemp("run"), vocabulary, bindings)


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run")


def assert_params(opened, step):
    jax.tree.map(np.testing.assert_array_equal, opened.variables.params, made_up.params(step))


def test_the_recipes_layout_is_kept_and_no_corpus_is_needed(run):
    opened = opening.open_run(run, devices=EIGHT)
    assert opened.workload.name == "language" and opened.manifest["step"] == 8
    assert opened.spread.layout == Layout(data=1, fsdp=4, model=2)
    assert isinstance(opened.spread.run.placement, ConstraintPlacement)
    assert opened.variables.params["embedding"].sharding.spec == PartitionSpec(MODEL, FSDP)
    assert len(opened.variables.params["embedding"].addressable_shards[0].data) == 512 // 2
    assert_params(opened, 8)


def test_one_device_where_the_layout_does_not_fit(run, caplog):
    with caplog.at_level(logging.WARNING):
        opened = opening.open_run(run, 4, ONE)
    assert "is opened on one device: the layout fsdp 4 x model 2 needs 8 devices" in caplog.text
    assert opened.spread.mesh is None and opened.variables.params["embedding"].devices() == {jax.devices()[0]}
    assert_params(opened, 4)


@pytest.mark.parametrize(
    ("bindings", "layout"),
    [
        (("Layout.fsdp=8", "Layout.model=1"), Layout(data=1, fsdp=8)),
        (("Layout.data=-1", "Layout.fsdp=1"), Layout(data=4, model=2)),
        (Layout(data=8), Layout(data=8)),
    ],
)
def test_a_layout_of_the_callers(run, bindings, layout):
    opened = opening.open_run(run, devices=Devices("cpu:8", bindings))
    assert opened.spread.layout == layout
    assert_params(opened, 8)


def test_matrices_have_the_dtype_of_products_unless_they_are_trained_further(run):
    """bf16 on accelerators, or where the layout says so."""
    narrow = Devices("cpu", Layout(data=1, compute_dtype="bfloat16"))
    used, trained = (opening.open_run(run, devices=narrow, float32=wide) for wide in (False, True))
    assert used.spread.run.dtype == trained.spread.run.dtype == np.dtype("bfloat16")
    dtypes = {
        path: str(leaf.dtype) for path, leaf in jax.tree_util.tree_leaves_with_path(used.variables.params)
    }
    assert set(dtypes.values()) == {"bfloat16", "float32"}
    assert all(
        (dtype == "float32") == ("scale" in str(path) or "bias" in str(path))
        for path, dtype in dtypes.items()
    )
    assert_params(trained, 8)


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (
            ("Layout.data=6", "Layout.fsdp=1", "Layout.model=1"),
            "the layout data 6 needs 6 devices and there are 8",
        ),
        (("Layout.modle=2",), "Layout has no parameter 'modle'; did you mean 'model'?"),
        (("Layout.model='two'",), "Layout.model = 'two': that is str, not int"),
        (Layout(model=8), "heads 4 is not divisible by model 8"),
    ],
)
def test_a_layout_that_does_not_fit_is_one_line(run, layout, words):
    with pytest.raises(UserError) as caught:
        opening.open_run(run, devices=Devices("cpu:8", layout))
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("trained", "opened", "said"),
    [
        (Layout(stage=4, data=2, schedule="gpipe", microbatches=4), Layout(data=2, fsdp=4), "stage 4 of its"),
        (
            Layout(stage=2, model=4, schedule="1f1b", data=-1),
            Layout(data=1, fsdp=2, model=4),
            "stage 2 of its",
        ),
        (Layout(sequence=4, fsdp=2, data=1), Layout(data=1, fsdp=8), "sequence 4 of its"),
        (Layout(fsdp=8, data=1, partitioning="manual", streams=2), Layout(data=1, fsdp=8), "manual is for"),
        (Layout(fsdp=8, data=1, microbatches=2, remat="full", zero=1), Layout(data=1, fsdp=8), ""),
    ],
)
def test_what_is_for_training_alone_is_left_out(trained, opened, said, caplog):
    backend = EIGHT.select()
    with caplog.at_level(logging.WARNING):
        spread = inference_layout.spread(backend, trained, {"embed": 32, "heads": 4}, "a run", required=True)
    assert spread.layout == opened
    assert said in caplog.text and bool(caplog.text) == bool(said)


def test_stages_become_examples_where_the_width_cannot_be_split():
    assert inference_layout.without_pipeline(Layout(stage=4, data=2), {"embed": 18}) == Layout(data=8)
    assert inference_layout.without_pipeline(Layout(stage=4, fsdp=2, data=-1), {"embed": 18}) == Layout(
        fsdp=2
    )


def test_what_left_a_pipeline_is_spread_anew_over_its_devices():
    trained = make_mesh(Layout(stage=2, fsdp=2, model=2, data=1), jax.devices())
    axes = {"table": ("vocab", "embed"), "stack": ("layers", "embed", "mlp")}
    params = {"table": np.arange(64.0).reshape(8, 8), "stack": np.arange(256.0).reshape(2, 8, 16)}
    there = jax.device_put(params, rules.storage_shardings(trained, axes))
    own = RunContext(OneDevice(), dtype=np.dtype("float32"))
    moved, run = inference_layout.of_trained(there, axes, {"embed": 8}, own)
    jax.tree.map(np.testing.assert_array_equal, moved, params)
    assert {name: len(leaf.addressable_shards[0].data) for name, leaf in moved.items()} == {
        "table": 4,
        "stack": 2,
    }
    assert run.placement.batch_shards == 4
    alone = jax.device_put(params, jax.devices()[0])
    assert inference_layout.of_trained(alone, axes, {"embed": 8}, own)[0] is alone


def test_a_layout_that_was_the_planners_is_read_from_the_checkpoint(run, copy):
    (copy / "recipe.gin").write_text(made_up.RECIPE + 'train.layout = "auto"\n')
    manifest = copy / "checkpoints" / "8" / checkpoint_files.MANIFEST
    described = manifest.read_text().replace('"mesh": {}', '"mesh": {"data": 2, "fsdp": 2, "fsdp_y": 2}')
    manifest.write_text(described)
    checkpoint_files.write_checksums(manifest.parents[1])
    assert opening.open_run(copy, devices=EIGHT).spread.layout == Layout(data=2, fsdp=4)


def truncate_manifest(step):
    os.truncate(step / checkpoint_files.MANIFEST, 10)


def truncate_arrays(step):
    largest = max(step.rglob("state/**/*"), key=lambda file: file.stat().st_size if file.is_file() else 0)
    os.truncate(largest, largest.stat().st_size // 2)


def truncate_arrays_that_are_not_summed(step):
    truncate_arrays(step)
    (step / checkpoint_files.CHECKSUMS).unlink()


DAMAGE = [truncate_manifest, truncate_arrays, truncate_arrays_that_are_not_summed]


def files(folder):
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_stepped_over_and_left_where_it_is(copy, damage, caplog):
    damage(copy / "checkpoints" / "8")
    before = files(copy)
    with caplog.at_level(logging.WARNING):
        opened = opening.open_run(copy, devices=ONE)
    assert caplog.text.count("is damaged") == 1 and "step 4 is taken instead" in caplog.text
    assert opened.manifest["step"] == 4
    assert_params(opened, 4)
    assert files(copy) == before


@pytest.mark.parametrize("damage", DAMAGE)
def test_no_sound_checkpoint_is_one_line(copy, damage):
    damage(copy / "checkpoints" / "8")
    with pytest.raises(UserError, match=r"no usable checkpoint in .*step 8: ") as caught:
        opening.open_run(copy, 8, ONE)
    assert "\n" not in str(caught.value)


def pangu(capsys, *arguments):
    capsys.readouterr()
    return cli.main(list(map(str, arguments))), *capsys.readouterr()


def test_generate_steps_over_a_damaged_manifest(copy, capsys, monkeypatch):
    """It ended in a traceback."""
    truncate_manifest(copy / "checkpoints" / "8")
    ask = ("generate", "--run_dir", copy, "--prompt", "价格", "--max_tokens", 2)
    status, out, err = pangu(capsys, *ask)
    assert status == 0 and out
    assert "warning: checkpoint" in err and "step 4 is taken instead" in err and "Traceback" not in err
    truncate_manifest(copy / "checkpoints" / "4")
    status, out, err = pangu(capsys, *ask)
    assert status == 2 and not out and len(err.splitlines()) == 1


def test_a_run_of_another_family(tmp_path, capsys):
    """It can be opened, and not be talked to."""
    params = digits.PoisonedDigits().init(jax.random.key(0)).params
    run = made_up.write(tmp_path / "run", digits.RECIPE, {7: params})
    opened = opening.open_run(run, devices=Devices("cpu:8", Layout(data=1, fsdp=8)))
    jax.tree.map(np.testing.assert_array_equal, opened.variables.params, params)
    assert isinstance(opened.workload, digits.PoisonedDigits)
    status, out, err = pangu(capsys, "chat", "--run_dir", run)
    assert status == 2 and not out and len(err.splitlines()) == 1
    assert "is a run of the family 'digits'" in err and "pangu checkpoint inspect" in err


def test_extra_state_is_opened_with_the_parameters_and_missed_in_one_line(tmp_path):
    gin.external_configurable(StatefulDigits, module="tests.workloads.stateful_digits")
    recipe = "train.workload = @StatefulDigits()\n"
    params, extra, _ = StatefulDigits().init(jax.random.key(0))
    whole = made_up.write(tmp_path / "whole", recipe, {7: params}, extra=extra)
    opened = opening.open_run(whole, devices=Devices("cpu:8", Layout(data=1, fsdp=8)))
    jax.tree.map(np.testing.assert_array_equal, opened.variables.extra, extra)
    assert opened.variables.extra["teacher"]["head"]["kernel"].sharding.spec == PartitionSpec(FSDP, None)
    before = made_up.write(tmp_path / "before", recipe, {7: params})
    with pytest.raises(UserError, match=r"extra/queue is not in the checkpoint") as caught:
        opening.open_run(before, devices=ONE)
    assert "\n" not in str(caught.value)


def no_recipe(run):
    (run / "recipe.gin").unlink()


def other_recipe(run):
    (run / "recipe.gin").write_text("STEPS = 3\n")


def module_gone(run):
    (run / "recipe.gin").write_text("import a.family.of.mine\ntrain.workload = @Mine()\n")


def contradiction(run):
    recipe = run / "recipe.gin"
    recipe.write_text(recipe.read_text().replace("EncoderDecoder.heads = 4", "EncoderDecoder.heads = 5"))


def other_shape(run):
    recipe = run / "recipe.gin"
    recipe.write_text(recipe.read_text().replace("EncoderDecoder.d_ff = 32", "EncoderDecoder.d_ff = 64"))


def other_words(run):
    (run / "vocabulary.model").unlink()
    made_up.vocabulary.train(made_up.TEXTS[:1] * 50, 400, run / "vocabulary.model")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (shutil.rmtree, "there is no run directory"),
        (lambda run: shutil.rmtree(run / "checkpoints"), "no checkpoint in .*; train first"),
        (no_recipe, "has no recipe.gin"),
        (other_recipe, "names no train.workload"),
        (module_gone, "train.workload = @Mine.*No module named 'a'"),
        (contradiction, "d_model 32 is not divisible by heads 5"),
        (other_shape, "does not fit the model: .* in the checkpoint"),
        (other_words, "was trained with vocabulary"),
    ],
)
def test_a_run_that_is_not_whole_is_one_line(copy, harm, words):
    harm(copy)
    with pytest.raises(UserError, match=words) as caught:
        opening.open_run(copy, devices=ONE)
    assert "\n" not in str(caught.value)
