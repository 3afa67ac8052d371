"""Extra state in checkpoints: a run resumes to the bit, and one without is refused in a line."""

import gin
import jax
import numpy as np
import pytest

from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.runs import metrics
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.training.train import train
from pangu_jax.workloads import RunContext, Variables
from tests.workloads.stateful_digits import StatefulDigits

STEPS = 6


def trained(run_dir, steps=STEPS, workload=None):
    gin.clear_config()
    settings = {"batch_size": 32, "backend": "cpu", "log_every": 1, "checkpoint_every": 2}
    return train(str(run_dir), workload or StatefulDigits(), steps=steps, **settings)


def losses(run_dir):
    return [row["loss"] for row in metrics.read(run_dir / "metrics.jsonl") if "loss" in row]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole")
    return run_dir, trained(run_dir).variables


def test_a_resumed_run_has_the_same_state_to_the_bit(whole, tmp_path):
    run_dir, variables = whole
    trained(tmp_path, steps=3)
    resumed = trained(tmp_path).variables
    assert losses(tmp_path) == losses(run_dir)
    for (path, expected), found in zip(
        jax.tree.leaves_with_path(variables), jax.tree.leaves(resumed), strict=True
    ):
        np.testing.assert_array_equal(found, expected, jax.tree_util.keystr(path))


def test_validation_reads_the_averaged_teacher(whole):
    """`evaluated` is asked: the loss of the parameters themselves is another."""
    run_dir, variables = whole
    workload, rows = StatefulDigits(), metrics.read(run_dir / "metrics.jsonl")
    (validated,) = [row["validation_loss"] for row in rows if "validation_loss" in row]
    source = workload.validation_sources(32)["digits"]
    batches = [source.batch(number) for number in range(len(source))]

    loss = jax.jit(lambda variables, batch: workload.loss(variables, batch, None, RunContext(OneDevice())))

    def mean_loss(variables: Variables) -> float:
        sums = [loss(variables, batch) for batch in batches]
        return sum(float(s.loss) for s in sums) / sum(float(s.weight) for s in sums)

    assert validated == pytest.approx(mean_loss(workload.evaluated(variables)), rel=1e-5)
    assert validated != pytest.approx(mean_loss(variables), rel=1e-3)


class Stateless(StatefulDigits):
    """As the family was before it had extra state."""

    def init(self, key):
        return super().init(key)._replace(extra={})

    def logical_axes(self):
        return super().logical_axes()._replace(extra={})

    def loss(self, variables, batch, keys, run):
        full = super().init(jax.random.key(0)).extra
        return super().loss(variables._replace(extra=full), batch, keys, run)

    def after_step(self, variables, updates):
        return {}

    def evaluated(self, variables):
        return variables


def test_a_checkpoint_without_extra_state_is_refused_in_a_line(tmp_path):
    trained(tmp_path, steps=2, workload=Stateless())
    with Checkpoints(RunDirectory(tmp_path).checkpoints, read_only=True) as checkpoints:
        _, manifest = checkpoints.newest_sound(None)
        assert not any(path.startswith("extra/") for path in manifest["arrays"])
    with pytest.raises(UserError, match=r"extra/") as caught:
        trained(tmp_path)
    said = str(caught.value)
    assert "\n" not in said and "another run directory" in said
