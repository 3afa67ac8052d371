"""The loop: dispatch step n + 1, then look at the metrics of step n, so the device never waits for Python."""

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
from pangu_jax.runs import units
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.training import stop_agreement
from pangu_jax.training.loop_config import LoopConfig
from pangu_jax.training.progress import Progress
from pangu_jax.training.recorder import MetricsRecorder
from pangu_jax.training.signals import StopSignals
from pangu_jax.training.step import TrainState
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
        validation = Validation(
            config.workload,
            config.evaluators,
            config.run,
            config.layout,
            config.mesh,
            config.batch_size,
            config.validate_every,
        )
        batches = feed.batches(
            config.source, config.mesh, config.batch_size, start, config.workload.batch_axes()
        )
        saved = start

        def record(step: int, metrics: dict[str, jax.Array], finished: float | None = None) -> None:
            values = recorder.record(step, jax.device_get(metrics), checkpoints, finished or time.monotonic())
            watchdog.beat(step)
            if progress:
                progress.update(step, values)

        def validate(step: int, due: Sequence[Evaluation]) -> bool:
            variables = Variables(state.params, state.extra, config.constants)
            found = validation(due, variables, partial(watchdog.beat, step))
            if writes:
                units.record(directory, {name: value.unit for name, value in found.items()})
            recorder.write(step, {name: value.value for name, value in found.items()})
            return bool(found)

        done = start >= config.steps
        # A signal that came when a validation was due has put it off.
        owed = validation.due(start, done) if start else []
        if owed and _as_process_0_sees(recorder.validated == start):
            owed = []
        if not (owed and validate(start, owed)) and done and writes:
            log.warning(
                "nothing to do: step %d of %d is done; raise train.steps to train on", start, config.steps
            )

        pending: tuple[int, dict[str, jax.Array]] | None = None
        step, stopping = start, False
        for step in range(start + 1, config.steps + 1):
            batch = next(batches)
            # A platform may run a step where it is dispatched: by then the one before has long ended.
            finished = time.monotonic() if pending and _is_ready(pending[1]["loss"]) else None
            state, metrics = config.train_step(state, batch, config.workload.phase(step - 1))
            if pending:
                record(*pending, finished)
            pending = step, metrics
            stopping = agreement.stops_after(step)
            last = step == config.steps or stopping
            # As all processes see it: validation is their common work.
            due = [] if stopping else validation.due(step, last)
            saves = last or is_due(step, config.checkpoint_every)
            if saves or due:
                record(*pending)
                pending = None
            if due:
                validate(step, due)
            if saves:
                checkpoints.save(step, state.stored(), config.manifest)
                saved = step
            if saves or due:
                recorder.pause()
            if last:
                break
        checkpoints.wait()
    summary = recorder.last | {
        "step": step,
        "steps": config.steps,
        "finished": step >= config.steps and not stopping,
        "checkpoint": saved,
        "seconds": time.monotonic() - began,
    }
    return state, summary


def _is_ready(array: Any) -> bool:
    """Whether an array has been computed; jax's type for arrays does not speak of it."""
    return array.is_ready()


def _as_process_0_sees(flag: bool) -> bool:
    """A network file system may show another process less. Every process calls it."""
    return bool(multihost_utils.broadcast_one_to_all(np.bool_(flag))) if jax.process_count() > 1 else flag
