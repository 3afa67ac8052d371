"""Metrics of a run as they come: the alarm, throughput and the file."""

import logging
import math
from typing import Any

from pangu_jax.errors import UserError
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.metrics import Metrics, read
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.training.loop_config import LoopConfig
from pangu_jax.training.memory import peaks
from pangu_jax.training.step import means
from pangu_jax.training.validation import is_due
from tpu_npu_backends.peak import machine_peak

log = logging.getLogger(__name__)

# By any of these, not finite, a step would poison the state that it leaves: what it is, and what helps.
OTHER_EXAMPLES = "lower the learning rate, or leave these examples out"
VITAL = {
    "loss": ("the loss", OTHER_EXAMPLES),
    "grad_norm": ("the norm of the gradient", OTHER_EXAMPLES),
    "learning_rate": ("the learning rate", "correct its schedule"),
    "extra_norm": ("the norm of the extra state", OTHER_EXAMPLES),
}


class MetricsRecorder:
    """Metrics of a run: alarm, throughput, file.

    Attributes:
      last: the newest value of everything.
      evaluations: rows on file when the run began, of what was measured beside training.
      validated: the last step of these.
    """

    def __init__(self, config: LoopConfig, directory: RunDirectory, start: int, began: float, writes: bool):
        self._config = config
        self._metrics = Metrics(directory, after_step=start) if writes else None
        self._began = began
        self._flops = config.workload.flops_per_step(config.batch_size)
        self._tokens = config.workload.tokens_per_step(config.batch_size)
        self._peak = machine_peak(config.backend, config.run.dtype)
        self._speed: float | None = None  # FLOP/s, as last timed
        self._mark: tuple[int, float] | None = None
        self._odd: set[str] = set()
        self.last: dict[str, float | None] = {}
        rows = read(directory.metrics)
        for row in rows:
            self.last |= row
        self.evaluations = [row for row in rows if "loss" not in row]
        self.validated: int | None = self.evaluations[-1]["step"] if self.evaluations else None

    def __enter__(self) -> "MetricsRecorder":
        return self

    def __exit__(self, *exception) -> None:
        if self._metrics:
            self._metrics.close()

    def record(
        self, step: int, metrics: dict[str, Any], checkpoints: Checkpoints, now: float
    ) -> dict[str, float]:
        """Check the metrics of a step that ended at `now`; write them if its turn has come.

        What comes of a step that is not sound is never saved: its metrics are looked at before its own state
        is, and before that of any step after it. Returns what to show.
        """
        values = means(metrics)
        for name in VITAL:
            if name in values and not math.isfinite(values[name]):
                self._alarm(step, name, values[name], checkpoints)
        if self._mark is None:
            # The first step after a start or a pause is not timed: it may have compiled, or overlapped.
            self._mark = step, now
        elif is_due(step, self._config.log_every):
            seconds = (now - self._mark[1]) / (step - self._mark[0])
            self._speed = self._flops / seconds
            self.last |= {
                "tokens_per_second": self._tokens / seconds,
                "mfu": self._speed / self._peak,
                "step_seconds": seconds,
            }
            self._mark = step, now
        if is_due(step, self._config.log_every) or step == self._config.steps:
            timings = {name: self.last.get(name) for name in ("tokens_per_second", "mfu", "step_seconds")}
            memory = peaks(self._config.backend.devices)
            self.write(step, values | timings | memory | {"seconds": now - self._began})
        speed = {name: self.last.get(name) for name in ("tokens_per_second", "mfu")}
        return values | {name: value for name, value in speed.items() if value is not None}

    def write(self, step: int, values: dict[str, float | None]) -> None:
        """Append a row, where it has anything. What is not finite is null there, and warned of once."""
        if not values:
            return
        odd = {name for name, v in values.items() if v is not None and not math.isfinite(v)}
        self.last |= {name: None if name in odd else v for name, v in values.items() if v is not None}
        if self._metrics:
            self._metrics.write(step, values)
            if new := [name for name in values if name in odd - self._odd]:
                log.warning("step %d: not finite, null in metrics.jsonl: %s", step, ", ".join(new))
            self._odd |= odd

    def pause(self) -> None:
        """What comes next is not training: do not time it. A better peak may show meanwhile; rows that are
        written stay as they are."""
        self._mark = None
        self._peak = machine_peak(self._config.backend, self._config.run.dtype)
        if self._speed:
            self.last["mfu"] = self._speed / self._peak

    def _alarm(self, step: int, name: str, value: float, checkpoints: Checkpoints) -> None:
        checkpoints.wait()
        good = checkpoints.latest()
        what, remedy = VITAL[name]
        examples = self._config.source.identity(step - 1)
        shown = ", ".join(examples[:4]) + (f" and {len(examples) - 4} more" if len(examples) > 4 else "")
        log.error("%s %s at step %d; examples of that step: %s", name, value, step, ", ".join(examples))
        raise UserError(
            f"{what} is {value} at step {step}; its batch is {shown} (all in run.log); "
            + (f"the last good checkpoint is step {good}" if good else "there is no checkpoint yet")
            + f"; {remedy}, and run the same command again"
        )
