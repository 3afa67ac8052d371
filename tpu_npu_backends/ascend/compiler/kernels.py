"""Kernels by bishengir-compile, two at a time, kept by the hash of what they were made from."""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from tpu_npu_backends.errors import BackendError

FORMAT = 1  # of what is kept
TARGETS = ("Ascend910B1", "Ascend910B2", "Ascend910B3", "Ascend910B4")
_AT_ONCE = 2
_SECONDS = 60  # after which the tool is stopped
_DUMP = re.compile(r"(?m)^// -----// IR Dump Before [^\n]*\n")
# The graph-sync solver leaves out the synchronisation between cube and vector cores (ascendnpu-ir 1.2).
_FLAGS = (
    "-enable-hfusion-compile=true",
    "-enable-hivm-compile=true",
    "--enable-hivm-cross-core-gss=false",
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
      instructions: HIVM as instructions at planned addresses, generic form; empty where it was refused.
      hivm: the module that hivmc would take; empty where it was refused.
      refusal: the tool's words.
      seconds: how long the tool took, once.
    """

    key: str
    instructions: str = ""
    hivm: str = ""
    refusal: str = ""
    seconds: float = 0.0

    @property
    def compiled(self) -> bool:
        """Whether there is a kernel."""
        return bool(self.instructions)


def default_cache() -> Path:
    """Where kernels are kept: below the user's cache folder."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "pangu_jax" / "ascend"


class Compiler:
    """bishengir-compile for one target.

    Args:
      target: an Ascend chip, such as "Ascend910B1".
      cache_dir: where kernels are kept; `default_cache()` when None.
      tell: called with what is being done, how many are done, and of how many.

    Raises:
      BackendError: the tool is not installed, does not run here, or does not know the target.
    """

    def __init__(
        self,
        target: str,
        cache_dir: Path | None = None,
        tell: Callable[[str, int, int], None] | None = None,
    ):
        if target not in TARGETS:
            raise BackendError(f"unknown Ascend target {target!r}: there are {', '.join(TARGETS)}")
        self.target = target
        self._tool = _tool()
        self.version = importlib.metadata.version("ascendnpu-ir")
        self._folder = Path(cache_dir) if cache_dir else default_cache()
        self._tell = tell or (lambda what, done, total: None)
        self.runs = 0  # of the tool, kernels from the cache not counted
        self.seconds: list[float] = []  # of each run

    def key(self, text: str) -> str:
        """What a kernel is kept by."""
        told = json.dumps([FORMAT, self.version, self.target, _FLAGS])
        return hashlib.sha256(f"{told}\n{text}".encode()).hexdigest()[:24]

    def compile(self, texts: Sequence[str]) -> list[Kernel]:
        """A kernel for each text, refused ones too; the same text is compiled once."""
        keys = [self.key(text) for text in texts]
        wanted = dict(zip(keys, texts, strict=True))
        found = {key: kept for key in wanted if (kept := self._read(key)) is not None}
        missing = [key for key in wanted if key not in found]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            made = pool.map(lambda key: self._run(key, wanted[key]), missing)
            for done, kernel in enumerate(made, start=1):
                found[kernel.key] = kernel
                self._tell("kernels", done, len(missing))
        return [found[key] for key in keys]

    def _read(self, key: str) -> Kernel | None:
        try:
            return Kernel(**json.loads((self._folder / f"{key}.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError):  # not there, or half a file of another version
            return None

    def _run(self, key: str, text: str) -> Kernel:
        with tempfile.TemporaryDirectory(prefix="ascend-") as folder:
            source = Path(folder) / "kernel.mlir"
            source.write_text(text, "utf-8")
            # The tool ends by calling hivmc, which only CANN has and which makes binaries. None is made here:
            # its place is taken by a program that does nothing.
            (Path(folder) / "hivmc").symlink_to(shutil.which("true") or "/bin/true")
            command = [
                str(self._tool),
                str(source),
                *_FLAGS,
                f"--target={self.target}",
                f"--save-temps={folder}",
            ]
            path = f"{folder}{os.pathsep}{self._tool.parent}{os.pathsep}{os.environ.get('PATH', '')}"
            began = time.monotonic()
            try:
                ran = subprocess.run(
                    [*command, "-o", str(Path(folder) / "kernel.o")],
                    env={**os.environ, "PATH": path},
                    cwd=folder,
                    capture_output=True,
                    text=True,
                    timeout=_SECONDS,
                )
            except subprocess.TimeoutExpired:
                kernel = Kernel(key, refusal=f"the tool did not end within {_SECONDS} s", seconds=_SECONDS)
            except OSError as error:
                raise BackendError(f"bishengir-compile does not run here: {error.strerror}") from None
            else:
                kernel = _result(key, ran, Path(folder), time.monotonic() - began)
        self.runs += 1
        self.seconds.append(kernel.seconds)
        self._write(kernel)
        return kernel

    def _write(self, kernel: Kernel) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            fresh = self._folder / f"{kernel.key}.{os.getpid()}"
            fresh.write_text(json.dumps(asdict(kernel)), "utf-8")
            fresh.rename(self._folder / f"{kernel.key}.json")
        except OSError as error:
            raise BackendError(
                f"kernels cannot be kept in {self._folder}: {error.strerror}; name another folder"
            ) from None


def _result(key: str, ran: subprocess.CompletedProcess, folder: Path, seconds: float) -> Kernel:
    dumps = _DUMP.split(ran.stderr + ran.stdout)
    seconds = round(seconds, 3)
    if ran.returncode == 0 and len(dumps) > 1:
        hivm = (folder / "module.hivm.opt.mlir").read_text("utf-8")
        return Kernel(key, instructions=dumps[-1], hivm=hivm, seconds=seconds)
    said = [line for line in ran.stderr.splitlines() if "error" in line.lower()]
    said = [re.sub(r'^loc\("[^"]*":\d+:\d+\): ', "", line) for line in said]
    said = [line for line in said if "Failed to run BiSheng" not in line] or said
    what = said[0] if said else f"it ended with code {ran.returncode}"
    return Kernel(key, refusal=what[:300], seconds=seconds)


def _tool() -> Path:
    machine = platform.machine()
    if machine not in ("x86_64", "aarch64"):
        raise BackendError(
            f"the Ascend compiler has no build for {machine}: it needs x86_64 or aarch64 Linux"
        )
    spec = importlib.util.find_spec("ascendnpuir")
    tool = Path(spec.origin).parent / "bin" / "bishengir-compile" if spec and spec.origin else None
    if tool is None or not tool.is_file():
        raise BackendError("the Ascend compiler is not installed: pip install 'pangu-jax[ascend]'")
    return tool
