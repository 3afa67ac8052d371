"""The first signal asks, the second Ctrl-C insists."""

import os
import signal

import pytest

from pangu_jax.training.signals import StopSignals


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
