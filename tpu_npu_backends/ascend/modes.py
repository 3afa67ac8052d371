"""What becomes of the programs that platform `npu` sees: PANGU_ASCEND_MODE = off, compile or verify.

`off`: they run, simulated on the CPU by XLA; no kernels are made.
`compile`: each is also compiled to Ascend kernels, and a report is kept.
`verify`: besides, the kernels run in the simulator on the inputs of every execution, and an output that
differs from XLA's by more than the tolerance is an error, unless rounding alone moves those few elements as
far (`sensitivity.py`).

A program that runs on several devices is seen before it is partitioned: it is compiled as the whole that it
is then, and not verified, since no device computes that whole. Reports say so, and a line at the end.
"""

import atexit
import json
import logging
import math
import os
import re
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tpu_npu_backends import user_cache
from tpu_npu_backends.ascend.comparison import Difference, differences, has_half_precision
from tpu_npu_backends.ascend.plugin.hooks import CompiledProgram, HookAnswer, RefusedError
from tpu_npu_backends.ascend.sensitivity import Sensitivity
from tpu_npu_backends.errors import BackendError

if TYPE_CHECKING:
    from tpu_npu_backends.ascend.compiler.program import AscendProgram

MODES = ("off", "compile", "verify")
TARGET = "Ascend910B1"
REPORT = "plugin.json"

# The part of the elements of a program's outputs that may differ by more than the tolerance because rounding
# moves them as far; more of them are a disagreement.
FLOAT_MAGNIFIED = 1e-3
HALF_MAGNIFIED = 1e-2

_log = logging.getLogger(__name__)


def current() -> str:
    """The mode that the environment asks for; BackendError for one that does not exist."""
    mode = os.environ.get("PANGU_ASCEND_MODE") or "off"
    if mode not in MODES:
        raise BackendError(f"PANGU_ASCEND_MODE={mode}: it is one of {', '.join(MODES)}")
    return mode


def watcher(mode: str) -> "Watcher | None":
    """Who watches the programs in that mode; None in `off`. BackendError where the compiler is missing."""
    if mode == "off":
        return None
    from tpu_npu_backends.ascend.compiler import bishengir

    bishengir.version()  # says what is missing before the first program is compiled
    watching = Watcher(mode, _reports_folder())
    atexit.register(watching.sum_up)
    return watching


def _reports_folder() -> Path:
    """Where reports go: PANGU_ASCEND_REPORTS, or a new folder for this process in the user's cache."""
    named = os.environ.get("PANGU_ASCEND_REPORTS")
    if named:
        folder = Path(named)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    parent = user_cache.folder() / "ascend" / "reports"
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=parent))


def _file_name(name: str) -> str:
    """A module's name without what a path would take for a folder."""
    return re.sub(r"[^\w.-]", "_", name)[:80]


@dataclass
class ProgramRecord:
    """What is kept of one program, in `plugin.json` of its folder beside the compiler's own files.

    Attributes:
      name: of the module, such as "jit_step".
      devices: on how many it runs.
      compiled: "whole" (one device), "unpartitioned" (what it was before XLA split it), or why it was not.
      verification: what is done with its executions, and why nothing where nothing is.
      executions: how many were verified.
      largest_difference: over all verified outputs, relative to the largest value of an output;
        null in the file where it is infinite (NaN, or another shape).
      magnified: elements left out of that, over all executions: they differ by more than the tolerance, and
        no further than XLA's own result may move with the last bits of the inputs.
    """

    name: str
    devices: int
    compiled: str
    verification: str
    executions: int = 0
    largest_difference: float = 0.0
    magnified: int = 0


@dataclass
class _Watched:
    record: ProgramRecord
    folder: Path
    code: bytes
    program: "AscendProgram | None" = None
    half_precision: bool = False
    sensitivity: Sensitivity | None = None  # made when first needed


@dataclass
class Watcher:
    """Compiles, records and verifies the programs of a process.

    Attributes:
      mode: "compile" or "verify".
      folder: where a folder per program is made.
    """

    mode: str
    folder: Path
    _programs: dict[int, _Watched] = field(default_factory=dict)

    def compiled(self, program: CompiledProgram) -> HookAnswer:
        """A hook: compiles a program to kernels and writes its report.

        RefusedError in `verify` where that cannot be done; in `compile` the report and a warning say why.
        """
        from tpu_npu_backends.ascend import compiler

        alone = program.devices == 1
        record = ProgramRecord(
            program.name, program.devices, "whole" if alone else "unpartitioned", "not asked for"
        )
        watched = _Watched(record, self.folder / f"{_file_name(program.name)}-{program.id}", program.code)
        watched.folder.mkdir(parents=True, exist_ok=True)
        self._programs[program.id] = watched
        try:
            watched.program = compiler.compile_program(program.code, target=TARGET)
            watched.program.write(watched.folder)
        except BackendError as error:
            record.compiled = f"no: {error}"
            self._write(watched)
            if self.mode == "verify" and alone:
                raise RefusedError(f"{program.name} cannot be compiled for {TARGET}: {error}") from None
            _log.warning("%s was not compiled for %s: %s", program.name, TARGET, error)
            return HookAnswer.GO_ON
        if self.mode == "verify":
            record.verification = (
                "every execution"
                if alone
                else f"none: it runs on {program.devices} devices, and the kernels are of the whole"
            )
        self._write(watched)
        if self.mode == "compile" or not alone:
            return HookAnswer.GO_ON
        watched.half_precision = has_half_precision(program.code)
        return HookAnswer.WATCH_EXECUTIONS

    def executed(self, id: int, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> None:
        """A hook: runs the kernels on the same inputs. RefusedError where an output differs too much."""
        watched = self._programs[id]
        record = watched.record
        if watched.program is None:
            raise RefusedError(f"{record.name} was executed and never compiled for {TARGET}")
        try:
            simulated = watched.program.run(inputs)
        except BackendError as error:
            raise RefusedError(f"{record.name} cannot be simulated: {error}") from None
        found = differences(outputs, simulated, watched.half_precision)
        if any(it.excess() > 1 for it in found):
            found = self._without_magnified(watched, inputs, outputs, simulated) or found
        record.executions += 1
        record.largest_difference = max([record.largest_difference, *(it.relative for it in found)])
        record.magnified += sum(it.magnified for it in found)
        self._write(watched)
        worst = max(found, key=Difference.excess, default=None)
        if worst is not None and worst.excess() > 1:
            raise RefusedError(
                f"{record.name}: the kernels for {TARGET} disagree with XLA: {worst}; "
                f"they are in {watched.folder}"
            )

    def _without_magnified(
        self,
        watched: _Watched,
        inputs: list[np.ndarray],
        outputs: list[np.ndarray],
        simulated: list[np.ndarray],
    ) -> list[Difference] | None:
        """The differences that rounding alone does not make; None where it is unknown or makes many."""
        try:
            watched.sensitivity = watched.sensitivity or Sensitivity(watched.code)
            spread = watched.sensitivity.spread(inputs, outputs, watched.half_precision)
        except Exception as error:  # XLA's own, of a program that its CPU client cannot run
            _log.warning("%s: what rounding does to it is unknown: %s", watched.record.name, error)
            return None
        found = differences(outputs, simulated, watched.half_precision, spread)
        part = sum(it.magnified for it in found) / max(1, sum(x.size for x in outputs))
        return found if part <= (HALF_MAGNIFIED if watched.half_precision else FLOAT_MAGNIFIED) else None

    def sum_up(self) -> None:
        """One line for a person at the end of the process: what was compiled, verified, and what was not."""
        records = [it.record for it in self._programs.values()]
        if not records:
            return
        failed = sum(it.compiled.startswith("no") for it in records)
        split = sum(it.compiled == "unpartitioned" for it in records)
        parts = [f"{len(records) - failed} programs compiled for {TARGET}"]
        parts += [f"{failed} could not be"] if failed else []
        parts += [f"{split} of them as they were before partitioning"] if split else []
        if self.mode == "verify":
            alone = [it for it in records if it.executions]
            worst = max((it.largest_difference for it in alone), default=0.0)
            magnified = sum(it.magnified for it in alone)
            but = f" but for {magnified} elements that rounding alone moves as far" if magnified else ""
            parts.append(
                f"{sum(it.executions for it in alone)} executions of {len(alone)} verified, largest "
                f"difference {worst:.1e}{but}; {len(records) - len(alone)} programs not verified"
            )
        print(f"{'; '.join(parts)}. Reports: {self.folder}", file=sys.stderr)

    def _write(self, watched: _Watched) -> None:
        kept: dict[str, Any] = asdict(watched.record)
        if not math.isfinite(watched.record.largest_difference):
            kept["largest_difference"] = None  # JSON has no infinity
        text = json.dumps(kept, indent=1, ensure_ascii=False, allow_nan=False)
        (watched.folder / REPORT).write_text(text + "\n", "utf-8")
