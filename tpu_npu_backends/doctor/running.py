"""Starting the probe, reading its answers, and ending it when it has fallen silent."""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tpu_npu_backends.descriptions import BACKENDS
from tpu_npu_backends.doctor.findings import Finding

PROBE = (sys.executable, "-m", "tpu_npu_backends.doctor.probe")
# Compiling a first program takes an accelerator's host half a minute at most; a hanging driver takes longer.
SILENT_SECONDS = 120

OnCheck = Callable[[str], None]


def try_checks(
    platform: str,
    checks: Sequence[str],
    *,
    library: Path | None = None,
    silent_seconds: float = SILENT_SECONDS,
    on_check: OnCheck | None = None,
) -> list[Finding]:
    """Findings of the probe's checks; one that never answered, or crashed, is among them.

    Args:
      platform: the backend.
      checks: names of `probe.CHECKS`, carried out in that order up to the first that is wrong.
      library: the plugin, for the check of that name.
      silent_seconds: after so many seconds without a word the process is killed.
      on_check: called with each check that begins.
    """
    command = [*PROBE, platform, *checks] + (["--library", str(library)] if library else [])
    reading, writing = os.pipe()
    with tempfile.TemporaryFile("w+b") as said, os.fdopen(reading, "rb") as pipe:
        process = subprocess.Popen(
            [*command, "--to", str(writing)],
            pass_fds=(writing,),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=_environment(platform),
            start_new_session=True,  # a driver's own processes end with it
        )
        os.close(writing)
        try:
            answers = _Answers(on_check)
            silent = not answers.read(pipe.fileno(), silent_seconds)
        finally:
            _kill(process)
        status = process.wait()
        findings = answers.findings
        if silent:
            remedy = "the driver hangs: look at its log, and at who else uses the device"
            answer = f"no answer within {silent_seconds:g} s, and ended"
            findings.append(Finding(answers.current or checks[0], answer, "wrong", remedy))
        elif status and not answers.finished(checks):
            said.seek(0)
            ended = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
            last = _last_line(said.read().decode("utf-8", "replace"))
            findings.append(
                Finding(answers.current or checks[0], f"the process ended with {ended}: {last}", "wrong")
            )
    return findings


class _Answers:
    """What came through the pipe so far."""

    def __init__(self, on_check: OnCheck | None):
        self.findings: list[Finding] = []
        self.current = ""
        self._begun: list[str] = []
        self._answered = True
        self._on_check = on_check

    def read(self, descriptor: int, silent_seconds: float) -> bool:
        """Until the other end closes: True. False after so many seconds without a byte."""
        unread = b""
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while selector.select(silent_seconds):
                chunk = os.read(descriptor, 2**16)
                if not chunk:
                    return True
                *lines, unread = (unread + chunk).split(b"\n")
                for line in lines:
                    self._take(json.loads(line))
        return False

    def _take(self, answer: dict[str, Any]) -> None:
        if "begins" in answer:
            self.current = answer["begins"]
            self._begun.append(self.current)
            self._answered = False
            if self._on_check:
                self._on_check(self.current)
        else:
            self._answered = True
            self.findings.append(Finding(**answer))

    def finished(self, checks: Sequence[str]) -> bool:
        """Whether every check was answered: then a crash on the way out is nobody's loss."""
        told_wrong = any(finding.status == "wrong" for finding in self.findings)
        return told_wrong or (self._answered and self._begun == list(checks))


def _environment(platform: str) -> dict[str, str]:
    """JAX in the probe looks at this platform alone, and npu makes no kernels of what it runs."""
    own = {"JAX_PLATFORMS": BACKENDS[platform].jax_platforms, "PANGU_ASCEND_MODE": "off"}
    return {**os.environ, **own}


def _kill(process: subprocess.Popen) -> None:
    """The process and all that it started; nothing when it has ended by itself."""
    deadline = time.monotonic() + 1.0
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)  # it has closed its pipe and is on its way out
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
