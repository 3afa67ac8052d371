"""Towers of other runs: taken over, locked or not, and used without those runs afterwards."""

import dataclasses
import itertools
import json
import shutil

import jax
import numpy as np
import pytest

from data_pipelines.batches import Mixture
from data_pipelines.images.augment import CenterCrop, Resize
from data_pipelines.pairs import shapes
from data_pipelines.pairs.pairs import pairs
from data_pipelines.pairs.vocabulary import CharacterVocabulary
from pangu_jax import recipes
from pangu_jax.apps import held_out
from pangu_jax.apps.multimodal.embedding import Embedder
from pangu_jax.apps.multimodal.towers import ImageTowerOfRun, image_tower, text_tower
from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.runs import metrics, opening
from pangu_jax.runs.inference_layout import Devices
from pangu_jax.training import step
from pangu_jax.training.optimizers import adamw
from pangu_jax.training.schedules import constant_schedule
from pangu_jax.training.train import train
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.multimodal import ImageTextModel
from pangu_jax.workloads.multimodal.model.image_text import ImageTextConfig
from pangu_jax.workloads.multimodal.model.language_tower import LanguageTower
from pangu_jax.workloads.vision import VisionModel
from pangu_jax.workloads.vision.data import NoPictures
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.masked import MaskedPixels
from pangu_jax.workloads.vision.model.plain import PlainConfig
from tests.runs import made_up

SIZE = 16
TRUNK = {"size": SIZE, "patch": 8, "d_model": 24, "layers": 1, "heads": 2}
VISION = f"""
import data_pipelines.images.images
import pangu_jax.workloads.vision
train.workload = @VisionModel()
train.steps = 1
train.batch_size = 8
VisionModel.model = @VisionTransformer()
VisionModel.data = @images()
VisionModel.objectives = [@MaskedPixels()]
VisionModel.average = 0.5
images.size = {SIZE}
{"".join(f"VisionTransformer.{name} = {value}{chr(10)}" for name, value in TRUNK.items())}
MaskedPixels.width = 16
MaskedPixels.layers = 1
MaskedPixels.heads = 2
"""
BOTH = f"""
import data_pipelines.images.augment
import data_pipelines.pairs.pairs
import pangu_jax.apps.multimodal.towers
import pangu_jax.workloads.multimodal
train.workload = @ImageTextModel()
train.optimizer = @adamw()
train.steps = 2
train.batch_size = 8
train.backend = 'cpu'
train.log_every = 1
train.evaluators = [@Retrieval(), @CaptionLikelihood()]
adamw.schedule = @constant_schedule()
constant_schedule.learning_rate = 1e-3
ImageTextModel.image = @image_tower()
ImageTextModel.text = @text_tower()
ImageTextModel.data = @pairs()
ImageTextModel.width = 8
ImageTextModel.caption_weight = 1.0
pairs.path = 'drawn:shapes'
pairs.size = {SIZE}
pairs.length = 24
Resize.size = {SIZE}
CenterCrop.size = {SIZE}
"""
FIXED = "pairs.augment = [@Resize(), @CenterCrop()]\n"
RUN, ONE = RunContext(OneDevice()), Devices("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of vision with averages, and one of language with two checkpoints; a hundred pairs."""
    path = tmp_path_factory.mktemp("towers")
    drawn = shapes.pairs
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "pairs", lambda: itertools.islice(drawn(), 100))
        patch.setenv("XDG_CACHE_HOME", str(path / "cache"))
        vision = VisionModel(
            PlainConfig(**TRUNK),
            NoPictures(SIZE, 3, 1, False),
            [MaskedPixels(width=16, layers=1, heads=2)],
            0.5,
        )
        params, extra, _ = vision.init(jax.random.key(3))
        extra["averaged"] = jax.tree.map(lambda x: x + 0.01, params)
        made_up.write(path / "vision", VISION, {4: params}, extra=extra)
        made_up.language_run(path / "language", made_up.words(path))
        yield path


def trained(folder, name, text=""):
    (folder / f"{name}.gin").write_text(BOTH + text)
    runs = [f"image_tower.run_dir='{folder / 'vision'}'", f"text_tower.run_dir='{folder / 'language'}'"]
    with recipes.using([str(folder / f"{name}.gin")], runs) as recipe:
        train(run_dir=str(folder / name), recipe=recipes.dump(recipe))
    return opening.open_run(folder / name, devices=ONE, float32=True)


@pytest.fixture(scope="module")
def locked(folder):
    return trained(folder, "locked", FIXED + "image_tower.locked = True\ntext_tower.locked = True\n")


def averaged(folder):
    found = opening.open_run(folder / "vision", devices=ONE, float32=True).variables.extra["averaged"]
    return {name: found[name] for name in ("trunk", "main")}


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_what_is_locked_is_bitwise_as_it_was(folder, locked):
    assert set(locked.variables.params) == {"join"}
    stays = locked.variables.extra["locked"]
    same(stays["image"], averaged(folder))
    same(stays["text"], made_up.params(8))
    *_, last = metrics.read(folder / "locked" / "metrics.jsonl")
    assert {"retrieval/text_to_image/recall_at_1", "captions/nats_per_character/right_image"} < set(last)


def test_a_finished_run_needs_neither_of_the_others(folder, locked):
    runs = [folder / "vision", folder / "language"]
    for run in runs:
        run.rename(run.with_suffix(".away"))
    try:
        opened = opening.open_run(folder / "locked", devices=ONE, float32=True)
        embedder = Embedder.of_run(opened)
        found = embedder.texts(["红色的圆在左边", "蓝色的十字在右边"])
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
        same(opened.variables, locked.variables)
        measured = held_out.evaluate(opened)  # by its pictures: their features are not asked for
    finally:
        for run in runs:
            run.with_suffix(".away").rename(run)
    *_, last = metrics.read(folder / "locked" / "metrics.jsonl")
    for name in ("validation_loss", "retrieval/image_to_text/median_rank"):
        assert measured[name].value == pytest.approx(last[name], rel=1e-4), name


def test_a_run_goes_on_with_the_same_checkpoint_alone(folder, locked):
    other = FIXED + "image_tower.locked = True\ntext_tower.locked = True\ntext_tower.step = 4\n"
    with pytest.raises(UserError, match=r"was trained with locked_text .* this recipe has locked_text"):
        trained(folder, "locked", other)


def of_runs(folder, data, caption_weight=1.0, **locked):
    image = image_tower(run_dir=str(folder / "vision"), locked="image" in locked)
    text = text_tower(run_dir=str(folder / "language"), locked="text" in locked)
    return ImageTextModel(image, text, data, width=8, caption_weight=caption_weight)


def drawn(fixed=False, **settings):
    steps = (Resize(SIZE), CenterCrop(SIZE)) if fixed else None
    return pairs("drawn:shapes", size=SIZE, length=24, augment=steps, **settings)


def started(workload):
    where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    given = workload.restore_given(jax.tree.map(lambda _: where, workload.given()))
    return workload.start(jax.random.key(0), given)


def test_what_is_not_locked_learns_from_where_it_was(folder):
    workload = of_runs(folder, drawn())
    variables = started(workload)
    assert variables.extra == {} and workload.towers.locked == ()
    same(variables.params["image"], averaged(folder))
    same(variables.params["text"], made_up.params(8))
    assert workload.data.vocabulary.hash == made_up.words(folder).fingerprint
    batch = workload.train_source(4, 0).batch(0)
    grads = jax.grad(lambda params: workload.loss(variables._replace(params=params), batch, None, RUN).loss)
    assert all(
        np.abs(g).max() > 0 for g in jax.tree.leaves(jax.jit(grads)(variables.params)["image"]["main"])
    )


@pytest.mark.parametrize("caption_weight", [0.0, 1.0])
def test_features_give_the_loss_of_the_tower(folder, caption_weight):
    looks_once = of_runs(folder, drawn(fixed=True), caption_weight, image=True)
    variables = started(looks_once)
    assert looks_once.looks_once and set(variables.params) == {"text", "join"}
    assert ("decoder" in variables.params["text"]) == (caption_weight > 0)
    features = looks_once.train_source(8, 0).batch(3)
    assert {name: x.shape[1:] for name, x in features.items() if name in ("units", "pooled", "image")} == (
        {"units": (4, 24), "pooled": (24,)} if caption_weight else {"pooled": (24,)}
    )
    shapes_ = looks_once.batch_shapes(8)
    assert {name: (x.shape, x.dtype) for name, x in features.items()} == {
        name: (x.shape, x.dtype) for name, x in shapes_.items()
    }
    pixels = looks_once.data.trained.with_pixels()
    pixels = Mixture({"pairs": (pixels.drawn(), 1.0)}, 8, 0).batch(3)
    np.testing.assert_array_equal(pixels["tokens"], features["tokens"])
    loss = jax.jit(lambda batch: looks_once.loss(variables, batch, None, RUN).loss)
    assert float(loss(features)) == pytest.approx(float(loss(pixels)), rel=1e-5)


def test_features_are_computed_once(folder, monkeypatch):
    of_runs(folder, drawn(fixed=True), image=True).train_source(4, 0)
    monkeypatch.setattr(ImageTowerOfRun, "restore", lambda self, shardings: pytest.fail("computed again"))
    again = of_runs(folder, drawn(fixed=True), image=True)
    held = again.validation_sources(4)["pairs"]
    assert len(held) and set(held.batch(0)) >= {"units", "pooled"}
    assert again.data.held_out.with_pixels().pictures_once(2).batch(0)["image"].shape[1:] == (
        1,
        SIZE,
        SIZE,
        3,
    )


@pytest.mark.parametrize(
    "trunk",
    [
        HierarchicalConfig(size=SIZE, unit=8, d_model=16, depths=(1, 1, 1), heads=2),
        PlainConfig(**TRUNK, norm="none", pooling="mean", class_token=False),
        PlainConfig(**TRUNK, norm="pooled"),
    ],
    ids=["hierarchical", "no norm", "norm of what is pooled"],
)
def test_the_norm_of_the_join_learns_beside_features(trunk):
    config = ImageTextConfig(trunk, LanguageTower(made_up.CONFIG), 8)
    params = {"image": trunk.init(jax.random.key(0)), "join": config.init(jax.random.key(1))["join"]}
    if config.normed:
        keys = jax.random.split(jax.random.key(2))
        norm = params["join"]["norm"]
        params["join"]["norm"] = {
            name: x + jax.random.normal(key, x.shape)
            for key, (name, x) in zip(keys, norm.items(), strict=True)
        }
    x = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.uint8)
    forward = config.forward(OneDevice(), "none", np.float32)
    seen = jax.jit(forward.seen)(params, x)
    kept = jax.jit(forward.kept)(params["image"], x)
    again = forward.seen_again(params, kept["units"], kept["pooled"])
    np.testing.assert_allclose(again.units_BxUxF, seen.units_BxUxF, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(again.pooled_BxF, seen.pooled_BxF, rtol=1e-4, atol=1e-4)


def test_random_views_are_seen_in_each_step_and_that_is_said(folder):
    workload = of_runs(folder, drawn(), image=True)
    (said,) = (line for line in workload.notices() if "image_tower" in line)
    assert "run in each step" in said and f"--gin.Resize.size={SIZE}" in said
    assert "image" in workload.train_source(4, 0).batch(0)
    assert not any("image_tower" in line for line in of_runs(folder, drawn(), text=True).notices())


def test_what_rests_costs_less(folder):
    costs = [
        of_runs(folder, drawn(fixed=fixed), **locked).flops_per_step(8)
        for fixed, locked in (
            (True, {"image": 1, "text": 1}),
            (True, {"image": 1}),
            (False, {"image": 1}),
            (False, {}),
        )
    ]
    assert costs == sorted(costs) and len(set(costs)) == 4


def after_steps(workload, layout):
    """Parameters, locked towers and loss after two steps of a layout."""
    optimizer, mesh = (
        adamw(constant_schedule(1e-3), epsilon=1e-4),
        make_mesh(layout, jax.devices()[: layout.data * layout.fsdp * layout.model]),
    )
    (state, _), source = step.start(workload, optimizer, mesh, 0), workload.train_source(8, 0)
    train_step = step.make_train_step(workload, optimizer, RUN, layout, mesh, batch_size=8, seed=0)
    for number in range(2):
        state, measured = train_step(state, source.batch(number))
    return jax.device_get((state.params, state.extra, step.means(measured)["loss"]))


@pytest.mark.prove
@pytest.mark.parametrize("fixed", [False, True], ids=["pictures", "features"])
def test_a_layout_is_as_one_device(folder, fixed):
    workload = of_runs(folder, drawn(fixed=fixed), image=True, text=True)
    one = after_steps(workload, Layout(data=1))
    for partitioning in ("auto", "manual"):
        found = after_steps(workload, Layout(data=2, fsdp=2, model=2, partitioning=partitioning))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5), one, found)
        same(found[1], one[1])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: image_tower(run_dir=f"{f}/language").config, "language is a run of the family 'language'"),
        (lambda f: text_tower(run_dir=f"{f}/vision"), "vision is a run of the family 'vision'"),
        (lambda f: image_tower(run_dir=f"{f}/none"), "no run directory .*--gin.image_tower.run_dir=DIR"),
        (lambda f: image_tower(), "neither model nor run_dir"),
        (lambda f: text_tower(made_up.CONFIG, locked=True), "text_tower.locked is of a finished run"),
        (
            lambda f: image_tower(PlainConfig(**{**TRUNK, "d_model": 32}), f"{f}/vision").config,
            "vision has d_model = 24, and image_tower.model 32: --gin.image_tower.model=None takes",
        ),
        (
            lambda f: text_tower(dataclasses.replace(made_up.CONFIG, vocab_size=600), f"{f}/language"),
            "language has vocab_size = 512, and text_tower.model 600",
        ),
        (
            lambda f: image_tower(HierarchicalConfig(), f"{f}/vision").config,
            r"another kind of model \(Plain\) than image_tower.model \(Hierarchical\)",
        ),
        (
            lambda f: of_runs(f, dataclasses.replace(drawn(), size=24)),
            "24 pixels and 3 channels, and the pictures' tower of the run .*vision has size 16",
        ),
        (
            lambda f: of_runs(f, drawn(vocabulary=CharacterVocabulary("红圆"))),
            "pairs.vocabulary has 5 ids, and the run .*language, .* another vocabulary of \d+",
        ),
    ],
)  # fmt: skip
def test_towers_that_do_not_fit(folder, make, words):
    with pytest.raises(UserError, match=words) as found, recipes.plain_errors():
        make(folder)
    assert "\n" not in str(found.value)


def test_how_a_shape_is_carried_out_is_the_recipes(folder):
    given = dataclasses.replace(made_up.CONFIG, unroll=2)
    assert text_tower(given, str(folder / "language")).config == given


def test_a_damaged_file_of_towers(locked, folder, tmp_path):
    copy = shutil.copytree(folder / "locked", tmp_path / "run")
    told = json.loads((copy / "towers.json").read_text())
    assert told["image"]["d_model"] == 24 and told["locked_image"]
    (copy / "towers.json").write_text(json.dumps(told | {"image": {"name": "os.system"}}))
    with pytest.raises(UserError, match=r"towers.json is damaged"):
        opening.open_run(copy)
