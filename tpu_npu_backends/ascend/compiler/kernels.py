"""Kernels by bishengir-compile, two at a time, kept by the hash of what they were made from."""

import contextlib
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tpu_npu_backends import user_cache
from tpu_npu_backends.ascend.compiler import bishengir
from tpu_npu_backends.errors import BackendError

FORMAT = 2  # of what is kept
_AT_ONCE = 2
# Buffers that the tool counts with when its own count overflows the local memory; more make smaller tiles.
_BUFFERS = (16, 32, 64)
_SECONDS = 20  # of CPU time, after which the tool is stopped
_WAIT = 300  # seconds, for a machine that does something else: what was stopped after it is tried again
_MEMORY = 6 << 30  # bytes of address space that it may take
_DUMP = re.compile(r"(?m)^// -----// IR Dump Before [^\n]*\n")
# What is simulated is the module as it is before instructions become calls of the tool's library.
_DUMP_FLAGS = (
    "--mlir-disable-threading",
    "--mlir-print-ir-before=convert-hivm-to-std",
    "--mlir-print-ir-module-scope",
    "--mlir-print-op-generic",
)


@dataclass(frozen=True)
class Kernel:
    """What the tool made of a kernel, or why it made nothing.

    Attributes:
      key: the hash of its text, the tool's version, its flags and the target.
      source: what the tool was given, tensor-level MLIR.
      instructions: HIVM as instructions at planned addresses, generic form; empty where the tool refused.
      hivm: the module that hivmc would take; empty where the tool refused.
      refusal: why it is not used: the tool's words, or what the check found.
      seconds: how long the tool took, once.
      checked: the version of the check that it was run through; empty where it was not.
      difference: how far it was off; None where the simulator cannot run it.
      on_chip: bytes that it uses of each memory, by HIVM's name ("ub", "cbuf" for L1, "cc" for L0C).
    """

    key: str
    source: str
    instructions: str = ""
    hivm: str = ""
    refusal: str = ""
    seconds: float = 0.0
    checked: str = ""
    difference: float | None = None
    on_chip: dict[str, int] = field(default_factory=dict)

    @property
    def compiled(self) -> bool:
        """Whether there is a kernel."""
        return bool(self.instructions) and not self.refusal


def default_cache() -> Path:
    """Where kernels are kept: below the user's cache folder."""
    return user_cache.folder() / "ascend"


class Compiler:
    """bishengir-compile for one target.

    Args:
      target: an Ascend chip, such as "Ascend910B1".
      cache_dir: where kernels are kept; `default_cache()` when None.
      on_progress: called with what is being done, how many are done, and of how many.

    Raises:
      BackendError: the tool is not installed, does not run here, or does not know the target.
    """

    def __init__(
        self,
        target: str,
        cache_dir: Path | None = None,
        on_progress: Callable[[str, int, int], None] | None = None,
    ):
        self.target = bishengir.check_target(target)
        self.version = bishengir.version()
        self._folder = Path(cache_dir) if cache_dir else default_cache()
        self.on_progress = on_progress or (lambda what, done, total: None)
        self.runs = 0  # of the tool, kernels from the cache not counted
        self.seconds: list[float] = []  # of each run

    def key(self, text: str) -> str:
        """What a kernel is kept by."""
        settings = json.dumps([FORMAT, self.version, self.target, bishengir.FLAGS])
        return hashlib.sha256(f"{settings}\n{text}".encode()).hexdigest()[:24]

    def compile(self, texts: Sequence[str], check: Callable[[Kernel], Kernel]) -> list[Kernel]:
        """A kernel for each text, refused ones too; the same text is compiled once.

        `check` is given each, kept ones first, while the tool is at work on others; what it returns counts.
        """
        keys = [self.key(text) for text in texts]
        wanted = dict(zip(keys, texts, strict=True))
        found = {key: kept for key in wanted if (kept := self._read(key)) is not None}
        missing = [key for key in wanted if key not in found]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            made = [pool.submit(self._make, key, wanted[key]) for key in missing]
            found = {key: check(kernel) for key, kernel in found.items()}
            for done, finished in enumerate(as_completed(made), start=1):
                kernel = check(finished.result())
                found[kernel.key] = kernel
                self.on_progress("compiling kernels", done, len(missing))
        return [found[key] for key in keys]

    def _read(self, key: str) -> Kernel | None:
        try:
            return Kernel(**json.loads((self._folder / f"{key}.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError):  # not there, or half a file of another version
            return None

    def _make(self, key: str, text: str) -> Kernel:
        """A kernel, by the first number of buffers that the tool's plan of its local memory fits."""
        for number in (None, *_BUFFERS):
            source = text
            if number is not None:
                source = bishengir.with_flags(text, f"--hfusion-max-buffer-count-tuning={number}")
            kernel = self._run(key, source)
            if "ub overflow" not in kernel.refusal:
                break
        if not kernel.refusal.endswith(f"within {_WAIT} s"):
            self.keep(kernel)
        return kernel

    def _run(self, key: str, text: str) -> Kernel:
        with tempfile.TemporaryDirectory(prefix="ascend-") as folder:
            source = Path(folder) / "kernel.mlir"
            source.write_text(text, "utf-8")
            # The tool ends by calling hivmc, which only CANN has and which makes binaries. None is made here:
            # its place is taken by a program that does nothing.
            (Path(folder) / "hivmc").symlink_to(shutil.which("true") or "/bin/true")
            command = bishengir.command(source, self.target, Path(folder) / "kernel.o")
            path = f"{folder}{os.pathsep}{Path(command[0]).parent}{os.pathsep}{os.environ.get('PATH', '')}"
            began = time.monotonic()
            environment = {**os.environ, "PATH": path}
            ran = _run_limited([*command, *_DUMP_FLAGS, f"--save-temps={folder}"], folder, environment)
            seconds = time.monotonic() - began
            if ran is None or ran.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
                limit = f"{_WAIT} s" if ran is None else f"{_SECONDS} s of CPU time"
                kernel = Kernel(key, text, refusal=f"the tool did not end within {limit}", seconds=seconds)
            else:
                kernel = _result(key, text, ran, Path(folder), seconds)
        self.runs += 1
        self.seconds.append(kernel.seconds)
        return kernel

    def keep(self, kernel: Kernel) -> None:
        """For the next time."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            fresh = self._folder / f"{kernel.key}.{os.getpid()}"
            fresh.write_text(json.dumps(asdict(kernel)), "utf-8")
            fresh.rename(self._folder / f"{kernel.key}.json")
        except OSError as error:
            raise BackendError(
                f"kernels cannot be kept in {self._folder}: {error.strerror}; name another folder"
            ) from None


def _run_limited(
    command: list[str], folder: str, environment: dict[str, str]
) -> subprocess.CompletedProcess | None:
    """Run the tool with a limit on time and memory: on some kernels it never ends, or takes all there is.

    None where it did not end in time.
    """
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    except OSError as error:
        raise BackendError(f"bishengir-compile does not run here: {error.strerror}") from None
    with process, contextlib.suppress(ProcessLookupError):  # it may have ended
        resource.prlimit(process.pid, resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (_SECONDS, _SECONDS + 1))
        try:
            out, err = process.communicate(timeout=_WAIT)
        except subprocess.TimeoutExpired:
            process.kill()
            return None
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _result(key: str, source: str, ran: subprocess.CompletedProcess, folder: Path, seconds: float) -> Kernel:
    dumps = _DUMP.split(ran.stderr + ran.stdout)
    seconds = round(seconds, 3)
    if ran.returncode == 0 and len(dumps) > 1 and "main_multi_" in dumps[-1]:
        return Kernel(key, source, refusal="it became several kernels", seconds=seconds)
    if ran.returncode == 0 and len(dumps) > 1:
        hivm = (folder / "module.hivm.opt.mlir").read_text("utf-8")
        return Kernel(key, source, instructions=dumps[-1], hivm=hivm, seconds=seconds)
    said = [line for line in ran.stderr.splitlines() if "error" in line.lower()]
    said = [re.sub(r'^loc\("[^"]*":\d+:\d+\): ', "", line) for line in said]
    said = [line for line in said if "Failed to run BiSheng" not in line] or said
    what = said[0] if said else f"it ended with code {ran.returncode}"
    return Kernel(key, source, refusal=what[:300], seconds=seconds)
