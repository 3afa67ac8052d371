"""The loop: dispatch step n + 1, then look at the metrics of step n, so the device never waits for Python."""

import logging
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh

from pangu_jax.errors import UserError
from pangu_jax.parallel.layout import Layout
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.metrics import Metrics, read
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.training import feed
from pangu_jax.training.memory import peaks
from pangu_jax.training.progress import Progress
from pangu_jax.training.signals import StopSignals
from pangu_jax.training.step import TrainState, make_eval_step
from pangu_jax.training.validation import validate
from pangu_jax.training.watchdog import Watchdog
from pangu_jax.workloads import Batch, Run, Source, Tree, Variables, Workload
from tpu_npu_backends.peak import machine_peak
from tpu_npu_backends.selection import Backend

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """All that the loop needs to know; see `train` for the meaning of each."""

    workload: Workload
    run: Run
    layout: Layout
    mesh: Mesh
    source: Source
    train_step: Callable[[TrainState, Batch, int], tuple[TrainState, dict[str, jax.Array]]]
    constants: Tree
    backend: Backend
    batch_size: int
    steps: int
    log_every: int
    validate_every: int
    checkpoint_every: int
    watchdog_seconds: float
    watchdog_abort_seconds: float
    manifest: dict[str, Any]


def run(
    plan: Plan, state: TrainState, start: int, directory: RunDirectory, checkpoints: Checkpoints
) -> tuple[TrainState, dict[str, Any]]:
    """Train from step `start` to `plan.steps`, or to a stop signal; returns the last state and a summary.

    Every row of metrics up to step N is on disk before the checkpoint of step N is begun, so a run that
    is killed anywhere and resumed writes the same rows again.

    Raises:
      UserError: the loss is not finite (names the step, its examples and the last good checkpoint), or the
        disk is full.
    """
    began = time.monotonic()
    writes = jax.process_index() == 0
    if start >= plan.steps and writes:
        log.warning("nothing to do: step %d of %d is done; raise train.steps to go on", start, plan.steps)
    jax.block_until_ready(state)  # what comes next measures the machine
    with (
        StopSignals() as signals,
        _Books(plan, directory, start, began, writes) as books,
        Progress(plan.steps, start, plan.workload.throughput_unit) if writes else nullcontext() as progress,
        Watchdog(plan.watchdog_seconds, directory.log, plan.watchdog_abort_seconds) as watchdog,
    ):
        evaluation = _Evaluation(plan)
        batches = feed.batches(plan.source, plan.mesh, plan.batch_size, start)
        saved = start

        def settle(step: int, metrics: dict[str, jax.Array], finished: float | None = None) -> None:
            values = books.settle(step, jax.device_get(metrics), checkpoints, finished or time.monotonic())
            watchdog.beat(step)
            if progress:
                progress.update(step, values)

        pending: tuple[int, dict[str, jax.Array]] | None = None
        step = start
        for step in range(start + 1, plan.steps + 1):
            batch = next(batches)
            # A platform may run a step where it is dispatched: by then the one before has long ended.
            finished = time.monotonic() if pending and pending[1]["loss"].is_ready() else None
            state, metrics = plan.train_step(state, batch, plan.workload.phase(step - 1))
            if pending:
                settle(*pending, finished)
            pending = step, metrics
            stopping = signals.requested_anywhere()
            last = step == plan.steps or stopping
            validates = last or _due(step, plan.validate_every)
            saves = last or _due(step, plan.checkpoint_every)
            if validates or saves:
                settle(*pending)
                pending = None
            if validates and not stopping:  # as all processes see it: validation is their common work
                books.write(step, evaluation(state, partial(watchdog.beat, step)))
            if saves:
                checkpoints.save(step, state.stored(), plan.manifest)
                saved = step
            if validates or saves:
                books.pause()
            if last:
                break
        checkpoints.wait()
    summary = books.last | {
        "step": step,
        "steps": plan.steps,
        "finished": step >= plan.steps,
        "checkpoint": saved,
        "seconds": time.monotonic() - began,
    }
    return state, summary


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


class _Evaluation:
    """Validation, compiled and read when it is first needed."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self._ready: tuple | None = None

    def __call__(self, state: TrainState, on_batch: Callable[[], None]) -> dict[str, float]:
        plan = self._plan
        variables = Variables(state.params, state.extra, plan.constants)
        variables = plan.workload.evaluated(variables)
        if self._ready is None:
            sources = plan.workload.validation_sources(plan.batch_size)
            self._ready = (
                make_eval_step(plan.workload, plan.run, plan.layout, plan.mesh, plan.batch_size),
                sources,
            )
        eval_step, sources = self._ready
        return validate(eval_step, variables, sources, plan.mesh, plan.batch_size, on_batch)


class _Books:
    """Metrics of a run: alarm, throughput, file. `last` holds the newest value of everything."""

    def __init__(self, plan: Plan, directory: RunDirectory, start: int, began: float, writes: bool):
        self._plan = plan
        self._metrics = Metrics(directory, after_step=start) if writes else None
        self._began = began
        self._flops = plan.workload.flops_per_step(plan.batch_size)
        self._tokens = plan.workload.tokens_per_step(plan.batch_size)
        self._peak = machine_peak(plan.backend, plan.run.dtype)
        self._speed: float | None = None  # FLOP/s, as last timed
        self._mark: tuple[int, float] | None = None
        self.last: dict[str, float] = {}
        for row in read(directory.metrics):
            self.last |= row

    def __enter__(self) -> "_Books":
        return self

    def __exit__(self, *exception) -> None:
        if self._metrics:
            self._metrics.close()

    def settle(
        self, step: int, metrics: dict[str, Any], checkpoints: Checkpoints, now: float
    ) -> dict[str, float]:
        """Check the metrics of a step that ended at `now`; write them if its turn has come.

        Returns what to show.
        """
        values = {name: float(value) for name, value in metrics.items()}
        if not math.isfinite(values["loss"]):
            self._alarm(step, values["loss"], checkpoints)
        if self._mark is None:
            # The first step after a start or a pause is not timed: it may have compiled, or overlapped.
            self._mark = step, now
        elif _due(step, self._plan.log_every):
            seconds = (now - self._mark[1]) / (step - self._mark[0])
            self._speed = self._flops / seconds
            self.last |= {
                "tokens_per_second": self._tokens / seconds,
                "mfu": self._speed / self._peak,
                "step_seconds": seconds,
            }
            self._mark = step, now
        if _due(step, self._plan.log_every) or step == self._plan.steps:
            timings = {name: self.last.get(name) for name in ("tokens_per_second", "mfu", "step_seconds")}
            memory = peaks(self._plan.backend.devices)
            self.write(step, values | timings | memory | {"seconds": now - self._began})
        return values | {name: self.last[name] for name in ("tokens_per_second", "mfu") if name in self.last}

    def write(self, step: int, values: dict[str, float | None]) -> None:
        """Append a row, without the metrics that had nothing to average."""
        values = {name: v for name, v in values.items() if v is None or not math.isnan(v)}
        if not values:
            return
        self.last |= {name: v for name, v in values.items() if v is not None}
        if self._metrics:
            self._metrics.write(step, values)

    def pause(self) -> None:
        """What comes next is not training: do not time it. A better peak may show meanwhile; rows that are
        written stay as they are."""
        self._mark = None
        self._peak = machine_peak(self._plan.backend, self._plan.run.dtype)
        if self._speed:
            self.last["mfu"] = self._speed / self._peak

    def _alarm(self, step: int, loss: float, checkpoints: Checkpoints) -> None:
        checkpoints.wait()
        good = checkpoints.latest()
        examples = self._plan.source.identity(step - 1)
        shown = ", ".join(examples[:4]) + (f" and {len(examples) - 4} more" if len(examples) > 4 else "")
        log.error("loss %s at step %d; examples of that step: %s", loss, step, ", ".join(examples))
        raise UserError(
            f"the loss is {loss} at step {step}; its batch is {shown} (all in run.log); "
            + (f"the last good checkpoint is step {good}" if good else "there is no checkpoint yet")
            + "; lower the learning rate, or leave these examples out, and run the same command again"
        )
