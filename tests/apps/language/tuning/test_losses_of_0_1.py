"""The losses of five steps are those of version 0.1, whose `fit` had a loop of its own. By AdamW: Adafactor's
steps are others since, see docs/neighbours.md."""

import json
from pathlib import Path

import numpy as np
import pytest

from pangu_jax.apps.language.tuning import modes
from pangu_jax.apps.language.tuning.lora import LoRA
from pangu_jax.apps.language.tuning.methods import Head
from pangu_jax.apps.language.tuning.prompts import PrefixTuning, PromptTuning
from pangu_jax.apps.language.tuning.settings import Fit, Objective, OptimizerSpec, Regularisation, Tuning
from pangu_jax.apps.language.tuning.trials import Trials
from tests.apps.language.tuning import toy

pytestmark = pytest.mark.prove

RECORDED = json.loads(Path(__file__).with_name("losses_of_0_1.json").read_text())
SMOOTH = Regularisation(label_smoothing=0.1)
WAYS = {
    "fine-tuning": (Tuning(), 1e-2),
    "head": (Tuning(Head("decoder_last", alone=True)), 3e-2),
    "head all": (Tuning(Head("encoder")), 1e-2),
    "prompt": (Tuning(PromptTuning(2, reparametrised=True)), 3e-2),
    "prompt and model": (Tuning(PromptTuning(2, tune_model=True)), 3e-3),
    "prefix": (Tuning(PrefixTuning(2)), 1e-1),
    "lora": (Tuning(LoRA(2, targets=("qkv", "query", "out"))), 2e-2),
    "cut": (Tuning(freezing=modes.GradualUnfreezing(cut=True)), 1e-2),
    "answer": (Tuning(regularisation=SMOOTH, objective=Objective("answer")), 1e-2),
    "normalised": (Tuning(regularisation=SMOOTH, objective=Objective(normalised=True)), 1e-2),
}
MODES = ("GradualUnfreezing", "FreezeOut", "ChildTuningF", "ChildTuningD", "Mixout", "RecAdam", "LayerDrop")
WAYS |= {name: (Tuning(freezing=getattr(modes, name)()), 1e-2) for name in MODES}


@pytest.mark.parametrize("name", RECORDED)
def test_losses_are_those_of_0_1(name, proof):
    tuning, rate = WAYS[name]
    optimizer = OptimizerSpec(learning_rate=rate)
    steps = len(RECORDED[name])
    fit = Fit(optimizer, 8, evaluate_every=1)  # schedules are of eight steps
    rows: list[dict] = []

    class Enough(Exception):
        """Five steps were recorded."""

    def see(row):
        rows.append(row)
        if len(rows) == steps:
            raise Enough

    with pytest.raises(Enough):
        Trials(toy.MODEL, toy.base(), tuning, fit, toy.SHAPE)(toy.texts(64, 4), seed=3, on_row=see)
    found = np.array([row["loss"] for row in rows])
    np.testing.assert_allclose(found, RECORDED[name], rtol=1e-4)
    proof("largest relative difference", float(np.max(np.abs(found / RECORDED[name] - 1))))
