"""One step after which all processes stop, agreed upon when a signal has reached any of them.

The processes talk in JAX's key-value store, which process 0 keeps, and in threads of their own: until there
is a signal, a step costs its loop a lock that nobody else holds. (A collective would cost it the step: it
waits in the device's queue behind the step that was just dispatched.)

A signal is announced under one key. Whoever hears of it reports the last step that its loop was allowed to go
beyond, and allows no further one until process 0 has named the first that none was allowed to go beyond.
Loops may be any number of steps apart: those that are behind run on to it. JAX's own preemption service
(`multihost_utils.reached_preemption_sync_point`) does the same, and knows SIGTERM alone.
"""

import itertools
import logging
import threading
from typing import Any, Protocol

import jax

from pangu_jax.training.signals import StopSignals
from tpu_npu_backends import processes

log = logging.getLogger(__name__)

WAIT_MS = 2**31 - 1  # 25 days; then it waits anew
CLOSING_SECONDS = 10.0
_runs = itertools.count()  # every process begins its runs in the same order


class Store(Protocol):
    """Of jax.distributed's client."""

    def key_value_set(self, key: str, value: str, allow_overwrite: bool = False) -> None:
        """Set `key` for all processes."""

    def blocking_key_value_get(self, key: str, timeout_in_ms: int) -> str:
        """The value of `key` once it is set; an error DEADLINE_EXCEEDED where it is not in time."""


class StopAgreement:
    """Context manager; the loop asks `stops_after` once per step, in every process.

    Args:
      signals: of this process.
      store: that all processes share; not needed by one alone.
      process: which of them this is.
      count: how many there are.
      name: of the run, the same in all of them and in no other run of theirs.
    """

    def __init__(
        self,
        signals: StopSignals,
        store: Store | None = None,
        process: int = 0,
        count: int = 1,
        name: str = "",
    ):
        self._signals, self._store, self._process, self._count, self._name = (
            signals,
            store,
            process,
            count,
            name,
        )
        self._announced = False
        self._passed = 0  # the last step that the loop was allowed to go beyond
        self._stop: int | None = None
        self._lock = threading.Lock()  # of `_passed` and `_stop`
        self._over = threading.Event()  # nothing more will come of asking
        self._thread: threading.Thread | None = None

    def stops_after(self, step: int) -> bool:
        """Whether the run stops after `step`: the same answer in every process, for steps in their order."""
        if self._count == 1:
            return self._signals.requested
        if self._signals.requested and not self._announced:
            self._announce()
            self._over.wait()
        with self._lock:
            if self._stop is not None:
                return step >= self._stop
            self._passed = step
            return False

    def __enter__(self) -> "StopAgreement":
        if self._count > 1:
            self._thread = threading.Thread(target=self._agree, name="pangu_jax stop agreement", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, exception, *_) -> None:
        # After an exception others may be gone, and nothing may wait for them.
        if self._thread and exception is None:
            self._announce()  # which ends the threads of all; the step agreed upon is beyond the last
            self._thread.join(CLOSING_SECONDS)

    def _announce(self) -> None:
        self._announced = True
        self._set("announced", 1)

    def _agree(self) -> None:
        try:
            self._get("announced")
            with self._lock:
                self._set(f"passed/{self._process}", self._passed)
                if self._process == 0:
                    passed = [self._get(f"passed/{process}") for process in range(self._count)]
                    self._set("stop", max(passed) + 1)
                self._stop = self._get("stop")
        except Exception as error:  # process 0 is gone, and the run is at its end
            log.info("nothing was agreed upon: %s", error)
        finally:
            self._over.set()

    def _set(self, key: str, value: int) -> None:
        assert self._store is not None  # several processes have one
        self._store.key_value_set(f"{self._name}/{key}", str(value), allow_overwrite=True)

    def _get(self, key: str) -> int:
        assert self._store is not None
        while True:
            try:
                return int(self._store.blocking_key_value_get(f"{self._name}/{key}", WAIT_MS))
            except Exception as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise


def of_run(signals: StopSignals) -> StopAgreement:
    """Of all of JAX's processes. Every process calls it.

    Raises:
      BackendError: there are several, and they have no store.
    """
    count = jax.process_count()
    store: Any = processes.key_value_store() if count > 1 else None
    return StopAgreement(signals, store, jax.process_index(), count, f"pangu_jax/run/{next(_runs)}")
