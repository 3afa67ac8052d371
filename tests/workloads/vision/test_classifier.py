"""Classes taught to a trunk: the loss by hand, what is stored, and every layout as on one device."""

import json

import jax
import numpy as np
import pytest

from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training import step
from pangu_jax.training.layer_rates import layerwise_rates
from pangu_jax.training.optimizers import adamw
from pangu_jax.training.schedules import constant_schedule
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.vision import PictureClassifier, stored_trunk
from pangu_jax.workloads.vision.bases import FreshTrunk
from pangu_jax.workloads.vision.data import NoPictures
from pangu_jax.workloads.vision.learning import AllWeights, LowRank
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.plain import PlainConfig

TRUNK = HierarchicalConfig(size=16, unit=4, d_model=32, depths=(1, 1, 2), heads=4)
DATA = NoPictures(16, 3, 1, False, ("ape", "bee", "cat"))
BATCH = 8


def batch():
    draw = np.random.default_rng(0)
    numbers = np.arange(BATCH, dtype=np.int32)
    weight = np.ones(BATCH, np.float32)
    weight[-1] = 0
    return {
        "image": draw.integers(0, 256, (BATCH, 1, 16, 16, 3), np.uint8),
        "label": np.array([0, 1, 2, 0, 1, -1, 2, 1], np.int32),
        "place": numbers,
        "weight": weight,
        "task_id": 0 * numbers,
    }


def after_steps(workload, layout, count=2):
    devices = jax.devices()[: layout.data * layout.fsdp * layout.model]
    # A bias on keys changes no softmax: its gradient is rounding, which Adam would blow up to whole steps.
    optimizer = layerwise_rates(adamw(constant_schedule(1e-3), epsilon=1e-4))
    mesh = make_mesh(layout, devices)
    state = step.start(workload, optimizer, mesh, 0).state
    train_step = step.make_train_step(
        workload, optimizer, RunContext(OneDevice()), layout, mesh, batch_size=BATCH, seed=0
    )
    for _ in range(count):
        state, metrics = train_step(state, batch())
    return jax.device_get((state.params, state.extra, step.means(metrics)))


@pytest.mark.prove
@pytest.mark.parametrize("learns", [AllWeights(), LowRank(rank=2)], ids=["all", "low rank"])
def test_a_layout_is_as_one_device(learns):
    workload = PictureClassifier(FreshTrunk(TRUNK), DATA, learns)
    one = after_steps(workload, Layout(data=1))
    for layout in (Layout(data=2, fsdp=2, model=2), Layout(data=2, fsdp=2, microbatches=2)):
        found = after_steps(workload, layout)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), one, found)


def test_only_labelled_pictures_count():
    workload = PictureClassifier(FreshTrunk(TRUNK), DATA)
    variables = workload.init(jax.random.key(0))
    head = variables.params["head"]
    variables.params["head"] = head | {"kernel": jax.random.normal(jax.random.key(1), head["kernel"].shape)}
    run = RunContext(OneDevice())

    @jax.jit
    def both(variables, batch):
        return workload.loss(variables, batch, None, run), workload.logits(
            variables, batch["image"][:, 0], run
        )

    sums, logits = jax.device_get(both(variables, batch()))
    counted = [0, 1, 2, 3, 4, 6]
    labels = batch()["label"][counted]
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert sums.weight == len(counted)
    np.testing.assert_allclose(sums.loss, -logs[counted, labels].sum(), rtol=1e-4)
    assert sums.metrics["accuracy"][0] == (logits[counted].argmax(1) == labels).sum()


@pytest.mark.parametrize("trunk", [TRUNK, PlainConfig(size=16, patch=4, mean=(0.1, 0.2, 0.3))])
def test_a_shape_is_stored_and_made_again(trunk):
    kept = json.loads(json.dumps(stored_trunk.described(trunk)))
    assert stored_trunk.made(kept) == trunk


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (NoPictures(16, 3, 1, False, ()), "the pictures have no labels"),
        (NoPictures(16, 3, 1, False, ("ape",)), "one class, 'ape'"),
        (NoPictures(32, 3, 1, False, ("ape", "bee")), "32 pixels and 3 channels, and the trunk has size 16"),
        (NoPictures(16, 3, 2, False, ("ape", "bee")), "learns from one view"),
    ],
)
def test_pictures_that_do_not_fit(data, words):
    with pytest.raises(UserError, match=words):
        PictureClassifier(FreshTrunk(TRUNK), data)
