"""Evaluators: totals add up, rows are collected, and the same object measures in training and afterwards."""

import json

import gin
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from examples.digits import Digits, DigitSource
from pangu_jax import cli
from pangu_jax import train as launch
from pangu_jax.apps import held_out
from pangu_jax.evaluation.evaluators import Evaluation, HeldOutLoss
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.runs import metrics, opening
from pangu_jax.runs.inference_layout import Devices
from pangu_jax.training import step
from pangu_jax.training.optimizers import adamw
from pangu_jax.training.train import train
from pangu_jax.workloads import RunContext, Updates, Variables
from pangu_jax.workloads.evaluator import Evaluator, MeasuredValue

BATCH = 32


def features(variables, images_BxP):
    first = variables.params["first"]
    return jax.nn.relu(images_BxP @ first["kernel"] + first["bias"])


class Nearest(Evaluator):
    """Accuracy of the nearest class mean: labelled features are collected first, and answers are rows."""

    def __init__(self, workload, every=0):
        self.workload, self.every, self.began = workload, every, 0

    def sources(self, batch_size):
        return [DigitSource(*self.workload.held_out, batch_size, None)]

    def begin(self, batch_size, collect):
        self.began += 1
        found = collect(self.embed, [DigitSource(*self.workload.train, batch_size, None)])
        hot_NxC = np.eye(10)[found.rows["labels"]]
        means_CxF = hot_NxC.T @ found.rows["features"] / hot_NxC.sum(0)[:, None]
        return means_CxF.astype(np.float32)

    def embed(self, variables, batch, run):
        return Updates(rows={"features": features(variables, batch["images"]), "labels": batch["labels"]})

    def measure(self, variables, batch, begun, run):
        far_BxC = jnp.sum((features(variables, batch["images"])[:, None] - begun) ** 2, -1)
        answers_B = jnp.argmin(far_BxC, -1)
        return Updates({"right": jnp.sum(answers_B == batch["labels"])}, {"answers": answers_B})

    def finish(self, measured, begun):
        answered = len(measured.rows["answers"])
        return {"nearest/accuracy": MeasuredValue(100 * measured.totals["right"] / answered, "percent")}


@pytest.fixture(scope="module")
def workload():
    return Digits()


def evaluated(workload, evaluator, layout):
    devices = jax.devices()[: layout.data * layout.fsdp * layout.model]
    mesh = make_mesh(layout, devices)
    params = step.init_state(workload, adamw(), mesh, 0).params
    evaluation = Evaluation(evaluator, workload, RunContext(OneDevice()), mesh, BATCH)
    return evaluation, Variables(params)


def by_hand(workload):
    """Of fresh parameters, in NumPy; a last batch that is not full is no batch of a DigitSource."""
    first = jax.device_get(workload.init(jax.random.key(0))).params["first"]
    seen = [
        (np.maximum(images[: len(images) // BATCH * BATCH] @ first["kernel"] + first["bias"], 0), labels)
        for images, labels in (workload.train, workload.held_out)
    ]
    (train, labels), (held_out, truth) = seen
    means = np.stack([train[labels[: len(train)] == c].mean(0) for c in range(10)])
    answers = ((held_out[:, None] - means) ** 2).sum(-1).argmin(-1)
    return 100 * np.mean(answers == truth[: len(answers)])


@pytest.mark.parametrize("layout", [Layout(data=1), Layout(data=2, fsdp=2, model=2)], ids=["one", "eight"])
def test_what_is_measured_is_what_is_counted_by_hand(workload, layout):
    evaluation, variables = evaluated(workload, Nearest(workload), layout)
    found = evaluation(variables)
    assert found == {"nearest/accuracy": MeasuredValue(pytest.approx(by_hand(workload)), "percent")}
    assert 30 < found["nearest/accuracy"].value < 100


def test_a_second_evaluation_compiles_nothing(workload):
    evaluation, variables = evaluated(workload, Nearest(workload), Layout(data=1))
    first = evaluation(variables)
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "jit", None)  # nobody asks for another program
        assert evaluation(variables) == first


def test_a_workload_with_nothing_held_out_has_no_held_out_loss(workload, monkeypatch):
    monkeypatch.setattr(workload, "validation_sources", lambda batch_size: {})
    evaluation, variables = evaluated(workload, HeldOutLoss(workload), Layout(data=1))
    assert evaluation(variables) == {}


def test_in_training_each_evaluator_has_its_turn(workload, tmp_path):
    gin.clear_config()
    often, at_the_end = Nearest(workload, every=2), Nearest(workload)
    at_the_end.finish = lambda measured, begun: {"last/rows": MeasuredValue(len(measured.rows["answers"]))}
    trained = train(
        str(tmp_path),
        workload,
        steps=5,
        batch_size=BATCH,
        backend="cpu",
        log_every=1,
        evaluators=[often, at_the_end],
    )
    rows = metrics.read(tmp_path / "metrics.jsonl")
    measured = {row["step"]: row["nearest/accuracy"] for row in rows if "nearest/accuracy" in row}
    assert list(measured) == [2, 4, 5] and often.began == 3
    assert [row["step"] for row in rows if "last/rows" in row] == [5] and at_the_end.began == 1
    assert [row["step"] for row in rows if "validation_loss" in row] == [5]
    assert trained.summary["nearest/accuracy"] == measured[5]
    units = json.loads((tmp_path / "units.json").read_text())
    assert units["nearest/accuracy"] == "percent" and units["validation_loss"] == "nats per example"


RECIPE = """
import examples.digits
import tests.evaluation.test_evaluators

train.workload = @Digits()
train.steps = 3
train.batch_size = 32
train.backend = 'cpu'
train.evaluators = [@NearestOfDigits()]
"""


@gin.configurable
class NearestOfDigits(Nearest):
    """As a recipe names it: an evaluator has data of its own."""

    def __init__(self):
        super().__init__(Digits())


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "digits.gin").write_text(RECIPE)
    launch.run([str(folder / "digits.gin")], [], folder / "run")
    return folder / "run"


@pytest.mark.parametrize("devices", [Devices("cpu"), Devices("cpu:8", ("Layout.fsdp=4", "Layout.model=2"))])
def test_a_finished_run_measures_what_it_measured_in_training(run_dir, devices):
    *_, validated = metrics.read(run_dir / "metrics.jsonl")
    found = held_out.evaluate(opening.open_run(run_dir, devices=devices, float32=True))
    assert {name: value.value for name, value in found.items()} == pytest.approx(
        {name: value for name, value in validated.items() if name != "step"}, rel=1e-5
    )
    assert found["nearest/accuracy"].unit == "percent"


def test_the_verb_measures_runs_of_every_family(run_dir, capsys):
    assert cli.main(["eval", "--held_out", "--run_dir", str(run_dir), "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    *_, validated = metrics.read(run_dir / "metrics.jsonl")
    assert told["step"] == 3 and told["metrics"]["validation_loss"]["value"] == validated["validation_loss"]
    assert told["metrics"]["nearest/accuracy"]["unit"] == "percent"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--held_out", "--task", "fewclue/eprstmt"], "--held_out measures what the run's own recipe says: "),
        (
            [],
            "is a run of the family 'digits', and this is for one of 'language'; what can be done with it: ",
        ),
    ],
)
def test_what_is_not_for_this_run_is_one_line(run_dir, capsys, flags, words):
    assert cli.main(["eval", "--run_dir", str(run_dir), *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
