"""However far the loops of several processes are apart, and whoever hears a signal: one step for all."""

import random
import signal
import threading
import time

import pytest

from pangu_jax.training import stop_agreement
from pangu_jax.training.signals import StopSignals
from pangu_jax.training.stop_agreement import StopAgreement
from tpu_npu_backends import processes
from tpu_npu_backends.errors import BackendError

STEPS = 40


class SharedStore:
    """jax.distributed's client, as far as it is used; a call takes a moment."""

    def __init__(self):
        self._values, self._changed = {}, threading.Condition()

    def key_value_set(self, key, value, allow_overwrite=False):
        time.sleep(0.0005)
        with self._changed:
            self._values[key] = value
            self._changed.notify_all()

    def blocking_key_value_get(self, key, timeout_in_ms):
        with self._changed:
            if not self._changed.wait_for(lambda: key in self._values, timeout_in_ms / 1000):
                raise RuntimeError(f"DEADLINE_EXCEEDED: {key}")
            return self._values[key]


def ends(count, signalled, apart, seed) -> list[tuple[int, bool]]:
    """The last step of each of `count` loops, and whether it was asked to stop after it.

    `signalled` holds process -> step in which it hears a signal. A loop begins no step before all others
    have begun the one `apart` before it, as collectives have it, and each has its own pace.
    """
    store, begun, moved = SharedStore(), [0] * count, threading.Condition()
    found = [None] * count

    def loop(process):
        pace = random.Random(f"{seed} {process}")
        slowness = pace.choice([0.0005, 0.002])
        with StopSignals() as signals, StopAgreement(signals, store, process, count, "run") as agreement:
            for step in range(1, STEPS + 1):
                with moved:
                    assert moved.wait_for(lambda step=step: min(begun) >= step - apart, 10)
                    begun[process] = step
                    moved.notify_all()
                time.sleep(slowness * pace.random())
                if signalled.get(process) == step:
                    signals.received = signal.SIGTERM
                if stopping := agreement.stops_after(step):
                    break
        found[process] = step, stopping

    threads = [threading.Thread(target=loop, args=(process,), daemon=True) for process in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert None not in found
    return found


@pytest.mark.parametrize("apart", [2, 10])
@pytest.mark.parametrize("seed", range(6))
def test_all_stop_after_the_same_step_and_soon(seed, apart):
    draw = random.Random(seed)
    signalled = {process: draw.randint(1, 20) for process in draw.sample(range(4), draw.randint(1, 4))}
    (end,) = set(ends(4, signalled, apart, seed))
    first = min(signalled.values())
    assert end[1] and first <= end[0] <= first + apart + 1


@pytest.mark.parametrize("process", range(4))
def test_a_signal_in_the_last_step_finds_all_of_one_mind(process):
    ((step, _),) = set(ends(4, {process: STEPS}, 4, process))
    assert step == STEPS


def test_without_a_signal_none_stops():
    assert ends(3, {}, 4, 0) == [(STEPS, False)] * 3


def test_one_process_alone_asks_nobody():
    before = threading.active_count()
    with StopSignals() as signals, stop_agreement.of_run(signals) as agreement:
        assert threading.active_count() == before
        assert not agreement.stops_after(1)
        signals.received = signal.SIGTERM
        assert agreement.stops_after(2)


def test_it_waits_on_when_a_wait_has_run_out(monkeypatch):
    monkeypatch.setattr(stop_agreement, "WAIT_MS", 1)
    ((step, stopping),) = set(ends(2, {1: 20}, 2, 0))
    assert stopping and step < STEPS


def test_a_store_that_is_gone_does_not_hold_up_the_loop():
    class Gone(SharedStore):
        def blocking_key_value_get(self, key, timeout_in_ms):
            raise RuntimeError("UNAVAILABLE: the coordinator is gone")

    with StopSignals() as signals, StopAgreement(signals, Gone(), 1, 2, "run") as agreement:
        signals.received = signal.SIGTERM
        assert not agreement.stops_after(1)


def test_processes_without_a_coordinator_are_told_in_a_line():
    with pytest.raises(BackendError, match="no coordinator"):
        processes.key_value_store()
