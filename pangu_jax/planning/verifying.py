"""Verifying predictions: the step of a layout is compiled for chips that need not be there.

What a compiler said is kept by the hash of the program it was given, so asking again costs only the tracing.
"""

import gzip
import hashlib
import importlib.metadata
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from pangu_jax.errors import UserError
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.predictions import Prediction
from tpu_npu_backends import cpu, selection, topologies, tpu
from tpu_npu_backends.compiling import compile_for
from tpu_npu_backends.errors import BackendError
from tpu_npu_backends.topologies import Topology

FORMAT = 1  # of what is kept


@dataclass(frozen=True)
class Verified:
    """A layout and what its compiled program tells.

    Attributes:
      prediction: what was expected.
      bytes_per_chip: arguments, results and temporary memory; None where it did not compile.
      step_s: from the compiler's cycles and a model of the links; None where no compiler tells cycles.
      compute_s: of it, what would be left if links were infinitely fast.
      compile_s: seconds of the compiler, when it ran.
      cached: whether it ran in an earlier call.
      hlo_file: where the optimised HLO text was written.
      error: why it did not compile.
    """

    prediction: Prediction
    bytes_per_chip: int | None = None
    step_s: float | None = None
    compute_s: float | None = None
    compile_s: float | None = None
    cached: bool = False
    hlo_file: str | None = None
    error: str | None = None

    @property
    def value(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "compiled_bytes_per_chip": self.bytes_per_chip,
            "compiled_step_s": self.step_s,
            "compiled_compute_s": self.compute_s,
            "compile_s": self.compile_s,
            "cached": self.cached,
            "hlo_file": self.hlo_file,
            "error": self.error,
        }


class Verifier:
    """Compiles steps for one topology. BackendError at once where there is no compiler for it.

    Args:
      topology: the chips.
      dump_hlo: a folder for HLO texts, made when missing; None writes none.
    """

    def __init__(self, topology: Topology, dump_hlo: str | Path | None = None):
        self._topology = topology
        self._folder = Path(dump_hlo) if dump_hlo else None
        if self._folder:
            _make_writable(self._folder)
        # Tracing happens on this machine's CPU: chips that are there are not taken for it.
        selection.select(topology.name if topology.chip.platform == "cpu" else "cpu")
        self._devices = topologies.devices(topology)

    def verify(
        self, predictions: Sequence[Prediction], workload: Any, optimizer: Any, batch_size: int
    ) -> list[Verified]:
        """Each prediction beside what the compiler says, one program after the other."""
        console, found = Console(stderr=True, force_jupyter=False), []
        for number, prediction in enumerate(predictions, start=1):
            what = f"{number} of {len(predictions)}: {prediction.layout.describe()}"
            with console.status(f"compiling {what}"):
                one = self._one(number, prediction, workload, optimizer, batch_size)
            seconds = "from the cache" if one.cached else f"{one.compile_s or 0:.0f} s"
            console.print(f"{'failed' if one.error else 'compiled'} {what}, {seconds}", highlight=False)
            found.append(one)
        return found

    def _one(self, number: int, prediction: Prediction, workload, optimizer, batch_size: int) -> Verified:
        layout = prediction.layout
        try:
            kept, cached = self._compiled(workload, optimizer, layout, batch_size)
        except (BackendError, UserError, jax.errors.JaxRuntimeError, NotImplementedError) as error:
            return Verified(prediction, error=_first_line(error))
        hlo_text = gzip.decompress(kept.hlo.read_bytes()).decode()
        step_s, compute_s = self._seconds(hlo_text, layout)
        return Verified(
            prediction=prediction,
            bytes_per_chip=kept.facts["bytes_per_chip"],
            step_s=step_s,
            compute_s=compute_s,
            compile_s=kept.facts["compile_s"],
            cached=cached,
            hlo_file=self._dump(hlo_text, f"{number:02d}-{_file_name(layout)}.hlo"),
        )

    def _compiled(self, workload, optimizer, layout: Layout, batch_size: int) -> tuple["_Kept", bool]:
        from pangu_jax.training.compiling import lower_step

        platform = self._topology.chip.platform
        lowered = lower_step(workload, optimizer, layout, batch_size, self._devices, platform)
        kept = _Kept(_key(lowered.as_text(), self._topology))
        if kept.exists():
            return kept, True
        began = time.monotonic()
        compiled = compile_for(self._topology, lowered)
        seconds = time.monotonic() - began
        kept.write(compiled.as_text(), {"bytes_per_chip": _bytes(compiled), "compile_s": round(seconds, 3)})
        return kept, False

    def _seconds(self, hlo_text: str, layout: Layout) -> tuple[float | None, float | None]:
        """Of a step, and of its compute, by the count of `parallel.cost`; no CPU compiler tells cycles."""
        if self._topology.chip.platform == "cpu":
            return None, None
        from pangu_jax.parallel import cost
        from pangu_jax.parallel.mesh import make_mesh

        mesh = make_mesh(layout, self._devices)
        places = [device.id for device in mesh.devices.flat]
        found = cost.report(hlo_text, self._topology, dict(mesh.shape), places)
        return found.step_seconds, found.compute_seconds

    def _dump(self, hlo_text: str, name: str) -> str | None:
        if self._folder is None:
            return None
        path = self._folder / name
        path.write_text(hlo_text, "utf-8")
        return str(path)


class _Kept:
    """What is kept of a compiled program: facts, and its text packed."""

    def __init__(self, key: str):
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self._folder = home / "pangu_jax" / "plans"
        self._facts = self._folder / f"{key}.json"
        self.hlo = self._folder / f"{key}.hlo.gz"

    @property
    def facts(self) -> dict[str, Any]:
        return json.loads(self._facts.read_text("utf-8"))

    def exists(self) -> bool:
        return self._facts.is_file() and self.hlo.is_file()

    def write(self, hlo_text: str, facts: dict[str, Any]) -> None:
        """The facts last: where they are, all is there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path, content in (
            (self.hlo, gzip.compress(hlo_text.encode(), 3)),
            (self._facts, json.dumps(facts).encode()),
        ):
            fresh = path.with_suffix(f".{os.getpid()}")
            fresh.write_bytes(content)
            fresh.rename(path)


def _key(program: str, topology: Topology) -> str:
    options = [cpu.COMPILER_OPTIONS, tpu.compiler_options(topology.chip.name)]
    versions = {name: _version(name) for name in ("jax", "jaxlib", "libtpu")}
    told = json.dumps([FORMAT, options, topology.name, versions], sort_keys=True)
    return hashlib.sha256(f"{told}\n{program}".encode()).hexdigest()[:32]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _bytes(compiled: Any) -> int:
    """What a program holds on a device at most: results in the place of arguments count once."""
    m = compiled.memory_analysis()
    held = m.argument_size_in_bytes + m.output_size_in_bytes - m.alias_size_in_bytes
    return int(held + m.temp_size_in_bytes)


def _file_name(layout: Layout) -> str:
    return layout.describe().replace(" x ", "-").replace(" ", "") + f"-{layout.schedule}-{layout.remat}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"--dump_hlo {folder}: {error.strerror}; name a folder that can be written") from None
