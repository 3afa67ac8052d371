"""`pangu config check` finds what contradicts itself, at the line to change: a layout that divides neither
model nor batch, a learning rate that is not of the run's length."""

import pytest

from pangu_jax import recipes
from pangu_jax.recipes.functions import TRAIN, TUNE


@pytest.mark.parametrize(
    ("bindings", "name", "words"),
    [
        (["EncoderDecoder.heads=7"], "train.workload", "d_model 512 is not divisible by heads 7"),
        (["Layout.model=3", "backend=cpu:6"], "Layout.model", "heads 8 is not divisible by model 3"),
        (["Layout.data=3", "backend=cpu:4"], "Layout.data", "needs 3 devices and there are 4"),
        (["Layout.data=3", "backend=cpu:3"], "train.batch_size", "batch_size 8 is not divisible by data 3"),
        (["Layout.microbatches=3"], "train.batch_size", "batch_size 8 is not divisible by microbatches 3"),
        (["backend=gpu"], "train.backend", "no backend 'gpu'"),
        (["Layout.stage=2", "backend=cpu:2"], "Layout.schedule", "stage 2 needs a schedule"),
        (
            ["Layout.stage=4", "Layout.schedule=gpipe", "Layout.microbatches=4", "backend=cpu:4"],
            "Layout.stage",
            "encoder layers 6 is not divisible by stage 4",
        ),
    ],
)
def test_a_contradiction_is_found(bindings, name, words):
    findings = recipes.check(recipes.load(["bench/small.gin"], bindings, function=TRAIN))
    assert any(f"{name}: " in str(one) and words in str(one) for one in findings), findings


def test_the_recipe_itself_has_none():
    assert recipes.check(recipes.load(["bench/small.gin"], ["backend=cpu:8"], function=TRAIN)) == []


QUICKSTART = "nlp/quickstart.gin"
LINEAR = ["muon.schedule=@linear_schedule()", "linear_schedule.steps=%STEPS"]
GROUP = ["muon.groups=[@head/ParameterGroup()]", "head/ParameterGroup.pattern='^head'"]
OWN = ["head/ParameterGroup.schedule=@head/linear_schedule()"]
CALLERS = ["ParameterGroup.schedule=@linear_schedule()", "linear_schedule.steps=%STEPS"]


@pytest.mark.parametrize(
    ("bindings", "name", "words"),
    [
        (
            ["train.steps=2000"],
            "cosine_schedule.steps",
            "1000, and the run has train.steps = 2000: its last 1000",
        ),
        (["train.steps=100"], "cosine_schedule.steps", "would end before the rate has come down"),
        (
            ["cosine_schedule.warmup=5000"],
            "cosine_schedule.warmup",
            "5000, and the run has train.steps = 1000",
        ),
        (["cosine_schedule.warmup=1000"], "cosine_schedule.warmup", "the peak would never be reached"),
        (["STEPS=50"], "cosine_schedule.warmup", "50, and the run has train.steps = 50"),
        ([*LINEAR, "linear_schedule.steps=999"], "linear_schedule.steps", "its last 1 steps"),
        ([*LINEAR, "linear_schedule.warmup=1001"], "linear_schedule.warmup", "1001"),
        (["muon.schedule=@inverse_sqrt_schedule()"], "inverse_sqrt_schedule.warmup", "10000"),
        (
            ["muon.schedule=@constant_schedule()", "constant_schedule.warmup=1100"],
            "constant_schedule.warmup",
            "warm-up must be shorter",
        ),
        ([*GROUP, *OWN, "head/linear_schedule.steps=9"], "head/linear_schedule.steps", "9, and the run has"),
        (
            [*GROUP, *CALLERS, "head/linear_schedule.steps=9"],
            "head/linear_schedule.steps",
            "9, and the run has",
        ),
    ],
)
def test_a_schedule_that_is_not_of_the_runs_length_is_named_and_stops_nothing(bindings, name, words):
    """A trial of three steps is one as well, so a verb that trains says it and goes on."""
    found = recipes.check(recipes.load([QUICKSTART], bindings, function=TRAIN))
    (finding,) = [one for one in found if one.message.startswith(f"{name}: ")]
    assert words in finding.message and not finding.stops
    assert recipes.require_valid(recipes.load([QUICKSTART], bindings, function=TRAIN)) == found


@pytest.mark.parametrize(
    "bindings",
    [
        ["STEPS=2000"],
        ["STEPS=51"],
        ["muon.schedule=@constant_schedule()", "train.steps=3"],
        [*LINEAR, "linear_schedule.warmup=0", "STEPS=1"],
        ["muon.schedule=None", "train.steps=3"],
    ],
)
def test_a_schedule_of_the_runs_length_is_right(bindings):
    assert recipes.check(recipes.load([QUICKSTART], bindings, function=TRAIN)) == []


def test_tuning_has_steps_of_its_own():
    bindings = ["tune.optimizer=@adamw()", "adamw.schedule=@cosine_schedule()", "tune.steps=200"]
    for steps, count in ((200, 0), (700, 1)):
        more = [*bindings, f"cosine_schedule.steps={steps}"]
        assert len(recipes.check(recipes.load(["tuning/lora.gin"], more, function=TUNE))) == count
