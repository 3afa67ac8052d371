"""Detectors: the losses and what is read off maps by hand, and every layout as one device."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.images.boxes import Boxes
from data_pipelines.images.joining import FoundBoxes
from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training import step
from pangu_jax.training.optimizers import adamw
from pangu_jax.training.schedules import constant_schedule
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.vision import PictureDetector
from pangu_jax.workloads.vision.average_precision import average_precision
from pangu_jax.workloads.vision.boxed_data import NoBoxes
from pangu_jax.workloads.vision.classifier import FreshTrunk
from pangu_jax.workloads.vision.model import detecting
from pangu_jax.workloads.vision.model.box_losses import BoxLoss, generalised_overlap
from pangu_jax.workloads.vision.model.detecting import HeadMaps
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.levels import ConvolutionalConfig, HierarchicalLevels
from pangu_jax.workloads.vision.model.plain import PlainConfig

TRUNK = ConvolutionalConfig(level_widths=(16, 16), blocks=(1, 1))
HIERARCHY = HierarchicalConfig(size=32, unit=16, d_model=32, depths=(1, 1, 1), heads=2)
DATA = NoBoxes(32, 32, 3, ("defect", "insulator"), 3)
BATCH = 4


def batch():
    draw = np.random.default_rng(0)
    numbers = np.arange(BATCH, dtype=np.int32)
    edges = np.array([[4, 4, 12, 10], [2, 2, 30, 28], [0, 0, 0, 0]], np.float32)
    weight = np.ones(BATCH, np.float32)
    weight[-1] = 0
    return {
        "image": draw.integers(0, 256, (BATCH, 32, 32, 3), np.uint8),
        "edges": np.tile(edges, (BATCH, 1, 1)),
        "label": np.tile(np.array([0, 1, -1], np.int32), (BATCH, 1)),
        "place": numbers,
        "scale": np.ones((BATCH, 2), np.float32),
        "shift": np.zeros((BATCH, 2), np.float32),
        "weight": weight,
        "task_id": 0 * numbers,
    }


def maps(height=8, width=8, classes=2):
    return HeadMaps(jnp.full((1, height, width, classes), -6.0), jnp.full((1, height, width, 4), 4.0))


def test_things_are_told_to_the_level_of_their_size_with_a_bump_in_the_middle():
    edges, label = jnp.array([[[4.0, 4, 12, 10], [2, 2, 30, 28]]]), jnp.array([[0, 1]])
    loss = BoxLoss(small=10)
    fine = loss.targets(edges, label, maps(), 4, 0)
    coarse = loss.targets(edges, label, maps(4, 4), 8, 1)
    assert fine.heat_BxHxWxC[0, ..., 1].max() == 0 and coarse.heat_BxHxWxC[0, ..., 0].max() == 0
    assert np.argwhere(fine.middle_BxHxWxC[0] == 1).tolist() == [
        [1, 2, 0]
    ]  # 8, 7 is in place (row 1, column 2)
    assert np.argwhere(coarse.middle_BxHxWxC[0] == 1).tolist() == [[1, 2, 1]]
    assert float(fine.share_BxHxW.sum()) == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(fine.edges_BxHxWx4[0, 1, 2], [4, 4, 12, 10])


def test_losses_are_those_of_the_papers():
    edges, label = jnp.array([[[4.0, 4, 12, 10]]]), jnp.array([[0]])
    loss, share = BoxLoss(), jnp.array([0.25, 0.75])
    logit = jax.random.normal(jax.random.key(0), (1, 8, 8, 2))
    targets = loss.targets(edges, label, maps(), 4, 0)
    p, y = (np.asarray(x, np.float64) for x in (jax.nn.sigmoid(logit), targets.heat_BxHxWxC))
    by_hand = np.where(y == 1, (1 - p) ** 2 * np.log(p), (1 - y) ** 4 * p**2 * np.log(1 - p))
    np.testing.assert_allclose(loss.heat_loss(logit, targets, share), [-by_hand.sum()], rtol=1e-5)
    # The rare class's logits are learnt lower by log 3, so that they come out higher.
    rare = BoxLoss(tau=1.0).heat_loss(logit + jnp.log(jnp.array([3.0, 1.0])), targets, share)
    np.testing.assert_allclose(rare, loss.heat_loss(logit, targets, share), rtol=1e-5)
    assert float(BoxLoss(margin=1.0).heat_loss(logit, targets, share)[0]) > float(-by_hand.sum())
    sides = detecting.edges_of(maps().sides_BxHxWx4, 4)[0, 1, 2]
    np.testing.assert_array_equal(sides, [6, 2, 14, 10])
    # 6 x 6 shared of 8 x 6 and 8 x 8, in a hull of 10 x 8.
    giou = generalised_overlap(jnp.array([4.0, 4, 12, 10]), sides)
    assert float(giou) == pytest.approx(36 / 76 - 4 / 80)


def test_peaks_become_boxes_best_first():
    logit = np.full((1, 8, 8, 2), -6.0, np.float32)
    logit[0, 2, 3, 1], logit[0, 2, 4, 1], logit[0, 6, 6, 0] = 3.0, 2.0, 1.0  # the second is no peak
    one = HeadMaps(jnp.asarray(logit), maps().sides_BxHxWx4)
    found = detecting.detections((one, maps(4, 4)), (4, 8), 2)
    assert found.label_BxK.tolist() == [[1, 0]]
    np.testing.assert_allclose(found.score_BxK[0], jax.nn.sigmoid(jnp.array([3.0, 1.0])), rtol=1e-6)
    np.testing.assert_array_equal(found.edges_BxKx4[0], [[10, 6, 18, 14], [22, 22, 30, 30]])


def test_a_level_of_hivit_is_a_map_of_its_tokens():
    levels = HierarchicalLevels(HIERARCHY)
    pixels = jnp.zeros((1, 32, 32, 3)).at[0, 20:24, 8:12].set(5.0)  # the patch in row 5, column 2
    params = levels.init(jax.random.key(0))
    run = jax.jit(lambda x: levels.levels(params, x, OneDevice(), "none", jnp.float32))
    seen, blank = run(pixels), run(jnp.zeros_like(pixels))
    assert [of.shape for of in seen] == [(1, 8, 8, 8), (1, 4, 4, 16), (1, 2, 2, 32)]
    for of, other, place in zip(seen[:2], blank, ([5, 2], [2, 1]), strict=False):
        assert np.argwhere(np.abs(of - other)[0].max(-1) > 1e-6).tolist() == [place]


def test_ap_is_cocos():
    there = [Boxes(np.array([[0, 0, 10, 10], [20, 20, 40, 30]], np.float32), np.array([0, 1], np.int32))] * 2
    good = FoundBoxes(there[0].edges_Nx4, np.array([0.9, 0.8], np.float32), there[0].label_N)
    shifted = FoundBoxes(good.edges_Nx4 + np.array([4, 0, 4, 0]), good.score_N - 0.1, good.label_N)
    found = average_precision(there, [good, shifted], ("a", "b"), (0.3, 0.5))
    assert found["b", 0.5] == pytest.approx(100)  # 16 of 24: two thirds
    assert found["a", 0.3] == pytest.approx(100) and found["a", 0.5] == pytest.approx(100 * 51 / 101)
    nothing = FoundBoxes(np.zeros((0, 4), np.float32), np.zeros(0), np.zeros(0, np.int32))
    assert average_precision(there, [nothing] * 2, ("a", "b"), (0.5,)) == {("a", 0.5): 0, ("b", 0.5): 0}


def test_a_finished_run_is_opened_without_its_photos(tmp_path):
    workload = PictureDetector(DATA, TRUNK)
    kept = tmp_path / "detector.json"
    kept.write_bytes(workload.files()["detector.json"])
    recipe = SimpleNamespace(arguments=lambda reference: {"trunk": TRUNK, "data": "a set that is gone"})
    given = recipe, SimpleNamespace(scope=""), tmp_path
    opened = PictureDetector.from_run(*given)
    assert opened.fingerprint() == workload.fingerprint() and opened.data.height == DATA.height
    kept.write_text("{")
    with pytest.raises(UserError, match="is missing or damaged"):
        PictureDetector.from_run(*given)
    renumbered = PictureDetector(dataclasses.replace(DATA, classes=DATA.classes[::-1]), TRUNK)
    assert renumbered.fingerprint() != workload.fingerprint()
    with pytest.raises(UserError, match="takes squares of its size, 32 x 32"):
        PictureDetector(dataclasses.replace(DATA, width=48), HIERARCHY)
    with pytest.raises(UserError, match="give either trunk or base"):
        PictureDetector(DATA, TRUNK, FreshTrunk(HIERARCHY))
    with pytest.raises(UserError, match="several scales"):
        PictureDetector(DATA, base=FreshTrunk(PlainConfig(size=32, patch=8)))


def after_steps(workload, layout, count=2):
    devices = jax.devices()[: layout.data * layout.fsdp * layout.model]
    mesh = make_mesh(layout, devices)
    optimizer = adamw(constant_schedule(1e-3), epsilon=1e-4)
    state = step.start(workload, optimizer, mesh, 0).state
    train_step = step.make_train_step(
        workload, optimizer, RunContext(OneDevice()), layout, mesh, batch_size=BATCH, seed=0
    )
    for _ in range(count):
        state, metrics = train_step(state, batch())
    return jax.device_get((state.params, state.extra, step.means(metrics)))


@pytest.mark.prove
@pytest.mark.parametrize("trunk", [TRUNK, HIERARCHY], ids=["convolutions", "HiViT"])
def test_a_detector_on_a_layout_is_as_on_one_device(trunk):
    workload = PictureDetector(DATA, trunk)
    one = after_steps(workload, Layout(data=1))
    for layout in (Layout(data=2, fsdp=2, model=1), Layout(data=2, fsdp=1, microbatches=2)):
        found = after_steps(workload, layout)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), one, found)
