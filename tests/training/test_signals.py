"""The first signal asks, the second Ctrl-C insists; the validation that is put off is made up for."""

import logging
import os
import signal

import pytest

from pangu_jax.training.signals import StopSignals
from tests.training import digits
from tests.training.test_kill import computed
from tests.training.toy_runs import trained, validations


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_asks_and_a_second_interrupt_leaves(number, capfd):
    before = signal.getsignal(number)
    with StopSignals() as signals:
        assert not signals.requested
        os.kill(os.getpid(), number)
        assert signals.requested
        assert signals.received == number
        os.kill(os.getpid(), signal.SIGTERM)  # patience: a scheduler may repeat itself
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(number) is before
    assert f"pangu: {number.name}: saving, then leaving" in capfd.readouterr().err


class Interrupted(digits.PoisonedDigits):
    """Digits under a scheduler that wants the machine back while `last_step` runs."""

    def __init__(self, last_step):
        super().__init__(poison_step=None)
        self.last_step = last_step

    def train_source(self, batch_size, seed, shift=0):
        source = super().train_source(batch_size, seed, shift)
        calm = source.batch

        def batch(step, rows=None):
            if step + 1 == self.last_step:
                os.kill(os.getpid(), signal.SIGTERM)
            return calm(step, rows)

        source.batch = batch
        return source


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupted, validated at 10 and at 20, its last step."""
    run_dir = tmp_path_factory.mktemp("whole")
    trained(run_dir, digits.PoisonedDigits(), validate_every=10)
    return run_dir


@pytest.mark.parametrize("last_step", [20, 10, 12])
def test_a_validation_that_a_signal_came_before_is_made_up_for(whole, tmp_path, caplog, last_step):
    """At the last step, or where one was due: the run resumed has the rows of one that nothing stopped."""
    stopped = trained(tmp_path, Interrupted(last_step), validate_every=10).summary
    assert (stopped["step"], stopped["checkpoint"], stopped["finished"]) == (last_step, last_step, False)
    assert len(validations(tmp_path)) == (last_step > 10)
    for again in ("resumes", "nothing to do: step 20 of 20 is done"):
        caplog.clear()
        with caplog.at_level(logging.INFO, "pangu_jax"):
            resumed = trained(tmp_path, digits.PoisonedDigits(), validate_every=10).summary
        assert resumed["finished"] and (again in caplog.text) == (again != "resumes")
    assert computed(tmp_path) == computed(whole)
    assert len(validations(tmp_path)) == 2
