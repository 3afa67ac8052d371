"""A run in its directory: steps, metrics, validation, checkpoints; watched, and stopped when asked to."""

import json
import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from pangu_jax.evaluation.evaluators import Evaluation
from pangu_jax.parallel import feed
from pangu_jax.runs import best_step, units
from pangu_jax.runs.best_step import BestStep
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.training import stop_agreement
from pangu_jax.training.data_place import EXAMPLES, EpochLines
from pangu_jax.training.loop_config import LoopConfig
from pangu_jax.training.progress import Progress
from pangu_jax.training.recorder import MetricsRecorder
from pangu_jax.training.selection import Best
from pangu_jax.training.signals import StopSignals
from pangu_jax.training.step import TrainState
from pangu_jax.training.steps import Metrics, advance
from pangu_jax.training.stop_agreement import StopAgreement
from pangu_jax.training.validation import Validation, is_due
from pangu_jax.training.watchdog import Watchdog
from pangu_jax.workloads import Variables

log = logging.getLogger(__name__)


def run(
    config: LoopConfig, state: TrainState, start: int, directory: RunDirectory, checkpoints: Checkpoints
) -> tuple[TrainState, dict[str, Any]]:
    """Train from step `start` to `config.steps`, or to a stop signal; returns the last state and a summary.

    Every row of metrics up to step N is on disk before the checkpoint of step N is begun, so a run that
    is killed anywhere and resumed writes the same rows again. A stop signal puts a validation off: the run is
    not finished then, and the next one begins with it.

    Raises:
      UserError: a step's loss, gradient or learning rate is not finite (names the step, its examples and the
        last good checkpoint), or the disk is full.
    """
    began = time.monotonic()
    writes = jax.process_index() == 0
    jax.block_until_ready(state)  # what comes next measures the machine
    with (
        StopSignals() as signals,
        stop_agreement.of_run(signals) as agreement,
        MetricsRecorder(config, directory, start, began, writes) as recorder,
        Progress(config.steps, start, config.workload.throughput_unit)
        if writes
        else nullcontext() as progress,
        Watchdog(config.watchdog_seconds, directory.log, config.watchdog_abort_seconds) as watchdog,
    ):
        keeper = _OnDisk(config, directory, checkpoints, recorder, progress, watchdog, agreement, start)
        done = keeper.begin(state)
        batches = feed.batches(
            config.source, config.mesh, config.batch_size, start, config.workload.batch_axes()
        )
        steps = start if done else config.steps
        state, step = advance(config.train_step, config.workload.phase, batches, state, start, steps, keeper)
        keeper.finish()
    best = keeper.best
    summary = recorder.last | {
        "step": step,
        "steps": config.steps,
        "finished": (step >= config.steps or best.enough) and not keeper.stopping,
        "checkpoint": keeper.saved,
        "seconds": time.monotonic() - began,
    }
    return state, summary | ({"best_step": best.step, "best_values": best.values} if best.step else {})


class _OnDisk:
    """Keeps a run directory (`pangu_jax.training.steps.Keeper`).

    Attributes:
      best: the best step so far.
      saved: the last step that is in a checkpoint.
      stopping: whether a signal has ended the run.
    """

    def __init__(
        self,
        config: LoopConfig,
        directory: RunDirectory,
        checkpoints: Checkpoints,
        recorder: MetricsRecorder,
        progress: Progress | None,
        watchdog: Watchdog,
        agreement: StopAgreement,
        start: int,
    ):
        self._config, self._directory, self._checkpoints = config, directory, checkpoints
        self._recorder, self._progress, self._watchdog = recorder, progress, watchdog
        self._agreement = agreement
        self._start = self.saved = start
        self._epochs = EpochLines(config.source, start)
        self._validation = Validation(
            config.workload,
            config.evaluators,
            config.run,
            config.layout,
            config.mesh,
            config.batch_size,
            config.validate_every,
        )
        self.best = Best(config.selection, _as_process_0_sees(recorder.evaluations))
        self._unnamed: BestStep | None = None  # the best step, which best.json does not name yet
        self.stopping = False

    def begin(self, state: TrainState) -> bool:
        """Make up for a validation that a stop signal put off; whether there is nothing else to do."""
        start, config = self._start, self._config
        done = start >= config.steps or self.best.enough
        owed = self._validation.due(start, done) if start else []
        if owed and _as_process_0_sees(self._recorder.validated == start):
            owed = []
        made_up = bool(owed) and self._validate(start, state, owed)
        self._unnamed = self._best_step()
        self._name_best()
        if made_up:
            return start >= config.steps or self.best.enough
        if done and jax.process_index() == 0:
            more = "train.steps" if start >= config.steps else "Selection.patience"
            log.warning(
                "nothing to do: step %d of %d is done; raise %s to train on", start, config.steps, more
            )
        return done

    def record(self, step: int, metrics: Metrics, finished: float | None = None) -> None:
        now = finished or time.monotonic()
        values = self._recorder.record(step, jax.device_get(metrics), self._checkpoints, now)
        self._watchdog.beat(step)
        if self._progress:
            self._progress.update(step, values)
            for line in self._epochs.after(step):
                self._progress.say(line)

    def stops_after(self, step: int) -> bool:
        self.stopping = self._agreement.stops_after(step)
        return self.stopping

    def evaluates_after(self, step: int, last: bool) -> bool:
        # As all processes see it: validation is their common work.
        return bool(self._validation.due(step, last))

    def saves_after(self, step: int) -> bool:
        return is_due(step, self._config.checkpoint_every)

    def evaluate(self, step: int, state: TrainState, last: bool) -> tuple[bool, bool]:
        due = self._validation.due(step, last)
        self._validate(step, state, due)
        if self.best.enough and not last:
            self._validate(step, state, [one for one in self._validation.due(step, True) if one not in due])
        return self.best.step == step, self.best.enough

    def save(self, step: int, state: TrainState) -> None:
        self._checkpoints.wait()
        self._name_best()  # before what is kept is thinned out
        read = {EXAMPLES: self._config.examples_read(step)}
        self._checkpoints.save(step, state.stored(), self._config.manifest | read)
        self.saved = step
        if self.best.step == step:
            self._unnamed = self._best_step()

    def pause(self) -> None:
        self._recorder.pause()

    def finish(self) -> None:
        """Wait for the last checkpoint."""
        self._checkpoints.wait()
        if self.best.enough:
            self._unnamed = self._best_step()
        self._name_best()

    def _validate(self, step: int, state: TrainState, due: Sequence[Evaluation]) -> bool:
        """Whether anything was measured."""
        variables = Variables(state.params, state.extra, self._config.constants)
        found = self._validation(due, variables, partial(self._watchdog.beat, step))
        values: dict[str, float | None] = {name: value.value for name, value in found.items()}
        if jax.process_index() == 0:
            units.record(self._directory, {name: value.unit for name, value in found.items()})
        self._recorder.write(step, values)
        if len(due) == len(self._validation.due(step, True)):
            self.best.require_measured(values)
        self.best.see(step, values)
        if self.best.enough and jax.process_index() == 0:
            log.info("no better than step %d: the run is ended", self.best.step)
        return bool(found)

    def _best_step(self) -> BestStep:
        return BestStep(self.best.step, self.best.values, self.best.enough)

    def _name_best(self) -> None:
        """In best.json, once its checkpoint is whole; until then that of the one before is kept."""
        if self._unnamed is None or self._config.selection is None:
            return
        self._checkpoints.keep_also(self._unnamed.step)
        if jax.process_index() == 0:
            best_step.write(self._directory, self._unnamed)
        self._unnamed = None


def _as_process_0_sees(value: Any) -> Any:
    """What process 0 read of a file, as JSON can hold it: a network file system may show another process
    less. Every process calls it."""
    if jax.process_count() == 1:
        return value
    text = json.dumps(value).encode()
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    padded = np.frombuffer(text[:length].ljust(length), np.uint8)
    return json.loads(bytes(multihost_utils.broadcast_one_to_all(padded)))
