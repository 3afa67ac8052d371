"""Tuning under the trainer: every method on every layout equals one device, and batches are pure."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from pangu_jax.apps.language.tuning import modes
from pangu_jax.apps.language.tuning.base import InMemoryBase
from pangu_jax.apps.language.tuning.examples import TaskRows
from pangu_jax.apps.language.tuning.lora import LoRA
from pangu_jax.apps.language.tuning.methods import Head, asked_by
from pangu_jax.apps.language.tuning.prompts import PrefixTuning, PromptTuning
from pangu_jax.apps.language.tuning.settings import Fit, Objective, OptimizerSpec, Regularisation, Tuning
from pangu_jax.apps.language.tuning.workload import TunedLanguageModel
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel import feed
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training import step
from pangu_jax.workloads import RunContext, Variables
from pangu_jax.workloads.language.model import architecture
from tests.apps.language.tuning import toy

STEPS, BATCH = 5, 16
MODEL = dataclasses.replace(toy.MODEL, d_model=32, heads=4)
DROPS = Regularisation(dropout=0.2, label_smoothing=0.1)
TUNINGS = {
    "fine-tuning": Tuning(regularisation=DROPS),
    "answer, r-drop": Tuning(
        regularisation=dataclasses.replace(DROPS, r_drop=1.0), objective=Objective("answer", normalised=True)
    ),
    "head": Tuning(Head("decoder_mean")),
    "head on the encoder, alone": Tuning(Head("encoder", alone=True)),
    "prompt": Tuning(PromptTuning(3, reparametrised=True)),
    "prompt and model": Tuning(PromptTuning(3, tune_model=True)),
    "prefix": Tuning(PrefixTuning(2)),
    "lora": Tuning(LoRA(2, targets=("qkv", "query", "out", "up", "down"))),
    "gradual unfreezing, cut": Tuning(freezing=modes.GradualUnfreezing(1.0, cut=True)),
    "freeze out": Tuning(freezing=modes.FreezeOut(0.3)),
    "child tuning F": Tuning(freezing=modes.ChildTuningF()),
    "child tuning D": Tuning(LoRA(2), modes.ChildTuningD()),
    "mixout": Tuning(freezing=modes.Mixout()),
    "recadam": Tuning(freezing=modes.RecAdam()),
    "layer drop": Tuning(freezing=modes.LayerDrop(0.4)),
}
LAYOUTS = {
    "data 8": Layout(data=8),
    "fsdp 8": Layout(data=1, fsdp=8),
    "model 4 x data 2": Layout(model=4, data=2),
    "fsdp 2 x model 2, accumulated": Layout(data=1, fsdp=2, model=2, microbatches=4),
}
# Each layout and each kind of tuning at least once; `prove` has all pairs.
FAST = [
    ("fine-tuning", "model 4 x data 2"),
    ("answer, r-drop", "data 8"),
    ("head", "fsdp 8"),
    ("prompt", "model 4 x data 2"),
    ("prefix", "fsdp 8"),
    ("lora", "fsdp 2 x model 2, accumulated"),
    ("mixout", "data 8"),
]


def tuned(tuning: Tuning) -> TunedLanguageModel:
    base = InMemoryBase(MODEL, jax.jit(lambda: architecture.init(MODEL, jax.random.key(7)))())
    examples = [asked_by(tuning.method, MODEL, toy.texts(*some)) for some in ((40, 4), (11, 6))]
    return TunedLanguageModel(base, tuning, TaskRows.of(*examples), STEPS, BATCH)


def losses(name: str, layout: Layout) -> np.ndarray:
    """Of the steps, and of dev after the last."""
    workload = tuned(TUNINGS[name])
    assert layouts.check(layout, BATCH, workload.dimensions()) == []
    mesh = make_mesh(layout, jax.devices()[: math.prod(layout.axis_sizes().values())])
    optimizer, run = (
        workload.optimizer(Fit(OptimizerSpec(learning_rate=3e-3), STEPS).made()),
        RunContext(OneDevice()),
    )
    state, constants = step.start(workload, optimizer, mesh, 3)
    train_step = step.make_train_step(
        workload, optimizer, run, layout, mesh, batch_size=BATCH, seed=3, constants=constants
    )
    found = []
    for number, batch in zip(
        range(STEPS), feed.batches(workload.train_source(BATCH, 3), mesh, BATCH, 0), strict=False
    ):
        state, metrics = train_step(state, batch, workload.phase(number))
        found.append(float(metrics["loss"]))
    assert len(set(found)) == STEPS
    variables = Variables(state.params, state.extra, constants)
    (dev,) = workload.validation_sources(BATCH).values()
    sums = step.make_eval_step(workload, run, layout, mesh, BATCH)(
        variables, next(feed.batches(dev, mesh, BATCH, 0))
    )
    return np.array([*found, float(sums.loss / sums.weight)])


@pytest.fixture(scope="module")
def one_device():
    known: dict[str, np.ndarray] = {}

    def of(name: str) -> np.ndarray:
        if name not in known:
            known[name] = losses(name, Layout(data=1))
        return known[name]

    return of


@pytest.mark.parametrize(("name", "layout"), FAST)
def test_on_a_layout_it_is_as_on_one_device(name, layout, one_device):
    np.testing.assert_allclose(losses(name, LAYOUTS[layout]), one_device(name), rtol=1e-5)


@pytest.mark.prove
@pytest.mark.parametrize("name", TUNINGS)
def test_every_way_of_tuning_on_every_layout(name, one_device, proof):
    expected = one_device(name)
    found = np.stack([losses(name, layout) for layout in LAYOUTS.values()])
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=1e-5)
    proof("largest relative difference of a loss", float(np.max(np.abs(found / expected - 1))))
