"""The joint loss, its teacher and queue on every layout as on one device; and what its terms come to."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training import step
from pangu_jax.training.optimizers import adamw
from pangu_jax.training.schedules import constant_schedule
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.vision import VisionModel
from pangu_jax.workloads.vision.data import NoPictures
from pangu_jax.workloads.vision.model.contrast import NeighbourContrast
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.masked import MaskedPixels
from pangu_jax.workloads.vision.model.plain import PlainConfig
from pangu_jax.workloads.vision.model.restoring import Restoration
from tests.workloads.vision.test_trunk_gradients import Small

BATCH = 8
DATA = NoPictures(16, 3, 2, True)
CONTRAST = NeighbourContrast(neighbours=2, neighbours_from=1, queue=16, hidden=32, width=16, labels=True)
MASKED = MaskedPixels(ratio=0.7, width=32, layers=1, heads=4)
RESTORATION = Restoration(tasks=("denoise",), width=8, blocks=1)
# One stage to learn from, with a class token in each stream.
PLAIN = VisionModel(
    PlainConfig(size=16, patch=4, d_model=32, layers=4, heads=4, qkv_bias=False, tanh=True),
    DATA,
    [dataclasses.replace(CONTRAST, stages=1), MASKED],
    average=0.9,
)
WORKLOADS = {
    "HiViT, restoring too": VisionModel(
        HierarchicalConfig(size=16, unit=4, d_model=32, depths=(1, 1, 4), heads=4),
        DATA,
        [CONTRAST, MASKED, RESTORATION],
        average=0.9,
    ),
    "plain": PLAIN,
}
# To be compiled by every run of the tests: the teacher, the queue and a second term, of one layer.
SMALL = VisionModel(
    PlainConfig(size=16, patch=8, d_model=16, layers=1, heads=2),
    DATA,
    [dataclasses.replace(CONTRAST, stages=1), Small(weight=3.0)],
    average=0.9,
)
FAST = Layout(data=2, fsdp=2, model=2, microbatches=2)
LAYOUTS = {
    "data 2 x fsdp 2 x model 2, accumulated": FAST,
    "stage 2 x model 2 x data 2, circular, manual": Layout(
        stage=2, model=2, data=2, schedule="circular", repeats=2, microbatches=2, partitioning="manual"
    ),
    "data 8": Layout(data=8),
    "fsdp 8": Layout(data=1, fsdp=8),
    "fsdp 8, manual": Layout(data=1, fsdp=8, partitioning="manual"),
    "fsdp 8, manual, zero 1": Layout(data=1, fsdp=8, partitioning="manual", zero=1),
    "model 4 x data 2": Layout(model=4, data=2),
    "model 4 x data 2, manual": Layout(model=4, data=2, partitioning="manual"),
    "data 8, manual": Layout(data=8, partitioning="manual"),
    "stage 4 x data 2, gpipe": Layout(stage=4, data=2, schedule="gpipe", microbatches=4),
    "stage 4 x data 2, gpipe, manual": Layout(
        stage=4, data=2, schedule="gpipe", microbatches=4, partitioning="manual"
    ),
    "stage 2 x model 2 x data 2, circular": Layout(
        stage=2, model=2, data=2, schedule="circular", repeats=2, microbatches=4, remat="dots"
    ),
    "stage 4 x fsdp 2, 1f1b": Layout(stage=4, data=1, fsdp=2, schedule="1f1b", microbatches=4),
}


@pytest.fixture(scope="module")
def batches():
    draw = np.random.default_rng(0)
    numbers = np.arange(BATCH, dtype=np.int32)
    labels = numbers % 3 - 1
    fixed = {"label": labels, "place": numbers, "weight": np.ones(BATCH, np.float32), "task_id": 0 * numbers}
    return [fixed | {"image": draw.integers(0, 256, (BATCH, 3, 16, 16, 3), np.uint8)} for _ in range(3)]


def three_steps(layout, batches, workload=SMALL):
    """Metrics of three steps, the state after them, and the extra state before."""
    # A bias on keys changes no softmax: its gradient is rounding, which Adam would blow up to whole steps.
    optimizer = adamw(constant_schedule(1e-3), epsilon=1e-4)
    assert layouts.check(layout, BATCH, workload.dimensions()) == []
    mesh = make_mesh(layout, jax.devices()[: math.prod(layout.axis_sizes().values())])
    run = RunContext(OneDevice(), layout.remat)
    train_step = step.make_train_step(workload, optimizer, run, layout, mesh, batch_size=BATCH, seed=0)
    state, found = step.init_state(workload, optimizer, mesh, 0), []
    fresh = jax.device_get(state.extra)
    for batch in batches:
        state, metrics = train_step(state, batch)
        found.append(step.means(metrics))
    return found, jax.device_get({"params": state.params, "extra": state.extra}), fresh


@pytest.fixture(scope="module")
def one_device(batches):
    return three_steps(Layout(data=1), batches)


@pytest.fixture(scope="module", params=WORKLOADS)
def proven(request, batches):
    """A workload, and its three steps on one device."""
    workload = WORKLOADS[request.param]
    return workload, three_steps(Layout(data=1), batches, workload)


def assert_same(actual, expected):
    for found, wanted in zip(actual[0], expected[0], strict=True):
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            assert found[name] == pytest.approx(value, rel=1e-5), name
    leaves = zip(jax.tree.leaves_with_path(actual[1]), jax.tree.leaves(expected[1]), strict=True)
    for (path, found), wanted in leaves:
        difference = np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), 1e-3)
        assert difference <= 1e-5, f"{jax.tree_util.keystr(path)}: {difference:.1e}"


def test_a_layout_is_as_one_device(batches, one_device):
    assert_same(three_steps(FAST, batches), one_device)


@pytest.mark.prove
@pytest.mark.parametrize("name", LAYOUTS)
def test_more_layouts_of_the_joint_loss(name, batches, proven):
    workload, expected = proven
    assert_same(three_steps(LAYOUTS[name], batches, workload), expected)


def test_the_state_is_worth_comparing(batches, one_device):
    metrics, state, fresh = one_device
    extra = state["extra"]
    assert extra["steps"] == 3 and metrics[0]["loss/contrast"] != metrics[1]["loss/contrast"]
    queue = extra["objectives"]["contrast"]
    # Sixteen places, twenty-four pictures: all that is left are the last ones, with their labels.
    np.testing.assert_array_equal(queue["label"], np.tile(batches[0]["label"], 2))
    assert not np.allclose(queue["queue"], fresh["objectives"]["contrast"]["queue"])
    np.testing.assert_allclose(np.linalg.norm(queue["queue"], axis=-1), 1.0, atol=1e-5)
    averaged = zip(
        *map(jax.tree.leaves, (extra["averaged"], state["params"], fresh["averaged"])), strict=True
    )
    for average, now, before in averaged:
        low, high = np.minimum(now, before), np.maximum(now, before)
        assert np.mean((average >= low - 2e-3) & (average <= high + 2e-3)) > 0.99


def test_each_term_is_divided_by_its_running_size(one_device):
    """The first step's losses as they are; then by the average of those before, whatever their scales."""
    metrics, state, _ = one_device
    weights = {"contrast": 1.0, "small": 3.0}
    losses = [{name: row[f"loss/{name}"] for name in weights} for row in metrics]
    expected = sum(weight * losses[0][name] for name, weight in weights.items())
    assert metrics[0]["loss"] == pytest.approx(expected, rel=1e-5)
    expected = sum(weight * losses[1][name] / losses[0][name] for name, weight in weights.items())
    assert metrics[1]["loss"] == pytest.approx(expected, rel=1e-4)
    for name in weights:
        total, weight = state["extra"]["running"][name][:, 0]
        wanted = sum(0.02 * 0.98 ** (2 - i) * row[name] for i, row in enumerate(losses))
        assert total == pytest.approx(wanted, rel=1e-4) and weight == pytest.approx(1 - 0.98**3, rel=1e-4)


def test_a_shard_that_looks_like_a_whole_weight_is_refused():
    """A quarter of the main stage is as wide as the first."""
    layout = Layout(data=2, fsdp=4, partitioning="manual")
    (problem,) = layouts.check(layout, BATCH, WORKLOADS["HiViT, restoring too"].dimensions())
    assert problem[0] == "Layout.partitioning"
