"""What is not finite reaches no checkpoint, and is not dropped from the metrics without a word."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from examples.digits import DigitSource
from pangu_jax.errors import UserError
from pangu_jax.runs import checkpoint_files, metrics
from pangu_jax.training.optimizers import adamw
from pangu_jax.workloads import Updates
from tests.training import digits
from tests.training.toy_runs import losses, trained, validations


class Cliff(digits.PoisonedDigits):
    """Digits whose gradient is NaN at one step, while its loss is finite: d sqrt(x) / dx at 0."""

    def __init__(self, cliff_step=None):
        super().__init__(poison_step=None)
        self.cliff_step = cliff_step

    def loss(self, variables, batch, keys, run):
        sums = super().loss(variables, batch, keys, run)
        squares = jnp.sum(variables.params["first"]["kernel"] ** 2) * batch["slope"]
        return sums._replace(loss=sums.loss + 0.0 * jnp.sum(jnp.sqrt(squares)))

    def train_source(self, batch_size, seed, shift=0):
        source = super().train_source(batch_size, seed, shift)
        flat = source.batch

        def steep(step, rows=None):
            batch = flat(step, rows)
            return batch | {"slope": np.full(len(batch["labels"]), step + 1 != self.cliff_step, np.float32)}

        source.batch = steep
        return source

    def validation_sources(self, batch_size):
        return {}


@pytest.mark.parametrize("step", [9, 12])
def test_a_gradient_that_is_not_finite_reaches_no_checkpoint(tmp_path, step):
    """Its loss is finite, and so may be that of the steps after it; step 12 would be saved."""
    with pytest.raises(UserError) as caught:
        trained(tmp_path, Cliff(step))
    said = str(caught.value)
    assert f"the norm of the gradient is nan at step {step}; its batch is " in said
    assert ", ".join(digits.PoisonedDigits().train_source(32, 0).identity(step - 1)[:4]) in said
    assert "the last good checkpoint is step 6" in said
    assert checkpoint_files.verify(tmp_path)["usable"] == [6]
    assert max(losses(tmp_path)) == step - 1
    assert trained(tmp_path, Cliff()).summary["finished"]
    assert np.isfinite(list(losses(tmp_path).values())).all() and len(losses(tmp_path)) == 20


def test_a_learning_rate_that_is_not_finite_reaches_no_checkpoint(tmp_path):
    optimizer = adamw(schedule=lambda step: jnp.where(step == 5, jnp.nan, 1e-3))
    with pytest.raises(UserError, match=r"the learning rate is nan at step 6; .* no checkpoint yet"):
        trained(tmp_path, Cliff(), optimizer)


class NothingHeldOut(Cliff):
    """Digits with a task of whose held-out examples none are evaluated."""

    def validation_sources(self, batch_size):
        images, labels = self.held_out
        return {"digits": DigitSource(images[:0], labels[:0], batch_size, None)}


def test_a_held_out_source_without_batches_is_none(tmp_path):
    assert trained(tmp_path, NothingHeldOut(), steps=2).summary["finished"]
    assert validations(tmp_path) == []


class Statistics(Cliff):
    """Digits with a running statistic, which a count of nothing spoils at one step."""

    def init(self, key):
        return super().init(key)._replace(extra={"mean": jnp.zeros(())})

    def logical_axes(self):
        return super().logical_axes()._replace(extra={"mean": ()})

    def loss(self, variables, batch, keys, run):
        sums = digits.PoisonedDigits.loss(self, variables, batch, keys, run)
        count = jnp.sum(batch["slope"])
        return sums._replace(updates=Updates({"sum": count, "count": count}))

    def after_step(self, variables, updates):
        return {"mean": updates.totals["sum"] / updates.totals["count"]}


def test_extra_state_that_is_not_finite_reaches_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"the norm of the extra state is nan at step 12; .* step 6;"):
        trained(tmp_path, Statistics(12))
    assert checkpoint_files.verify(tmp_path)["usable"] == [6]
    assert trained(tmp_path, Statistics()).summary["extra_norm"] == 1.0


class Odd(digits.PoisonedDigits):
    """Digits with a task that no batch holds, a metric that is NaN, and a NaN among what is held out."""

    def loss(self, variables, batch, keys, run):
        sums = super().loss(variables, batch, keys, run)
        zero, one = jnp.zeros(()), jnp.ones(())
        return sums._replace(metrics=sums.metrics | {"absent": (zero, zero), "odd": (zero / zero, one)})

    def validation_sources(self, batch_size):
        images, labels = self.held_out
        return {"digits": DigitSource(images * np.nan, labels, batch_size, None)}


def test_what_is_not_finite_is_null_and_what_is_absent_is_absent(tmp_path, caplog):
    summary = trained(tmp_path, Odd(), steps=2).summary
    assert summary["validation_loss"] is None and summary["odd"] is None
    json.dumps(summary, allow_nan=False)
    row, _, validated = metrics.read(tmp_path / "metrics.jsonl")
    assert row["odd"] is None and row["loss/digits"] > 0 and "absent" not in row
    assert validated["validation_loss"] is validated["validation_odd"] is None
    assert "validation_absent" not in validated
    warned = [record.message for record in caplog.records if "not finite" in record.message]
    assert warned == [
        "step 1: not finite, null in metrics.jsonl: odd",
        "step 2: not finite, null in metrics.jsonl: validation_loss, validation_loss/digits, validation_odd",
    ]
