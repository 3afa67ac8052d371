"""`pangu config check` finds a layout that divides neither model nor batch, at the line to change."""

import pytest

from pangu_jax import recipes
from pangu_jax.recipes.functions import TRAIN


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
